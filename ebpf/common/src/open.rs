//! How many connections are open, of what that is counted of.

/// The connections of this host that are open to an endpoint or a service; element `n - 1` is that of id `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Open {
    pub count: u32,
    /// Another one each time the id is handed out again. Sockets that remember their connection by themselves note
    /// it, because nobody else can make them forget the id.
    pub term: u32,
}

/// The same of a service, and when its next connect is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ServiceOpen {
    pub open: Open,
    /// When as many connects would have been allowed as there were, in nanoseconds of CLOCK_MONOTONIC.
    pub due: u64,
}

const _: () = assert!(size_of::<Open>() == 8 && size_of::<ServiceOpen>() == 16);
