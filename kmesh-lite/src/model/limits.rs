//! How many rows a mesh may have, and how many the kernel's tables have room for.

use std::fmt;

/// Declares the tables that have a capacity, with the capacity that each has by default.
macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident $key:ident = $default:literal,)+) => {
        /// A table with a capacity. The order is that in which a plan writes: rows of a table refer
        /// to rows of those before it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Table {
            $($table,)+
        }

        impl Table {
            pub const ALL: &[Self] = &[$(Self::$table),+];

            /// The name of the table, which is also its key under `[limits]`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$table => stringify!($key),)+
                }
            }
        }

        /// How many rows of each kind a mesh may have: by the file, or by the tables that there are.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[$doc])* pub $key: u32,)+
            /// Living connections that have a slot of the connection table. It belongs to no mesh, and
            /// has the size that it was made with.
            pub connections: u32,
            /// Addresses that sockets which are not connected send to, counted in every socket: as many are
            /// remembered. The table is as that of connections.
            pub flows: u32,
        }

        impl Limits {
            /// The limits that `limit` gives, for so many connections and flows.
            pub fn each(limit: impl Fn(Table) -> u32, connections: u32, flows: u32) -> Self {
                Self {
                    $($key: limit(Table::$table),)+
                    connections,
                    flows,
                }
            }

            /// The limit of one table.
            pub const fn of(&self, table: Table) -> u32 {
                match table {
                    $(Table::$table => self.$key,)+
                }
            }
        }

        impl Default for Limits {
            fn default() -> Self {
                Self {
                    $($key: $default,)+
                    connections: 65_536,
                    flows: 16_384,
                }
            }
        }
    };
}

tables! {
    Waypoints waypoints = 1_024,
    /// Authorization policies.
    Authorizations policies = 1_024,
    /// Targets that authorization policies are about: services, ports, and what is at the same address and port.
    Guards guards = 16_384,
    Backends backends = 100_000,
    Endpoints endpoints = 100_000,
    Services services = 10_000,
    /// Clients that authorization policies name, counted in every service.
    Rules rules = 65_536,
    Frontends frontends = 65_536,
    /// Virtual addresses, captured backends, and endpoints of services that policies say something of.
    Addresses addresses = 65_536,
    /// Addresses and ports that authorization policies are about.
    Destinations destinations = 65_536,
    /// Networks that authorization policies name, counted in every guard.
    Sources sources = 131_072,
}

impl Limits {
    /// Largest value of any limit: more is not sensibly asked of one table of the kernel.
    pub const MAX: u32 = 16_000_000;

    /// The larger of each.
    pub fn max(self, other: Self) -> Self {
        Self::each(
            |table| self.of(table).max(other.of(table)),
            self.connections.max(other.connections),
            self.flows.max(other.flows),
        )
    }
}

impl Table {
    /// How many rows the kernel's table has where it has room for so many: twice as many, so that any mesh
    /// for which there is room can be put beside any other before the first is taken away.
    pub const fn rows(self, room: &Limits) -> u32 {
        room.of(self) * 2
    }

    /// The room in a table of the kernel with this many rows.
    pub const fn room_of(rows: u32) -> u32 {
        rows / 2
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
