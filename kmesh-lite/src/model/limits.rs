//! Capacities of the kernel's tables.

/// How many rows of each kind the mesh may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Virtual addresses and captured backends.
    pub addresses: u32,
    pub frontends: u32,
    pub services: u32,
    pub endpoints: u32,
    pub backends: u32,
    pub waypoints: u32,
}

impl Limits {
    /// Largest value of any limit: what one table of the kernel can be asked for sensibly.
    pub const MAX: u32 = 16_000_000;

    /// The larger of each.
    pub fn max(self, other: Self) -> Self {
        Self {
            addresses: self.addresses.max(other.addresses),
            frontends: self.frontends.max(other.frontends),
            services: self.services.max(other.services),
            endpoints: self.endpoints.max(other.endpoints),
            backends: self.backends.max(other.backends),
            waypoints: self.waypoints.max(other.waypoints),
        }
    }

    /// Whether every limit is at least the other's.
    pub fn covers(self, other: Self) -> bool {
        self.max(other) == self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            addresses: 65_536,
            frontends: 65_536,
            services: 10_000,
            endpoints: 100_000,
            backends: 100_000,
            waypoints: 1_024,
        }
    }
}
