//! What a kernel's programs can do, and which programs do without what it lacks.

/// What this kernel's programs can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Choose the error of a connect() that is refused.
    pub choose_errno: bool,
    /// Tell sockets of Multipath TCP.
    pub know_mptcp: bool,
    /// Keep connections in the connection table: otherwise each socket remembers its own.
    pub table_connections: bool,
    /// Read fields of sockets that no context shows.
    pub read_sockets: bool,
    /// Look at connections that go on.
    pub see_living: bool,
}

impl Abilities {
    /// The program in the object that serves a hook.
    pub fn program(self, hook: &'static str) -> &'static str {
        match hook {
            "connect4" if !self.table_connections => "connect4_plain",
            "connect6" if !self.table_connections => "connect6_plain",
            "connections" if !self.table_connections => "connections_plain",
            "released" if !self.table_connections => "released_plain",
            hook => hook,
        }
    }

    /// Says what it cannot do.
    pub fn warn(self) {
        if !self.choose_errno {
            log::warn!(
                "this kernel cannot choose the error of connect(): refused connects fail with EPERM"
            );
        }
        if !self.table_connections {
            log::warn!(
                "this kernel cannot have the connection table: each socket remembers its own connection, which takes longer, connections cannot be listed or limited, nor connects of a unit, and `least-connections` picks at random"
            );
        }
        if !self.see_living {
            log::warn!(
                "this kernel does not show what connections are doing: bytes are counted when a connection ends"
            );
        }
        if !self.read_sockets {
            log::warn!(
                "this kernel does not show what a socket is set to: MSG_ZEROCOPY and kernel TLS cannot be told before a header"
            );
        }
    }
}
