//! One map operation.

use crate::tables::Table;
use kmesh_lite_common::{
    Address, AddressId, AddressRow, Backend, BackendId, Caller, Endpoint, Frontend, FrontendId,
    FrontendKey, Service, ServiceId, Waypoint, WaypointId,
};
use std::fmt;

/// A row and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Waypoint(WaypointId, Waypoint),
    Backend(BackendId, Backend),
    Service(ServiceId, Service),
    Frontend(FrontendId, Frontend),
    Address(AddressId, AddressRow),
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Write the version of a row that counts from the plan's generation on; rows that are found by
    /// key get their key.
    Put(Row),
    /// Write rows of the endpoint table, to which no service refers yet.
    PutRange(u32, Vec<Endpoint>),
    /// Say that the row is gone from the plan's generation on.
    Retire(Row),
    /// Make the plan's generation current: the one write that programs notice.
    Commit,
    /// Empty a slot that no longer counts, and delete the key that led to it.
    Free(Row),
    /// Empty a slot that does not count.
    FreeSlot(Table, u32),
    /// Forget the version of a row that an interrupted plan wrote for a generation that never came.
    Scrub(Table, u32),
    /// Delete a key that leads nowhere.
    DropAddress(Address),
    DropFrontend(FrontendKey),
    /// Treat a cgroup specially, at once.
    PutCaller(u64, Caller),
    /// Which levels of the cgroup tree callers are looked up at.
    CallerLevels(u32),
    /// Treat a cgroup as ordinary again.
    DropCaller(u64),
}

impl Op {
    /// Name of the table that is written to.
    pub fn table(&self) -> &'static str {
        match self {
            Self::Put(row) | Self::Retire(row) | Self::Free(row) => row.table().as_str(),
            Self::PutRange(..) => Table::Endpoints.as_str(),
            Self::FreeSlot(table, _) | Self::Scrub(table, _) => table.as_str(),
            Self::DropAddress(_) => Table::Addresses.as_str(),
            Self::DropFrontend(_) => Table::Frontends.as_str(),
            Self::Commit | Self::CallerLevels(_) => "settings",
            Self::PutCaller(..) | Self::DropCaller(_) => "callers",
        }
    }

    /// Rows that `table` must have for this operation.
    pub(super) fn need(&self, table: Table) -> u64 {
        let need = |at: Table, index: u32| if at == table { u64::from(index) + 1 } else { 0 };
        match self {
            Self::Put(row) => need(row.table(), row.index()),
            Self::PutRange(first, rows) if table == Table::Endpoints => {
                u64::from(*first) + rows.len() as u64
            }
            _ => 0,
        }
    }
}

impl Row {
    pub fn table(&self) -> Table {
        match self {
            Self::Waypoint(..) => Table::Waypoints,
            Self::Backend(..) => Table::Backends,
            Self::Service(..) => Table::Services,
            Self::Frontend(..) => Table::Frontends,
            Self::Address(..) => Table::Addresses,
        }
    }

    pub fn index(&self) -> u32 {
        match self {
            Self::Waypoint(id, _) => id.index(),
            Self::Backend(id, _) => id.index(),
            Self::Service(id, _) => id.index(),
            Self::Frontend(id, _) => id.index(),
            Self::Address(id, _) => id.index(),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(row) => write!(f, "put {row}"),
            Self::PutRange(first, rows) => {
                write!(
                    f,
                    "put endpoints [{first}..{}]",
                    u64::from(*first) + rows.len() as u64
                )?;
                for row in rows {
                    write!(f, " {}", id(row.backend))?;
                    if row.weight != 1 {
                        write!(f, "*{}", row.weight)?;
                    }
                }
                Ok(())
            }
            Self::Retire(row) => write!(f, "retire {} {}", row.noun(), row.key()),
            Self::Commit => f.write_str("commit"),
            Self::Free(row) => write!(f, "free {} {}", row.noun(), row.key()),
            Self::FreeSlot(table, index) => write!(f, "free {table} #{} (left over)", index + 1),
            Self::Scrub(table, index) => write!(f, "scrub {table} #{} (left over)", index + 1),
            Self::DropAddress(address) => write!(f, "drop key {address} (left over)"),
            Self::DropFrontend(key) => write!(f, "drop key {} (left over)", Key(key)),
            Self::PutCaller(cgroup, caller) => write!(f, "put caller cgroup {cgroup}: {caller}"),
            Self::CallerLevels(levels) => write!(f, "set caller levels {levels:#b}"),
            Self::DropCaller(cgroup) => write!(f, "drop caller cgroup {cgroup}"),
        }
    }
}

impl Row {
    pub(super) fn noun(&self) -> &'static str {
        match self {
            Self::Waypoint(..) => "waypoint",
            Self::Backend(..) => "backend",
            Self::Service(..) => "service",
            Self::Frontend(..) => "frontend",
            Self::Address(..) => "address",
        }
    }

    /// Id and name.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Waypoint(id, row) => format!("{id} {}", row.name),
            Self::Backend(id, row) => format!("{id} {}", row.address),
            Self::Service(id, row) => format!("{id} {}", row.name),
            Self::Frontend(id, row) => format!("{id} {}", Key(&row.key)),
            Self::Address(id, row) => format!("{id} {}", row.address),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.noun(), self.key())?;
        match self {
            Self::Waypoint(_, row) => {
                let address = std::net::SocketAddr::new(row.address.into(), row.port.get());
                write!(f, " at {address}, header {}", row.header)
            }
            Self::Backend(_, row) => match row.waypoint {
                Some(waypoint) => write!(f, " by waypoint {waypoint}"),
                None => Ok(()),
            },
            Self::Service(_, row) => {
                write!(f, ", {}", row.policy)?;
                if let Some(waypoint) = row.waypoint {
                    write!(f, ", waypoint {waypoint}")?;
                }
                let families: &[(&str, _)] = if row.v4 == row.v6 {
                    &[("", &row.v4)]
                } else {
                    &[(" IPv4", &row.v4), (" IPv6", &row.v6)]
                };
                for (family, ranges) in families {
                    for (priority, range) in ranges
                        .iter()
                        .enumerate()
                        .filter(|(_, range)| range.count > 0)
                    {
                        let end = u64::from(range.first) + u64::from(range.count);
                        write!(f, ",{family} priority {priority} [{}..{end}]", range.first)?;
                    }
                }
                Ok(())
            }
            Self::Frontend(_, row) => {
                write!(f, " to service {}, port {}", id(row.service), row.target)
            }
            Self::Address(_, row) => {
                write!(f, ", {}", row.kind)?;
                match row.backend {
                    Some(backend) => write!(f, ", backend {backend}"),
                    None => Ok(()),
                }
            }
        }
    }
}

struct Key<'a>(&'a FrontendKey);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = std::net::SocketAddr::new(self.0.address.into(), self.0.port.get());
        write!(f, "{address}/{}", self.0.protocol)
    }
}

fn id<T: fmt::Display>(id: Option<T>) -> String {
    id.map_or_else(|| "nothing".to_owned(), |id| id.to_string())
}
