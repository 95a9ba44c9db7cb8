//! Connections that stand although policies refuse them, and that are to end.

use super::denied::LiveConnections;
use crate::model::{Caller, Mesh, Mode, Table};
use crate::tables::{Judge, Tables, Whose};
use kmesh_lite_common::{AuthorizationId, Protocol};
use std::collections::{BTreeMap, BTreeSet};

/// Connections that are to end, by the cookies of their sockets, with the policy that wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlawed {
    /// Of programs of this host.
    pub outbound: BTreeMap<u64, String>,
    /// That have arrived.
    pub inbound: BTreeMap<u64, String>,
}

impl Outlawed {
    pub fn is_empty(&self) -> bool {
        self.outbound.is_empty() && self.inbound.is_empty()
    }

    /// How many there are of each policy, of those that `counts` names.
    pub fn by_policy(&self, counts: &BTreeSet<u64>) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (cookie, policy) in self.outbound.iter().chain(&self.inbound) {
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
pub fn outlawed(tables: &Tables, mesh: &Mesh, live: &LiveConnections<'_>) -> Outlawed {
    let judge = Judge::of(tables);
    let ending = |id: AuthorizationId| {
        let name = tables.name(Table::Authorizations, id.index())?;
        let policy = mesh.policies.get(name.as_str())?;
        policy.enforce_existing.then_some(name)
    };
    let mut outlawed = Outlawed::default();
    for living in live.connections.iter().filter(|it| !it.is_over()) {
        let connection = &living.connection;
        let lineage = live.lineages.get(&connection.cgroup);
        let ids = lineage.map_or_else(Vec::new, |lineage| lineage.ids.clone());
        // What a waypoint passes on was judged when its client connected, and who bypasses the mesh is judged nowhere.
        if ids.iter().any(|id| tables.callers.contains_key(id)) {
            continue;
        }
        let whose = Whose {
            cgroup: Some(connection.cgroup),
            lineage: ids,
            user: Some(connection.user),
            ..Whose::any(Caller::Ordinary)
        };
        let Some(service) = connection.service else {
            continue;
        };
        let denied = judge.client(service, &whose).denied;
        if let Some(policy) = denied.and_then(ending) {
            outlawed.outbound.insert(living.cookie, policy);
        }
    }
    for it in live.accepted {
        let judgement = judge.arrival(Protocol::Tcp, it.local, it.remote.ip());
        if let Some(policy) = judgement.denied.and_then(ending) {
            outlawed.inbound.insert(it.cookie, policy);
        }
    }
    outlawed
}
