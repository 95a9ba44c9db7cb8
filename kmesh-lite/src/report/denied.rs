//! Open connections that a change of the policies would refuse.

use super::connections::unit;
use super::live::LiveConnections;
use crate::api::{DeniedConnection, Denying};
use crate::host::Lineage;
use crate::kernel::{Accepted, Living};
use crate::model::{Mesh, Mode, Table};
use crate::tables::{Judge, Tables};
use kmesh_lite_common::{
    Address, AuthorizationId, FrontendKey, Judgement, Port, Protocol, ServiceId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Connections of a policy that an answer has.
const MOST: usize = 1_000;

/// By policy, those that `desired` tables refuse and `actual` ones do not, or would if it were not for audit mode. Who
/// connected is told by cgroup and user: groups are not known of connections that stand.
pub fn denied(
    [actual, desired]: [&Tables; 2],
    mesh: &Mesh,
    live: &LiveConnections,
) -> Vec<Denying> {
    if desired.rows.authorizations.is_empty() {
        return Vec::new();
    }
    let mut by_policy: BTreeMap<AuthorizationId, Denied> = BTreeMap::new();
    outbound([actual, desired], live, &mut by_policy);
    direct([actual, desired], live, &mut by_policy);
    inbound([actual, desired], &live.accepted, &mut by_policy);
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

/// Those of programs of this host to services.
fn outbound(
    [actual, desired]: [&Tables; 2],
    live: &LiveConnections,
    by_policy: &mut BTreeMap<AuthorizationId, Denied>,
) {
    let services = desired.rows.services.keys();
    let services =
        services.filter_map(|id| Some((desired.name(Table::Services, id.index())?, *id)));
    let services: BTreeMap<String, ServiceId> = services.collect();
    let (before, after) = (Judge::of(actual), Judge::of(desired));
    let mut judged: BTreeMap<(ServiceId, u64, u32), Option<AuthorizationId>> = BTreeMap::new();
    let mut oldest_first: Vec<_> = live.listed.iter().filter(|it| !it.is_over()).collect();
    oldest_first.sort_by_key(|it| (it.connection.since, it.cookie));
    for living in oldest_first {
        let connection = &living.connection;
        let (Some(id), user) = (connection.service, connection.user) else {
            continue;
        };
        let key = (id, connection.cgroup, user);
        let policy = judged.entry(key).or_insert_with(|| {
            let name = actual.name(Table::Services, id.index())?;
            let whose = live.whose(desired, connection.cgroup, user)?;
            newly_denied(
                before.client(id, &whose),
                after.client(*services.get(&name)?, &whose),
            )
        });
        if let Some(policy) = policy {
            let denied = by_policy.entry(*policy).or_default();
            denied.add(|| told(living, actual, &live.lineages));
        }
    }
}

/// Those of programs of this host straight to endpoints.
fn direct(
    [actual, desired]: [&Tables; 2],
    live: &LiveConnections,
    by_policy: &mut BTreeMap<AuthorizationId, Denied>,
) {
    let (before, after) = (Judge::of(actual), Judge::of(desired));
    for (made, cgroup) in live.direct() {
        let Some(whose) = live.whose(desired, cgroup, made.user) else {
            continue;
        };
        let judge = |by: &Judge<'_>| by.direct(made.protocol, made.remote, &whose);
        if let Some(policy) = newly_denied(judge(&before), judge(&after)) {
            let denied = by_policy.entry(policy).or_default();
            denied.add(|| DeniedConnection {
                from: live.lineages.get(&cgroup).map(client),
                to: made.remote.to_string(),
                cookie: made.cookie,
                uid: Some(made.user),
                ..DeniedConnection::default()
            });
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

/// The unit of a client, or its cgroup.
fn client(lineage: &Lineage) -> String {
    unit(&lineage.path).unwrap_or_else(|| lineage.path.display().to_string())
}

fn told(living: &Living, tables: &Tables, lineages: &BTreeMap<u64, Lineage>) -> DeniedConnection {
    let connection = &living.connection;
    let asked = SocketAddr::new(connection.address.into(), connection.port.get());
    let from = lineages.get(&connection.cgroup).map(client);
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
    use crate::kernel::Made;
    use crate::model::{Cgroup, CgroupRef, Facts};
    use crate::tables::{Actual, build};
    use kmesh_lite_common::{Address, Connection, Port, Protocol, Stage};
    use std::net::{IpAddr, Ipv4Addr};

    const SHOP: u64 = 3;
    const BATCH: u64 = 4;
    /// Outside of what is captured.
    const ELSEWHERE: u64 = 9;

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
        let elsewhere = Lineage {
            path: "/other.slice".into(),
            ids: vec![7, ELSEWHERE],
        };
        lineages.insert(ELSEWHERE, elsewhere);
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
            listed: connections.into(),
            made: made(),
            accepted: accepted(),
            lineages: facts().1,
            captured: BTreeSet::from([1]),
        };
        denied([&actual, &desired], &after, &standing)
    }

    /// Straight to the endpoint and to another port there, from both units, and one that is in a row.
    fn made() -> Vec<Made> {
        let standing = [
            ("192.0.2.1:80", SHOP, 10),
            ("192.0.2.1:80", BATCH, 11),
            ("192.0.2.1:81", BATCH, 12),
            ("192.0.2.1:80", BATCH, 2),
            ("192.0.2.1:80", ELSEWHERE, 13),
        ];
        let made = standing.map(|(remote, cgroup, cookie)| Made {
            protocol: Protocol::Tcp,
            remote: remote.parse().unwrap(),
            cookie,
            cgroup: Some(cgroup),
            user: 0,
        });
        made.into()
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
        assert_eq!((&*denying.policy, denying.open_connections), ("web-in", 3));
        assert_eq!((&*denying.mode, denying.ends), ("enforce", false));
        let told: Vec<_> = denying.connections.iter().map(|it| it.cookie).collect();
        assert_eq!(told, [2, 3, 11]);
        let first = &denying.connections[0];
        assert_eq!(first.from.as_deref(), Some("batch.service"));
        assert_eq!(first.to, "web");
        // Straight to an endpoint, and in no row.
        let straight = &denying.connections[2];
        assert_eq!(straight.from.as_deref(), Some("batch.service"));
        assert_eq!(straight.to, "192.0.2.1:80");
    }

    #[test]
    fn what_is_refused_already_is_not_news_and_audit_mode_is_told() {
        assert_eq!(denials(CLOSED, CLOSED), []);
        let audited = CLOSED.replace(" }", ", mode = 'audit' }");
        let denied = denials("", &audited);
        assert_eq!(denied[0].mode, "audit");
        assert_eq!(denied[0].open_connections, 3);
        // Audit mode ends, and what it told of comes true.
        assert_eq!(denials(&audited, CLOSED)[0].mode, "enforce");
    }
}
