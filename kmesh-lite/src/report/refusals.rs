//! When policies refused somebody: the kernel counts that and knows no times.

use crate::api::{PolicyStatus, TimeBase};
use crate::model::Table;
use crate::tables::Tables;
use kmesh_lite_common::AuthorizationId;
use std::collections::BTreeMap;

/// What was counted at the last look, by the name of a policy.
#[derive(Clone, Debug, Default)]
pub struct Refusals(BTreeMap<String, Refused>);

#[derive(Clone, Copy, Debug)]
struct Refused {
    count: u64,
    /// The look that found more of them than the one before, by CLOCK_MONOTONIC.
    last: Option<u64>,
}

impl Refusals {
    /// Takes in what is counted now.
    pub fn look(&mut self, tables: &Tables, counts: &BTreeMap<AuthorizationId, u64>, now: u64) {
        let mut before = std::mem::take(&mut self.0);
        for (id, count) in counts {
            let Some(name) = tables.name(Table::Authorizations, id.index()) else {
                continue;
            };
            let last = match before.remove(&name) {
                Some(before) if before.count < *count => Some(now),
                Some(before) => before.last,
                None => None,
            };
            self.0.insert(
                name,
                Refused {
                    count: *count,
                    last,
                },
            );
        }
    }

    /// Adds what is known of times.
    pub fn tell(&self, base: TimeBase, policies: &mut [PolicyStatus]) {
        for policy in policies {
            let last = self.0.get(&policy.name).and_then(|it| it.last);
            policy.last = last.map(|last| base.tell(last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kmesh_lite_common::{Action, Authorization, Mode, Name};

    #[test]
    fn the_look_that_finds_more_is_the_last_time() {
        let mut tables = Tables::default();
        let id = AuthorizationId::from_index(0).unwrap();
        let row = Authorization {
            name: Name::new("web-in").unwrap(),
            action: Action::Deny,
            mode: Mode::Enforce,
        };
        tables.rows.authorizations.insert(id, row);
        let mut refusals = Refusals::default();
        let mut status = [PolicyStatus {
            name: "web-in".to_owned(),
            ..PolicyStatus::default()
        }];
        let base = TimeBase::default();
        for (now, count, expected) in [
            // Whoever was refused before the first look was so at any time.
            (1, 5, None),
            (2_000_000_000, 6, Some("1970-01-01T00:00:02.000Z")),
            (3_000_000_000, 6, Some("1970-01-01T00:00:02.000Z")),
        ] {
            refusals.look(&tables, &BTreeMap::from([(id, count)]), now);
            refusals.tell(base, &mut status);
            assert_eq!(status[0].last.as_deref(), expected);
        }
    }
}
