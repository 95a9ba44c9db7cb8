//! How one of the endpoints in use is picked, and how many connections there may be.

use crate::word;

word!(
    /// How an endpoint is picked among those of one priority.
    Balance: u16 {
        /// At random, by weight.
        WeightedRandom = 0 "weighted-random",
        /// Of two that are drawn, the one with fewer open connections for its weight.
        LeastConnections = 1 "least-connections",
        /// By who connects: the same endpoint for the same client, as long as there are the same endpoints.
        ConsistentHash = 2 "consistent-hash",
    }
);

word!(
    /// How the clients of a service are told from one another.
    ClientsBy: u16 {
        /// By the cgroup of the process.
        Unit = 0 "unit",
        /// By the user of the process.
        User = 1 "user",
        /// By the address that the socket is bound to, and by the network namespace where it is bound to none.
        Address = 2 "address",
        /// By the network namespace of the process.
        NetworkNamespace = 3 "network-namespace",
    }
);

/// What a connect to a service has to know beside the endpoints in use. All of it is 0 for most services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Picking {
    pub balance: Balance,
    /// What else there is to do, and [`ClientsBy`] in the high byte.
    flags: u16,
    /// How many connections to the service may be open; 0 for any number.
    pub max_connections: u32,
    /// The time in nanoseconds after which another connect is allowed; 0 for any number of connects.
    pub interval: u32,
}

impl Picking {
    /// For how long, in nanoseconds, connects may have been saved up.
    pub const SAVED: u64 = 1_000_000_000;

    const COUNTED: u16 = 1;
    const HELD: u16 = 2;
    const LIMITED: u16 = 4;
    const APART: u16 = 8;
    const GUARDED: u16 = 16;

    pub const fn new(
        balance: Balance,
        clients_by: ClientsBy,
        counted: bool,
        max_connections: u32,
        connects_per_second: u32,
    ) -> Self {
        Self {
            balance,
            flags: (clients_by.0 << 8) | (counted as u16 * Self::COUNTED),
            max_connections,
            interval: interval(connects_per_second),
        }
    }

    /// The same of a service that asks something of each client.
    pub const fn with_clients(mut self, clients: &EachClient) -> Self {
        if clients.affinity != 0 {
            self.flags |= Self::HELD;
        }
        if clients.interval != 0 {
            self.flags |= Self::LIMITED;
        }
        self
    }

    /// The same of a service with other endpoints for each family.
    pub const fn with_families_apart(mut self) -> Self {
        self.flags |= Self::APART;
        self
    }

    /// The same of a service that authorization policies are about.
    pub const fn with_guard(mut self) -> Self {
        self.flags |= Self::GUARDED;
        self
    }

    /// Whether authorization policies say who may connect.
    #[inline(always)]
    pub const fn is_guarded(&self) -> bool {
        self.flags & Self::GUARDED != 0
    }

    /// Whether clients keep their endpoints for a time.
    #[inline(always)]
    pub const fn holds(&self) -> bool {
        self.flags & Self::HELD != 0
    }

    /// Whether a unit may make only so many connects.
    #[inline(always)]
    pub const fn limits_clients(&self) -> bool {
        self.flags & Self::LIMITED != 0
    }

    /// Whether IPv4 and IPv6 addresses have endpoints of their own.
    #[inline(always)]
    pub const fn has_families_apart(&self) -> bool {
        self.flags & Self::APART != 0
    }

    /// Whether open connections are counted.
    #[inline(always)]
    pub const fn counts(&self) -> bool {
        self.flags & Self::COUNTED != 0
    }

    /// Whether it depends on who connects which endpoint is picked.
    #[inline(always)]
    pub const fn is_by_client(&self) -> bool {
        self.holds() || self.hashes()
    }

    /// Whether a client is given an endpoint by its hash.
    #[inline(always)]
    pub const fn hashes(&self) -> bool {
        self.balance.0 == Balance::ConsistentHash.0
    }

    /// How clients are told apart.
    #[inline(always)]
    pub const fn clients_by(&self) -> ClientsBy {
        ClientsBy(self.flags >> 8)
    }

    /// Whether the rows of its ranges are [`crate::Seat`]s.
    #[inline(always)]
    pub const fn has_seats(&self) -> bool {
        self.counts() || self.is_by_client()
    }

    /// Whether an endpoint is drawn by its weight, and that is all.
    #[inline(always)]
    pub const fn is_plain(&self) -> bool {
        !self.has_seats() && self.interval == 0 && !self.limits_clients()
    }

    /// How many connects a second are allowed; 0 for any number.
    pub const fn connects_per_second(&self) -> u32 {
        rate(self.interval)
    }

    /// Whether another connect is due at the moment `now`, where `interval` nanoseconds lie between them and as many as
    /// there were would have been allowed at the moment `due`: the next one must not lie ahead by more than may be saved
    /// up.
    #[inline(always)]
    pub const fn is_due(due: u64, now: u64, interval: u64) -> bool {
        due < now || due.wrapping_add(interval) <= now.wrapping_add(Self::SAVED)
    }
}

/// What a service asks of each client. All of it is 0 for most services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EachClient {
    /// For how many milliseconds after its last connect a client keeps its endpoint; 0 for none.
    pub affinity: u32,
    /// The time in nanoseconds after which another connect of a unit is allowed; 0 for any number of connects.
    pub interval: u32,
}

impl EachClient {
    pub const fn new(affinity: u32, connects_per_second: u32) -> Self {
        Self {
            affinity,
            interval: interval(connects_per_second),
        }
    }

    /// How many connects a second a unit is allowed; 0 for any number.
    pub const fn connects_per_second(&self) -> u32 {
        rate(self.interval)
    }
}

/// The time in nanoseconds between so many connects a second, 0 for any number. Rounded down: so many connects fit into
/// the second that may be saved up.
const fn interval(connects_per_second: u32) -> u32 {
    match connects_per_second {
        0 => 0,
        connects => Picking::SAVED as u32 / connects,
    }
}

/// [`interval`] in the other direction.
const fn rate(interval: u32) -> u32 {
    match interval {
        0 => 0,
        interval => Picking::SAVED as u32 / interval,
    }
}

impl Default for ClientsBy {
    fn default() -> Self {
        Self::Unit
    }
}

impl Default for Balance {
    fn default() -> Self {
        Self::WeightedRandom
    }
}

const _: () = assert!(size_of::<Picking>() == 12);
