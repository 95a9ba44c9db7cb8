//! What was asked, and what came of it, since the agent began.

use crate::api::{QueryCount, QueryKind, QueryOutcome, Transport};
use std::cell::RefCell;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Counts(RefCell<BTreeMap<(Transport, QueryKind, QueryOutcome), u64>>);

impl Counts {
    pub fn add(&self, transport: Transport, kind: QueryKind, outcome: QueryOutcome) {
        *self
            .0
            .borrow_mut()
            .entry((transport, kind, outcome))
            .or_default() += 1;
    }

    pub fn tell(&self) -> Vec<QueryCount> {
        let counts = self.0.borrow();
        let counts = counts.iter();
        let tell = |((transport, kind, outcome), count): (&(_, _, _), &u64)| QueryCount {
            transport: *transport,
            kind: *kind,
            outcome: *outcome,
            count: *count,
        };
        counts.map(tell).collect()
    }
}
