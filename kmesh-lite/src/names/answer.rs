//! What the resolver said.

use crate::model::Record;

/// Records of one answer. More of them are left out: those that come last in their order, so that it is always
/// the same ones.
pub const MOST_RECORDS: usize = 256;

/// Records in order, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub records: Box<[Record]>,
    /// How many there are beyond the most.
    pub left_out: u32,
    /// Since when it says so.
    pub since: u64,
}

impl Answer {
    /// None without a record.
    pub fn new(mut records: Vec<Record>, left_out: u32, since: u64) -> Option<Self> {
        for record in &mut records {
            record.address = record.address.to_canonical();
        }
        records.sort();
        // Of those that say the same with different weights, the first counts.
        records.dedup_by(|a, b| (a.rank, a.address, a.port) == (b.rank, b.address, b.port));
        let beyond = records.len().saturating_sub(MOST_RECORDS);
        records.truncate(MOST_RECORDS);
        let left_out = left_out.saturating_add(u32::try_from(beyond).unwrap_or(u32::MAX));
        (!records.is_empty()).then(|| Self {
            // What was left out takes no memory.
            records: records.into(),
            left_out,
            since,
        })
    }

    pub fn says_the_same(&self, other: &Self) -> bool {
        (&self.records, self.left_out) == (&other.records, other.left_out)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub kind: TroubleKind,
    pub reason: String,
    /// Since when there is none.
    pub since: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// The resolver says with authority that there is no such name, or no such record of it.
    Nothing,
    /// Nobody knows.
    Failure,
}
