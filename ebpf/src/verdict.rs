//! What becomes of a connect, and how it is counted.

use kmesh_lite_common::{Address, BackendId, EndpointId, Port, ServiceId, Stage, WaypointId};

/// What to do with a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass(PassReason),
    Redirect(Redirect),
    Refuse(Refuse),
}

/// Why a connect is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PassReason {
    /// No table mentions the address.
    NotOurs,
    /// The caller is one that we leave alone.
    Bypass,
    /// No service declares the port, and a host that exists owns the address.
    UndeclaredPort,
    /// Straight to a backend that has no waypoint, or from a waypoint to a backend.
    Direct,
}

/// Where a connect goes instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub address: Address,
    pub port: Port,
    pub chosen: Chosen,
    /// Set when `address` and `port` are those of a waypoint.
    pub waypoint: Option<WaypointId>,
    pub taken: Taken,
}

impl Redirect {
    /// Whether it is a question to a DNS server, which goes to the agent.
    #[inline(always)]
    pub const fn is_query(&self) -> bool {
        self.chosen.is_query(self.waypoint)
    }
}

/// What a connection is one of the open ones of. It was counted by the decision, and whoever the connection is over
/// for takes it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Taken(u8);

impl Taken {
    pub const NOTHING: Self = Self(0);
    pub const ENDPOINT: Self = Self(1);
    pub const SERVICE: Self = Self(2);

    #[inline(always)]
    pub const fn has(self, bit: Self) -> bool {
        self.0 & bit.0 == bit.0
    }

    #[inline(always)]
    pub const fn with(self, bits: Self) -> Self {
        Self(self.0 | bits.0)
    }

    /// The same, as one that a verifier knows nothing of: it would look at all that follows for each value apart.
    #[inline(always)]
    pub const fn blurred(self, blank: u32) -> Self {
        Self(self.0.wrapping_add(blank as u8))
    }

    /// As a number.
    #[inline(always)]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// What has this number.
    #[inline(always)]
    pub const fn of_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The stages of such a connection.
    #[inline(always)]
    pub const fn stage(self) -> Stage {
        const { assert!(Stage::AT_ENDPOINT.0 == Self::ENDPOINT.0 << 6) }
        const { assert!(Stage::AT_SERVICE.0 == Self::SERVICE.0 << 6) }
        Stage(self.0 << 6)
    }
}

/// What was chosen on the way to where a connect goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// `None` for a direct connect to a captured backend.
    pub service: Option<ServiceId>,
    /// `None` when the waypoint of the service chooses, and of a question to a DNS server.
    pub backend: Option<BackendId>,
    /// What the backend is to the service; `None` if either is.
    pub endpoint: Option<EndpointId>,
}

impl Chosen {
    /// Whether nothing was chosen: it is a question to a DNS server, which goes to the agent.
    #[inline(always)]
    pub const fn is_query(&self, waypoint: Option<WaypointId>) -> bool {
        self.backend.is_none() && waypoint.is_none()
    }

    /// Which counter a connect adds to that goes there, or to a waypoint on the way.
    #[inline(always)]
    pub const fn outcome(&self, waypoint: Option<WaypointId>) -> Outcome {
        match (waypoint, self.backend) {
            (None, None) => Outcome::CapturedQuery,
            (None, Some(_)) => Outcome::Endpoint,
            (Some(_), None) => Outcome::ServiceWaypoint,
            (Some(_), Some(_)) => Outcome::BackendWaypoint,
        }
    }
}

/// Why a connect is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refuse {
    /// No service declares the port of a virtual address.
    UndeclaredPort,
    /// The same over UDP. Most of these send nothing: getaddrinfo() connects a datagram socket to
    /// every address that it found, to learn which source address each would have.
    UndeclaredUdpPort,
    /// The service has no endpoint that the policy allows.
    NoEndpoint,
    /// The tables contradict themselves: something else wrote to them.
    Dangling,
    /// The socket cannot reach the address that was chosen: an IPv4 socket none of IPv6, one for IPv6
    /// alone none of IPv4.
    Family,
    /// The kernel had no memory to keep the original destination.
    NoMemory,
    /// The waypoint has to learn the original destination, and this protocol has no place for it.
    Header,
    /// As many connections to the service are open as it may have.
    ServiceFull,
    /// The same of every endpoint that the policy allows.
    EndpointsFull,
    /// As many connects to the service were made as there may be in a while.
    TooFast,
    /// The same of one unit.
    ClientTooFast,
    /// An authorization policy says that this client may not.
    Denied,
}

/// How a connect, and what follows it, is counted: index of the per-CPU outcome counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Outcome {
    Endpoint = 0,
    ServiceWaypoint = 1,
    BackendWaypoint = 2,
    PassBypass = 3,
    PassUndeclaredPort = 4,
    PassDirect = 5,
    RefuseUndeclaredPort = 6,
    RefuseNoEndpoint = 7,
    RefuseDangling = 8,
    RefuseFamily = 9,
    RefuseNoMemory = 10,
    RefuseHeader = 11,
    /// A header left.
    HeaderSent = 12,
    /// A connection was closed, because its SYN would have carried data before the header.
    CloseFastOpen = 13,
    /// The same for data that was sent before the connection stood.
    CloseEarlySend = 14,
    /// The same for a socket that the kernel does not take into the map of those with a pending header.
    CloseUnmappable = 15,
    /// One that could not be closed.
    HeaderLeaked = 16,
    /// A connect over UDP to a port that no service declares.
    RefuseUndeclaredUdpPort = 17,
    /// A connection whose sends fail, because they use MSG_ZEROCOPY while the header is pending.
    RefuseZeroCopy = 18,
    /// The same, because kernel TLS was switched on while the header was pending.
    RefuseEncrypted = 19,
    /// A connection that is not in the connection table, because other connections have its slots.
    Unlisted = 20,
    RefuseServiceFull = 21,
    RefuseEndpointsFull = 22,
    RefuseTooFast = 23,
    RefuseClientTooFast = 24,
    RefuseDenied = 25,
    /// A question to a DNS server that goes to the agent.
    CapturedQuery = 26,
}

impl Outcome {
    /// All outcomes, by index. Connects that are not ours are not counted: it would cost them.
    pub const ALL: [Self; 27] = [
        Self::Endpoint,
        Self::ServiceWaypoint,
        Self::BackendWaypoint,
        Self::PassBypass,
        Self::PassUndeclaredPort,
        Self::PassDirect,
        Self::RefuseUndeclaredPort,
        Self::RefuseNoEndpoint,
        Self::RefuseDangling,
        Self::RefuseFamily,
        Self::RefuseNoMemory,
        Self::RefuseHeader,
        Self::HeaderSent,
        Self::CloseFastOpen,
        Self::CloseEarlySend,
        Self::CloseUnmappable,
        Self::HeaderLeaked,
        Self::RefuseUndeclaredUdpPort,
        Self::RefuseZeroCopy,
        Self::RefuseEncrypted,
        Self::Unlisted,
        Self::RefuseServiceFull,
        Self::RefuseEndpointsFull,
        Self::RefuseTooFast,
        Self::RefuseClientTooFast,
        Self::RefuseDenied,
        Self::CapturedQuery,
    ];

    /// Name of the counter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::ServiceWaypoint => "service_waypoint",
            Self::BackendWaypoint => "backend_waypoint",
            Self::PassBypass => "pass_bypass",
            Self::PassUndeclaredPort => "pass_undeclared_port",
            Self::PassDirect => "pass_direct",
            Self::RefuseUndeclaredPort => "refuse_undeclared_port",
            Self::RefuseNoEndpoint => "refuse_no_endpoint",
            Self::RefuseDangling => "refuse_dangling",
            Self::RefuseFamily => "refuse_family",
            Self::RefuseNoMemory => "refuse_no_memory",
            Self::RefuseHeader => "refuse_header",
            Self::HeaderSent => "header_sent",
            Self::CloseFastOpen => "close_fast_open",
            Self::CloseEarlySend => "close_early_send",
            Self::CloseUnmappable => "close_unmappable",
            Self::HeaderLeaked => "header_leaked",
            Self::RefuseUndeclaredUdpPort => "refuse_undeclared_udp_port",
            Self::RefuseZeroCopy => "refuse_zero_copy",
            Self::RefuseEncrypted => "refuse_encrypted",
            Self::Unlisted => "unlisted",
            Self::RefuseServiceFull => "refuse_service_full",
            Self::RefuseEndpointsFull => "refuse_endpoints_full",
            Self::RefuseTooFast => "refuse_too_fast",
            Self::RefuseClientTooFast => "refuse_client_too_fast",
            Self::RefuseDenied => "refuse_denied",
            Self::CapturedQuery => "captured_query",
        }
    }
}

impl Verdict {
    /// Which counter this verdict adds to.
    #[inline(always)]
    pub const fn outcome(&self) -> Option<Outcome> {
        Some(match self {
            Self::Pass(PassReason::NotOurs) => return None,
            Self::Pass(PassReason::Bypass) => Outcome::PassBypass,
            Self::Pass(PassReason::UndeclaredPort) => Outcome::PassUndeclaredPort,
            Self::Pass(PassReason::Direct) => Outcome::PassDirect,
            Self::Redirect(redirect) => redirect.chosen.outcome(redirect.waypoint),
            Self::Refuse(refuse) => refuse.outcome(),
        })
    }
}

impl Refuse {
    /// All reasons.
    pub const ALL: [Self; 12] = [
        Self::UndeclaredPort,
        Self::UndeclaredUdpPort,
        Self::NoEndpoint,
        Self::Dangling,
        Self::Family,
        Self::NoMemory,
        Self::Header,
        Self::ServiceFull,
        Self::EndpointsFull,
        Self::TooFast,
        Self::ClientTooFast,
        Self::Denied,
    ];

    /// Which counter this refusal adds to.
    #[inline(always)]
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::UndeclaredPort => Outcome::RefuseUndeclaredPort,
            Self::UndeclaredUdpPort => Outcome::RefuseUndeclaredUdpPort,
            Self::NoEndpoint => Outcome::RefuseNoEndpoint,
            Self::Dangling => Outcome::RefuseDangling,
            Self::Family => Outcome::RefuseFamily,
            Self::NoMemory => Outcome::RefuseNoMemory,
            Self::Header => Outcome::RefuseHeader,
            Self::ServiceFull => Outcome::RefuseServiceFull,
            Self::EndpointsFull => Outcome::RefuseEndpointsFull,
            Self::TooFast => Outcome::RefuseTooFast,
            Self::ClientTooFast => Outcome::RefuseClientTooFast,
            Self::Denied => Outcome::RefuseDenied,
        }
    }

    /// What follows from it as a number, which is not 0: its counter, and in the high word its error.
    #[inline(always)]
    pub const fn number(self) -> u64 {
        self.outcome() as u64 | (self.errno() as u64) << 32
    }

    /// The index of the counter of a refusal of this number.
    #[inline(always)]
    pub const fn outcome_of(number: u64) -> u32 {
        number as u32
    }

    /// Its error.
    #[inline(always)]
    pub const fn errno_of(number: u64) -> i32 {
        (number >> 32) as i32
    }

    /// The error that the application gets from `connect()`, as a positive errno.
    #[inline(always)]
    pub const fn errno(self) -> i32 {
        const ENOMEM: i32 = 12;
        const EACCES: i32 = 13;
        const EOPNOTSUPP: i32 = 95;
        const ECONNREFUSED: i32 = 111;
        const EHOSTUNREACH: i32 = 113;
        match self {
            Self::UndeclaredPort
            | Self::UndeclaredUdpPort
            | Self::ServiceFull
            | Self::EndpointsFull
            | Self::TooFast
            | Self::ClientTooFast => ECONNREFUSED,
            Self::NoEndpoint | Self::Dangling | Self::Family => EHOSTUNREACH,
            Self::NoMemory => ENOMEM,
            Self::Header => EOPNOTSUPP,
            Self::Denied => EACCES,
        }
    }
}
