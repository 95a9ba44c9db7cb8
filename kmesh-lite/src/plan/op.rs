//! One map operation.

use crate::model::Table;
use crate::tables::{Key, Row};
use kmesh_lite_common::{Caller, Endpoint, EndpointId};
use std::fmt;
use std::sync::Arc;

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Write the version of a row that counts from the plan's generation on; rows that are found by
    /// key get their key.
    Put(Row),
    /// Begin to count the connects of these endpoints.
    Count(Vec<EndpointId>),
    /// Write rows of the endpoint table, to which no service refers yet.
    PutRange(u32, Arc<[Endpoint]>),
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
    DropKey(Key),
    /// Treat a cgroup specially, at once.
    PutCaller(u64, Caller),
    /// Which levels of the cgroup tree callers are looked up at.
    CallerLevels(u32),
    /// Whether connections are accounted.
    Accounting(bool),
    /// Treat a cgroup as ordinary again.
    DropCaller(u64),
}

impl Op {
    /// Name of the table that is written to.
    pub fn table(&self) -> &'static str {
        match self {
            Self::Put(row) | Self::Retire(row) | Self::Free(row) => row.table().as_str(),
            Self::PutRange(..) | Self::Count(_) => Table::Endpoints.as_str(),
            Self::FreeSlot(table, _) | Self::Scrub(table, _) => table.as_str(),
            Self::DropKey(key) => key.table().as_str(),
            Self::Commit | Self::CallerLevels(_) | Self::Accounting(_) => "settings",
            Self::PutCaller(..) | Self::DropCaller(_) => "callers",
        }
    }

    /// Rows that `table` must have for this operation.
    pub(super) fn need(&self, table: Table) -> u64 {
        match self {
            Self::Put(row) if row.table() == table => u64::from(row.index()) + 1,
            Self::PutRange(first, rows) if table == Table::Endpoints => {
                // There are as many counters as rows.
                let counters = rows.iter().filter_map(|row| row.own.endpoint);
                let counters = counters.map(|id| u64::from(id.index()) + 1).max();
                counters
                    .unwrap_or(0)
                    .max(u64::from(*first) + rows.len() as u64)
            }
            _ => 0,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(row) => write!(f, "put {row}"),
            Self::Count(endpoints) => {
                let (number, s) = match endpoints.len() {
                    1 => (1, ""),
                    number => (number, "s"),
                };
                write!(f, "count the connects of {number} new endpoint{s}")
            }
            Self::PutRange(first, rows) => {
                let end = u64::from(*first) + rows.len() as u64;
                write!(f, "put endpoints [{first}..{end}]")?;
                for row in rows.iter() {
                    match row.own.backend {
                        Some(backend) => write!(f, " {backend}")?,
                        None => write!(f, " nothing")?,
                    }
                    if row.own.port.get() != 0 {
                        write!(f, ":{}", row.own.port)?;
                    }
                    if row.weight != 1 {
                        write!(f, "*{}", row.weight)?;
                    }
                }
                Ok(())
            }
            Self::Retire(row) => write!(f, "retire {}", row.title()),
            Self::Commit => f.write_str("commit"),
            Self::Free(row) => write!(f, "free {}", row.title()),
            Self::FreeSlot(table, index) => write!(f, "free {table} #{} (left over)", index + 1),
            Self::Scrub(table, index) => write!(f, "scrub {table} #{} (left over)", index + 1),
            Self::DropKey(key) => write!(f, "drop key {key} (left over)"),
            Self::PutCaller(cgroup, caller) => write!(f, "put caller cgroup {cgroup}: {caller}"),
            Self::CallerLevels(levels) => write!(f, "set caller levels {levels:#b}"),
            Self::Accounting(true) => f.write_str("begin to account for connections"),
            Self::Accounting(false) => f.write_str("account for connections no more"),
            Self::DropCaller(cgroup) => write!(f, "drop caller cgroup {cgroup}"),
        }
    }
}
