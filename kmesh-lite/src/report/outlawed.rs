//! Connections that stand although policies refuse them, and that are to end.

use super::live::LiveConnections;
use crate::model::{Mesh, Mode, Table};
use crate::tables::{Judge, Tables};
use kmesh_lite_common::{AuthorizationId, Protocol};
use std::collections::{BTreeMap, BTreeSet};

/// Connections that are to end, by the cookies of their sockets, with the policy that wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlawed {
    /// Of the connection table.
    pub listed: BTreeMap<u64, String>,
    /// Those that programs of this host made straight to an endpoint, and those that have arrived.
    pub others: BTreeMap<u64, String>,
}

impl Outlawed {
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.others.is_empty()
    }

    /// How many there are of each policy, of those that `counts` names.
    pub fn by_policy(&self, counts: &BTreeSet<u64>) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (cookie, policy) in self.listed.iter().chain(&self.others) {
            if counts.contains(cookie) {
                *sums.entry(policy.clone()).or_default() += 1;
            }
        }
        sums
    }
}

/// Whether any policy ends connections that stand.
pub fn ends_any(mesh: &Mesh) -> bool {
    let mut policies = mesh.policies.values();
    policies.any(|policy| policy.enforce_existing && policy.mode == Mode::Enforce)
}

/// The connections that the tables refuse by a policy that also ends those that stand.
pub fn outlawed(tables: &Tables, mesh: &Mesh, live: &LiveConnections) -> Outlawed {
    let judge = Judge::of(tables);
    let ending = |id: AuthorizationId| {
        let name = tables.name(Table::Authorizations, id.index())?;
        let policy = mesh.policies.get(name.as_str())?;
        policy.enforce_existing.then_some(name)
    };
    let mut outlawed = Outlawed::default();
    for living in live.listed.iter().filter(|it| !it.is_over()) {
        let connection = &living.connection;
        let whose = live.whose(tables, connection.cgroup, connection.user);
        let (Some(whose), Some(service)) = (whose, connection.service) else {
            continue;
        };
        if let Some(policy) = judge.client(service, &whose).denied.and_then(ending) {
            outlawed.listed.insert(living.cookie, policy);
        }
    }
    for (made, cgroup) in live.direct() {
        let Some(whose) = live.whose(tables, cgroup, made.user) else {
            continue;
        };
        let judgement = judge.direct(made.protocol, made.remote, &whose);
        if let Some(policy) = judgement.denied.and_then(ending) {
            outlawed.others.insert(made.cookie, policy);
        }
    }
    for it in &live.accepted {
        let judgement = judge.arrival(Protocol::Tcp, it.local, it.remote.ip());
        if let Some(policy) = judgement.denied.and_then(ending) {
            outlawed.others.insert(it.cookie, policy);
        }
    }
    outlawed
}
