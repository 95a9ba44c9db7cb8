//! Open connections that a change of the policies would refuse.

use super::connections::unit;
use crate::api::{DeniedConnection, Denying};
use crate::host::Lineage;
use crate::kernel::{Accepted, Living};
use crate::model::{Caller, Mesh, Mode, Table};
use crate::tables::{Judge, Tables, Whose};
use kmesh_lite_common::{
    Address, AuthorizationId, FrontendKey, Judgement, Port, Protocol, ServiceId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Connections of a policy that an answer has.
const MOST: usize = 1_000;

/// What there is at the moment.
pub struct LiveConnections<'a> {
    /// Connections of this host's programs.
    pub connections: &'a [Living],
    /// Where these programs run.
    pub lineages: &'a BTreeMap<u64, Lineage>,
    /// What has arrived.
    pub accepted: &'a [Accepted],
}

/// By policy, those that `desired` tables refuse and `actual` ones do not, or would if it were not for audit mode. Who
/// connected is told by cgroup and user: groups are not known of connections that stand.
pub fn denied(
    [actual, desired]: [&Tables; 2],
    mesh: &Mesh,
    LiveConnections {
        connections,
        lineages,
        accepted,
    }: &LiveConnections<'_>,
) -> Vec<Denying> {
    if desired.rows.authorizations.is_empty() {
        return Vec::new();
    }
    let mut by_policy: BTreeMap<AuthorizationId, Denied> = BTreeMap::new();
    outbound([actual, desired], connections, lineages, &mut by_policy);
    inbound([actual, desired], accepted, &mut by_policy);
    let denying = by_policy.into_iter().filter_map(|(id, denied)| {
        let policy = desired.name(Table::Authorizations, id.index())?;
        let meant = mesh.policies.get(policy.as_str())?;
        Some(Denying {
            mode: meant.mode.to_string(),
            open_connections: denied.count,
            ends: meant.mode == Mode::Enforce && meant.enforce_existing,
            connections: denied.told,
            policy,
        })
    });
    let mut denying: Vec<_> = denying.collect();
    denying.sort_by(|a, b| a.policy.cmp(&b.policy));
    denying
}

/// What one policy has against connections.
#[derive(Default)]
struct Denied {
    count: u64,
    told: Vec<DeniedConnection>,
}

impl Denied {
    fn add(&mut self, told: impl FnOnce() -> DeniedConnection) {
        self.count += 1;
        if self.told.len() < MOST {
            self.told.push(told());
        }
    }
}

/// Those of programs of this host.
fn outbound(
    [actual, desired]: [&Tables; 2],
    connections: &[Living],
    lineages: &BTreeMap<u64, Lineage>,
    by_policy: &mut BTreeMap<AuthorizationId, Denied>,
) {
    let services = desired.rows.services.keys();
    let services =
        services.filter_map(|id| Some((desired.name(Table::Services, id.index())?, *id)));
    let services: BTreeMap<String, ServiceId> = services.collect();
    let (before, after) = (Judge::of(actual), Judge::of(desired));
    let mut judged: BTreeMap<(ServiceId, u64, u32), Option<AuthorizationId>> = BTreeMap::new();
    let mut oldest_first: Vec<_> = connections.iter().filter(|it| !it.is_over()).collect();
    oldest_first.sort_by_key(|it| (it.connection.since, it.cookie));
    for living in oldest_first {
        let connection = &living.connection;
        let (Some(id), user) = (connection.service, connection.user) else {
            continue;
        };
        let key = (id, connection.cgroup, user);
        let policy = judged.entry(key).or_insert_with(|| {
            let name = actual.name(Table::Services, id.index())?;
            let whose = whose(connection.cgroup, user, lineages);
            newly_denied(
                before.client(id, &whose),
                after.client(*services.get(&name)?, &whose),
            )
        });
        if let Some(policy) = policy {
            let denied = by_policy.entry(*policy).or_default();
            denied.add(|| told(living, actual, lineages));
        }
    }
}

/// Those that have arrived.
fn inbound(
    [actual, desired]: [&Tables; 2],
    accepted: &[Accepted],
    by_policy: &mut BTreeMap<AuthorizationId, Denied>,
) {
    let (before, after) = (Judge::of(actual), Judge::of(desired));
    let destinations = desired.rows.destinations.values();
    let destinations: BTreeSet<_> = destinations.map(|row| row.key).collect();
    // Most ports are nobody's business, and judging one takes a look at all rows.
    let is_meant = |local: &SocketAddr| {
        let (address, port) = (local.ip().into(), Port::new(local.port()));
        let places = [address, Address::EVERY].into_iter();
        let mut keys = places.flat_map(|address| [(address, port), (address, Port::EVERY)]);
        keys.any(|(address, port)| {
            destinations.contains(&FrontendKey::new(address, port, Protocol::Tcp))
        })
    };
    let mut judged: BTreeMap<(SocketAddr, IpAddr), Option<AuthorizationId>> = BTreeMap::new();
    for it in accepted.iter().filter(|it| is_meant(&it.local)) {
        let (local, from) = (it.local, it.remote.ip());
        let policy = judged.entry((local, from)).or_insert_with(|| {
            let judge = |by: &Judge<'_>| by.arrival(Protocol::Tcp, local, from);
            newly_denied(judge(&before), judge(&after))
        });
        if let Some(policy) = policy {
            let denied = by_policy.entry(*policy).or_default();
            denied.add(|| DeniedConnection {
                inbound: true,
                from: Some(it.remote.to_string()),
                to: local.to_string(),
                cookie: it.cookie,
                ..DeniedConnection::default()
            });
        }
    }
}

/// The policy that refuses what is allowed now, or would if it were not in audit mode.
fn newly_denied(now: Judgement, then: Judgement) -> Option<AuthorizationId> {
    match (now.denied, then.denied) {
        (None, Some(policy)) => Some(policy),
        (None, None) if now.audited.is_none() => then.audited,
        _ => None,
    }
}

fn whose(cgroup: u64, user: u32, lineages: &BTreeMap<u64, Lineage>) -> Whose {
    let lineage = lineages.get(&cgroup);
    Whose {
        cgroup: Some(cgroup),
        lineage: lineage.map_or_else(Vec::new, |it| it.ids.clone()),
        user: Some(user),
        ..Whose::any(Caller::Ordinary)
    }
}

fn told(living: &Living, tables: &Tables, lineages: &BTreeMap<u64, Lineage>) -> DeniedConnection {
    let connection = &living.connection;
    let asked = SocketAddr::new(connection.address.into(), connection.port.get());
    let path = lineages.get(&connection.cgroup).map(|it| &it.path);
    let from = path.map(|path| unit(path).unwrap_or_else(|| path.display().to_string()));
    let service = connection.service;
    let service = service.and_then(|id| tables.name(Table::Services, id.index()));
    DeniedConnection {
        inbound: false,
        from,
        to: service.unwrap_or_default(),
        original_destination: Some(asked.to_string()),
        cookie: living.cookie,
        uid: Some(connection.user),
        pid: Some(connection.process),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fragments, Host, Loader, Origin};
    use crate::model::{Cgroup, CgroupRef, Facts};
    use crate::tables::{Actual, build};
    use kmesh_lite_common::{Address, Connection, Port, Protocol, Stage};
    use std::net::{IpAddr, Ipv4Addr};

    const SHOP: u64 = 3;
    const BATCH: u64 = 4;

    fn facts() -> (Facts, BTreeMap<u64, Lineage>) {
        let (mut facts, mut lineages) = (Facts::default(), BTreeMap::new());
        for (name, id) in [("shop.service", SHOP), ("batch.service", BATCH)] {
            let path = std::path::PathBuf::from(format!("/system.slice/{name}"));
            let cgroup = Cgroup {
                path: path.clone(),
                id,
                level: Some(2),
            };
            facts.cgroups.insert(CgroupRef::from(name), vec![cgroup]);
            let ids = vec![1, 2, id];
            lineages.insert(id, Lineage { path, ids });
        }
        (facts, lineages)
    }

    fn mesh(policies: &str) -> Mesh {
        let text = format!(
            "services.web = {{ vips = ['10.96.0.10'], ports = [80], endpoints = ['192.0.2.1'] }}\n{policies}"
        );
        let fragments = [(Origin::new("mesh.toml"), text)];
        let fragments: Fragments = fragments.into_iter().collect();
        let loaded = Loader::default().load(&fragments, &Host::default());
        loaded.mesh.expect("a mesh")
    }

    fn tables(mesh: &Mesh) -> Tables {
        let built = build(mesh, &facts().0, &Actual::default(), 0);
        built.unwrap().tables
    }

    fn open(tables: &Tables, cgroup: u64, cookie: u64, stage: Stage) -> Living {
        Living {
            cookie,
            connection: Connection {
                address: Address::from(IpAddr::from(Ipv4Addr::LOCALHOST)),
                since: cookie,
                cgroup,
                service: tables.rows.services.keys().next().copied(),
                endpoint: None,
                backend: None,
                waypoint: None,
                process: 1,
                user: 0,
                owner: cookie as u32,
                port: Port::new(80),
                protocol: Protocol::Tcp,
                stage,
            },
        }
    }

    fn denials(before: &str, after: &str) -> Vec<Denying> {
        let (before, after) = (mesh(before), mesh(after));
        let [actual, desired] = [tables(&before), tables(&after)];
        let connections = [
            open(&actual, SHOP, 1, Stage::default()),
            open(&actual, BATCH, 3, Stage::default()),
            open(&actual, BATCH, 2, Stage::default()),
            open(&actual, BATCH, 4, Stage::CLOSED),
        ];
        let standing = LiveConnections {
            connections: &connections,
            lineages: &facts().1,
            accepted: &accepted(),
        };
        denied([&actual, &desired], &after, &standing)
    }

    fn accepted() -> Vec<Accepted> {
        let standing = [
            ("192.0.2.1:80", "10.0.0.1:40000"),
            ("192.0.2.1:80", "10.1.0.1:40000"),
            ("192.0.2.1:22", "10.1.0.1:40001"),
        ];
        let standing = standing.into_iter().zip(1..);
        let accepted = standing.map(|((local, remote), cookie)| Accepted {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            cookie,
        });
        accepted.collect()
    }

    #[test]
    fn what_has_arrived_is_judged_where_policies_say_from_where() {
        let from =
            "policies.web-from = { action = 'deny', services = ['web'], from = ['10.1.0.0/16'] }";
        let denied = denials("", from);
        let [denying] = &*denied else {
            panic!("{denied:?}");
        };
        assert_eq!(denying.open_connections, 1, "{denying:?}");
        let told = &denying.connections[0];
        assert_eq!(told.from.as_deref(), Some("10.1.0.1:40000"));
        assert_eq!((&*told.to, told.inbound), ("192.0.2.1:80", true));
        assert_eq!(denials(from, from), []);
    }

    const CLOSED: &str =
        "policies.web-in = { action = 'allow', services = ['web'], clients = ['shop.service'] }";

    #[test]
    fn connections_that_a_change_would_refuse_are_told_by_policy_oldest_first() {
        let denied = denials("", CLOSED);
        let [denying] = &*denied else {
            panic!("{denied:?}");
        };
        assert_eq!((&*denying.policy, denying.open_connections), ("web-in", 2));
        assert_eq!((&*denying.mode, denying.ends), ("enforce", false));
        let told: Vec<_> = denying.connections.iter().map(|it| it.cookie).collect();
        assert_eq!(told, [2, 3]);
        let first = &denying.connections[0];
        assert_eq!(first.from.as_deref(), Some("batch.service"));
        assert_eq!(first.to, "web");
    }

    #[test]
    fn what_is_refused_already_is_not_news_and_audit_mode_is_told() {
        assert_eq!(denials(CLOSED, CLOSED), []);
        let audited = CLOSED.replace(" }", ", mode = 'audit' }");
        let denied = denials("", &audited);
        assert_eq!(denied[0].mode, "audit");
        assert_eq!(denied[0].open_connections, 2);
        // Audit mode ends, and what it told of comes true.
        assert_eq!(denials(&audited, CLOSED)[0].mode, "enforce");
    }
}
