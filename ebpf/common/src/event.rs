//! Records of the programs for the daemon.

use crate::{Address, Port, word};

word!(
    /// What happened to a socket whose header was pending.
    EventKind: u16 {
        /// It is connected, and its server may speak first.
        Waiting = 1 "connected to a waypoint whose server may speak first",
        /// Closed: the SYN would have carried data (TCP Fast Open).
        FastOpen = 2 "data would have left with the SYN (TCP Fast Open)",
        /// Closed: data was queued before the connection stood.
        EarlySend = 3 "data was sent before the connection stood, or after a send that the kernel refused",
        /// Closed: the socket cannot be in the map of those whose header is pending.
        Unmappable = 4 "the kernel takes no header for it: another program's socket map has the socket, a call from before it connected has not returned, or too many headers are pending",
        /// Its sends fail: the kernel would tell the program too early that its buffers are free.
        ZeroCopy = 6 "it sends with MSG_ZEROCOPY while the header is pending",
        /// Its sends fail: the header would be encrypted with what is sent.
        Encrypted = 7 "kernel TLS was switched on while the header was pending",
        /// It should have been closed, but is bound to an interface by somebody else.
        Leaked = 5 "it could not be closed: data left without the header",
    }
);

/// Key, in the map of pending sockets, of the daemon's own socket, to which bytes go that nobody is to
/// see. No socket has this cookie.
pub const SINK: u64 = 0;

/// A record of the ring buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// SO_COOKIE of the socket; 0 for one whose sends fail.
    pub cookie: u64,
    /// What the application asked for.
    pub address: Address,
    pub port: Port,
    pub kind: EventKind,
    /// The process that connected (thread group, first pid namespace).
    pub process: u32,
}

const _: () = assert!(size_of::<Event>() == 32);
