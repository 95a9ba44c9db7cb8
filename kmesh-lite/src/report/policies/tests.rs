use super::*;
use crate::config::{Fragments, Host, Loader, Origin};
use crate::kernel::Living;
use crate::model::{Cgroup, CgroupRef};
use crate::tables::{Actual, build};
use kmesh_lite_common::{Address, Connection, Port, Protocol, Stage, TrafficKey};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

const ROOT: u64 = 1;
const SYSTEM: u64 = 2;
const SHOP: u64 = 3;
const OTHER: u64 = 4;

const MESH: &str = r#"
    [services.web]
    vips = ["10.96.0.10"]
    ports = [80]
    endpoints = ["192.168.1.10"]
    [services.db]
    vips = ["10.96.0.11"]
    ports = [5432]
    endpoints = ["192.168.1.11"]
    [services.dns]
    vips = ["10.96.0.12"]
    ports = [53]
    endpoints = ["192.168.1.12"]

    [policies.web-in]
    action = "allow"
    services = ["web"]
    clients = ["shop.service", "later-*.service"]
    [policies.db-in]
    action = "allow"
    services = ["db"]
    clients = ["other.service"]
    mode = "audit"
    [policies.no-root]
    action = "deny"
    services = ["web", "db"]
    clients = ["user:root"]
"#;

struct Seen {
    snapshot: Snapshot,
    mesh: Mesh,
    facts: Facts,
    lineages: BTreeMap<u64, Lineage>,
}

fn seen(text: &str) -> Seen {
    let fragments = [(Origin::new("mesh.toml"), text.to_owned())];
    let fragments: Fragments = fragments.into_iter().collect();
    let loaded = Loader::default().load(&fragments, &Host::default());
    let mesh = loaded.mesh.expect("a mesh");
    let mut facts = Facts::default();
    facts.users.insert("root".to_owned(), 0);
    let mut lineages = BTreeMap::new();
    for (name, id) in [("shop.service", SHOP), ("other.service", OTHER)] {
        let path = PathBuf::from(format!("/system.slice/{name}"));
        let cgroup = Cgroup {
            path: path.clone(),
            id,
            level: Some(2),
        };
        facts.cgroups.insert(CgroupRef::from(name), vec![cgroup]);
        let ids = vec![ROOT, SYSTEM, id];
        lineages.insert(id, Lineage { path, ids });
    }
    let tables = build(&mesh, &facts, &Actual::default(), 0).unwrap().tables;
    let snapshot = Snapshot {
        room: mesh.limits,
        attached: vec!["/".into()],
        tables,
        ..Snapshot::default()
    };
    Seen {
        snapshot,
        mesh,
        facts,
        lineages,
    }
}

impl Seen {
    fn said(&self, name: Option<&str>) -> Policies {
        let (snapshot, facts) = (&self.snapshot, &self.facts);
        policies(snapshot, Some(&self.mesh), facts, &self.lineages, name).expect("policies")
    }

    /// `from -> to verdict policy` of each pair.
    fn pairs(&self, name: Option<&str>) -> Vec<String> {
        let pairs = self.said(name).outbound.into_iter();
        let words = pairs.map(|it| {
            let absent = if it.absent { " (absent)" } else { "" };
            let by = it.policy.as_deref().unwrap_or("-");
            format!("{}{absent} -> {} {} {by}", it.from, it.to, it.verdict)
        });
        words.collect()
    }
}

#[test]
fn each_client_is_judged_before_each_service_that_policies_are_about() {
    let seen = seen(MESH);
    assert_eq!(
        seen.pairs(None),
        [
            "later-*.service (absent) -> db audited db-in",
            "later-*.service (absent) -> web allowed web-in",
            "other.service -> db allowed db-in",
            "other.service -> web denied web-in",
            "shop.service -> db audited db-in",
            "shop.service -> web allowed web-in",
            "user:root -> db denied no-root",
            "user:root -> web denied no-root",
            "* -> db audited db-in",
            "* -> web denied web-in",
        ]
    );
    let said = seen.said(None);
    assert_eq!(said.open, ["dns"]);
    let names: Vec<_> = said.policies.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["db-in", "no-root", "web-in"]);
}

#[test]
fn one_policy_is_shown_with_whom_it_matches_and_what_it_decides() {
    let seen = seen(MESH);
    let said = seen.said(Some("web-in"));
    let [policy] = &*said.policies else {
        panic!("{said:?}");
    };
    let clients = policy.clients.as_ref().expect("clients");
    let matched = |name: &str| {
        let mut clients = clients.iter();
        let client = clients.find(|it| it.name == name).expect("the client");
        client.cgroups.clone()
    };
    assert_eq!(matched("shop.service"), ["/system.slice/shop.service"]);
    assert!(matched("later-*.service").is_empty());
    assert_eq!(
        seen.pairs(Some("web-in")),
        [
            "later-*.service (absent) -> web allowed web-in",
            "other.service -> web denied web-in",
            "shop.service -> web allowed web-in",
            "* -> web denied web-in",
        ]
    );
}

#[test]
fn an_unknown_policy_is_told_with_what_was_meant() {
    let seen = seen(MESH);
    let (snapshot, facts) = (&seen.snapshot, &seen.facts);
    let said = policies(
        snapshot,
        Some(&seen.mesh),
        facts,
        &seen.lineages,
        Some("web-inn"),
    );
    let failure = said.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound);
    assert_eq!(
        failure.error,
        "there is no policy `web-inn`: did you mean `web-in`?"
    );
}

#[test]
fn units_that_connect_are_shown_and_by_their_users_where_policies_name_users() {
    let mut seen = seen(MESH);
    let service = *seen.snapshot.tables.rows.services.keys().next().unwrap();
    let (open, counted) = (7, 8);
    for (name, id) in [("batch@1.service", open), ("cron.service", counted)] {
        let path = PathBuf::from(format!("/system.slice/{name}"));
        let ids = vec![ROOT, SYSTEM, id];
        seen.lineages.insert(id, Lineage { path, ids });
    }
    seen.snapshot.connections.push(Living {
        cookie: 1,
        connection: Connection {
            address: Address::from(IpAddr::from(Ipv4Addr::LOCALHOST)),
            since: 0,
            cgroup: open,
            service: Some(service),
            endpoint: None,
            backend: None,
            waypoint: None,
            process: 1,
            user: 0,
            owner: 1,
            port: Port::new(80),
            protocol: Protocol::Tcp,
            stage: Stage::default(),
        },
    });
    let key = TrafficKey {
        cgroup: counted,
        service: Some(service),
        ..TrafficKey::default()
    };
    seen.snapshot.accounts.sums.insert(key, Default::default());
    let pairs = seen.pairs(None);
    for expected in [
        "batch@1.service user:root -> web denied no-root",
        "cron.service -> web denied web-in",
    ] {
        assert!(pairs.iter().any(|it| it == expected), "{pairs:#?}");
    }
}

#[test]
fn a_client_whose_connects_are_not_handled_is_not_judged() {
    let mut seen = seen(MESH);
    seen.snapshot.attached = vec!["/system.slice/other.service".into()];
    let pairs = seen.pairs(None);
    let expected = "shop.service -> web unjudged -";
    assert!(pairs.iter().any(|it| it == expected), "{pairs:#?}");
}

/// A mesh whose policies say something of sources: the database closed to the web and to a network with a hole.
fn seen_from() -> Seen {
    use crate::model::{Authorization, LocalPorts, OnError, Source};
    let mut seen = seen(MESH);
    let policy = |action, services: &[&str], from: &[Source]| Authorization {
        action,
        mode: crate::model::Mode::Enforce,
        services: services.iter().map(|it| it.parse().unwrap()).collect(),
        ports: BTreeSet::new(),
        clients: None,
        from: Some(from.iter().cloned().collect()),
        on_error: None,
        enforce_existing: false,
        force: false,
    };
    let network = |text: &str| Source::Network(text.parse().unwrap());
    let (allow, deny) = (crate::model::Action::Allow, crate::model::Action::Deny);
    let db_from = policy(
        allow,
        &["db"],
        &[
            Source::Service("web".parse().unwrap()),
            network("10.0.0.0/8"),
        ],
    );
    let hole = policy(deny, &["db"], &[network("10.0.0.0/16")]);
    let ssh = Authorization {
        services: BTreeSet::new(),
        ports: [LocalPorts {
            address: None,
            protocol: Protocol::Tcp,
            range: Some((22, 22)),
        }]
        .into(),
        on_error: Some(OnError::Open),
        ..policy(allow, &[], &[network("192.0.2.0/24")])
    };
    for (name, policy) in [("db-from", db_from), ("hole", hole), ("ssh", ssh)] {
        seen.mesh.policies.insert(name.parse().unwrap(), policy);
    }
    let built = build(&seen.mesh, &seen.facts, &Actual::default(), 0);
    seen.snapshot.tables = built.unwrap().tables;
    seen
}

#[test]
fn each_source_is_judged_before_each_target_outside_of_smaller_networks() {
    let said = seen_from().said(None);
    let pairs = said.inbound.iter().map(|it| {
        let by = it.policy.as_deref().unwrap_or("-");
        format!("{} -> {} {} {by}", it.from, it.to, it.verdict)
    });
    let pairs: Vec<_> = pairs.collect();
    for expected in [
        "10.0.0.0/8 -> db allowed db-from",
        "10.0.0.0/16 -> db denied hole",
        "service:web -> db allowed db-from",
        "192.0.2.0/24 -> db denied db-from",
        "192.0.2.0/24 -> port 22 allowed ssh",
        "service:web -> port 22 denied ssh",
        "* -> db denied db-from",
        "* -> port 22 denied ssh",
    ] {
        assert!(
            pairs.iter().any(|it| it == expected),
            "{expected}: {pairs:#?}"
        );
    }
    // Nothing is said of where connections to it come from.
    assert!(!pairs.iter().any(|it| it.contains("-> web")), "{pairs:#?}");
}

#[test]
fn while_a_name_has_no_answer_everybody_else_is_shown_as_on_error_says() {
    let shown = |action: &str, on_error: &str| {
        let seen = seen(&format!(
            "[services.away]\nvips = ['10.96.0.20']\nports = [80]\nendpoints = [{{ dns = 'nobody.internal' }}]\n\
             [policies.in]\naction = '{action}'\nports = [8080]\nfrom = ['service:away', '192.0.2.0/24']\n{on_error}"
        ));
        let inbound = seen.said(None).inbound;
        let everybody = inbound.iter().find(|it| it.from == "*").unwrap();
        let by = everybody.policy.as_deref().unwrap_or("-");
        format!("{} {by}", everybody.verdict)
    };
    for (action, on_error, expected) in [
        ("allow", "on_error = 'open'", "allowed in"),
        ("allow", "on_error = 'closed'", "denied in"),
        ("allow", "", "denied in"),
        ("deny", "on_error = 'closed'", "denied in"),
        ("deny", "on_error = 'open'", "allowed -"),
        ("deny", "", "allowed -"),
    ] {
        assert_eq!(shown(action, on_error), expected, "{action} {on_error}");
    }
}
