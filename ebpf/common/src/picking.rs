//! How one of the endpoints in use is picked, and how many connections there may be.

use crate::word;

word!(
    /// How an endpoint is picked among those of one priority.
    Balance: u16 {
        /// At random, by weight.
        WeightedRandom = 0 "weighted-random",
        /// Of two that are drawn, the one with fewer open connections for its weight.
        LeastConnections = 1 "least-connections",
    }
);

/// What a connect to a service has to know beside the endpoints in use. All of it is 0 for most services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Picking {
    pub balance: Balance,
    /// 1 where open connections are counted: then the rows of its ranges are [`crate::Seat`]s.
    counted: u16,
    /// How many connections to the service may be open; 0 for any number.
    pub max_connections: u32,
    /// The time in nanoseconds after which another connect is allowed; 0 for any number of connects.
    pub interval: u32,
}

impl Picking {
    /// For how long, in nanoseconds, connects may have been saved up.
    pub const SAVED: u64 = 1_000_000_000;

    pub const fn new(
        balance: Balance,
        counted: bool,
        max_connections: u32,
        connects_per_second: u32,
    ) -> Self {
        Self {
            balance,
            counted: counted as u16,
            max_connections,
            // Rounded down: so many connects fit into the second that may be saved up.
            interval: match connects_per_second {
                0 => 0,
                connects => Self::SAVED as u32 / connects,
            },
        }
    }

    /// Whether open connections are counted.
    #[inline(always)]
    pub const fn counts(&self) -> bool {
        self.counted == 1
    }

    /// Whether an endpoint is drawn by its weight, and that is all.
    #[inline(always)]
    pub fn is_plain(&self) -> bool {
        !self.counts() && self.interval == 0
    }

    /// How many connects a second are allowed; 0 for any number.
    pub const fn connects_per_second(&self) -> u32 {
        match self.interval {
            0 => 0,
            interval => Self::SAVED as u32 / interval,
        }
    }
}

impl Default for Balance {
    fn default() -> Self {
        Self::WeightedRandom
    }
}

const _: () = assert!(size_of::<Picking>() == 12);
