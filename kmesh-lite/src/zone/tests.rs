use super::*;
use crate::config::{Fragments, Host, Loader, Origin};
use crate::model::{Down, EndpointFact, Facts, Membership, Standing};
use crate::tables::{Actual, Built, build};
use proptest::prelude::*;
use proptest::sample::subsequence;
use std::collections::BTreeMap;

fn mesh(text: &str) -> Mesh {
    let text = format!("dns.listen = '127.0.0.1:53'\n{text}");
    let fragments = Fragments::from_iter([(Origin::new("mesh.toml"), text)]);
    let loaded = Loader::default().load(&fragments, &Host::default());
    let problems: Vec<_> = loaded.problems.iter().map(|it| it.to_string()).collect();
    loaded.mesh.unwrap_or_else(|| panic!("{problems:?}"))
}

fn built(mesh: &Mesh, facts: &Facts, before: Option<&Built>) -> Built {
    let actual = before.map_or_else(Actual::default, |before| Actual {
        tables: before.tables.clone(),
        ..Actual::default()
    });
    build(mesh, facts, &actual, 100_000).unwrap()
}

fn follow(zone: &mut Zone, built: &Built) -> bool {
    zone.follow(Basis {
        mesh: &built.mesh,
        standings: &built.facts.standings,
        vips: &built.vips,
    })
}

fn zone_of(text: &str) -> Zone {
    let mut zone = Zone::new(1);
    follow(&mut zone, &built(&mesh(text), &Facts::default(), None));
    zone
}

/// What a name has, in short.
fn said(zone: &Zone, name: &str) -> String {
    let Some((_, records)) = zone.names.get(name).map(|it| (0, it.winner())) else {
        return "-".to_owned();
    };
    let lists = records.addresses.iter().map(|list| {
        let list: Vec<_> = list.iter().map(ToString::to_string).collect();
        list.join(" ")
    });
    let services = records.services.iter();
    let services =
        services.map(|it| format!("{} {} {} {}", it.priority, it.weight, it.port, it.target));
    let all: Vec<_> = lists
        .chain(services)
        .chain(records.pointer.iter().map(|it| it.to_string()))
        .collect();
    all.join(" | ")
}

const ONE: &str = "
    [services.Payments]
    vips = ['10.96.0.10', 'fd00:96::10']
    ports = [80, { port = 443, target = 8443, name = 'https' }, '53/udp']
    hostnames = ['pay.example', '*.shop.internal']
    endpoints = ['db-1', '10.0.0.2']
    [endpoints]
    DB-1 = { address = '10.0.0.1' }
    db-1 = { address = '10.0.0.3' }
    db_2 = { address = '10.0.0.2' }
";

#[test]
fn a_service_has_its_names_its_ports_and_its_addresses() {
    let zone = zone_of(ONE);
    let addresses = "10.96.0.10 fd00:96::10";
    for (name, expected) in [
        ("payments.mesh", addresses),
        ("pay.example", addresses),
        ("*.shop.internal", addresses),
        ("_80._tcp.payments.mesh", "0 0 80 payments.mesh"),
        ("_443._tcp.payments.mesh", "0 0 443 payments.mesh"),
        ("_https._tcp.payments.mesh", "0 0 443 payments.mesh"),
        ("_53._udp.payments.mesh", "0 0 53 payments.mesh"),
        ("_https._tcp.pay.example", "0 0 443 pay.example"),
        ("10.0.96.10.in-addr.arpa", "payments.mesh"),
        ("db-1.payments.mesh", "10.0.0.3"),
    ] {
        assert_eq!(said(&zone, name), expected, "{name}");
    }
    let others = zone.names.keys().filter(|name| name.ends_with("ip6.arpa"));
    assert_eq!(others.count(), 1);
    // Names of endpoints that are none in DNS, addresses of one that is not headless, and what a wildcard cannot have.
    for name in [
        "db_2.payments.mesh",
        "10-0-0-2.payments.mesh",
        "_80._tcp.*.shop.internal",
        "mesh",
    ] {
        assert_eq!(said(&zone, name), "-", "{name}");
    }
    assert_eq!(zone.names.len(), 3 + 8 + 2 + 1);
}

#[test]
fn a_question_matches_the_name_itself_or_the_nearest_wildcard() {
    let zone = zone_of(&format!(
        "{ONE}
        [services.x]
        vips = ['10.96.0.11']
        ports = [80]
        hostnames = ['a.b.shop.internal', '*.deep.shop.internal']"
    ));
    let matched = |name: &str| {
        zone.lookup(name)
            .map(|(name, (service, _))| format!("{name} {service}"))
    };
    for (name, expected) in [
        ("payments.mesh", Some("payments.mesh Payments")),
        ("any.shop.internal", Some("*.shop.internal Payments")),
        ("x.any.shop.internal", Some("*.shop.internal Payments")),
        ("a.b.shop.internal", Some("a.b.shop.internal x")),
        ("x.deep.shop.internal", Some("*.deep.shop.internal x")),
        // There is a name below it, so that it exists, and hides the wildcard (RFC 4592, section 4.4).
        ("b.shop.internal", None),
        ("c.b.shop.internal", None),
        ("deep.shop.internal", None),
        ("shop.internal", None),
        ("other.mesh", None),
    ] {
        assert_eq!(matched(name).as_deref(), expected, "{name}");
    }
}

#[test]
fn headless_names_lead_to_usable_endpoints_the_nearest_first() {
    let text = "
        [node]
        locality = 'eu/a'
        [services.db]
        headless = true
        vips = ['10.96.0.10']
        ports = [5432]
        policy = 'failover'
        prefer = ['zone']
        endpoints = [
          { name = 'far', weight = 3 },
          { address = '10.0.0.2', locality = 'eu/a' },
          { address = '10.0.0.1:5433', locality = 'eu/a' },
          { address = '10.0.0.1:5434', locality = 'eu/a', weight = 0 },
          { address = 'fd00::1', locality = 'eu/a' },
          { address = '10.0.0.9', state = 'drain' },
        ]
        [endpoints]
        far = { address = '10.0.0.7', locality = 'eu/b' }";
    let mesh = mesh(text);
    let name: Name = "db".parse().unwrap();
    let mut facts = Facts::default();
    let mut stands = |address: &str, standing: Standing| {
        let mut endpoints = mesh.services["db"].endpoints.iter();
        let endpoint = endpoints
            .find(|it| it.address.to_string() == address)
            .unwrap();
        let endpoint = Membership::from(endpoint);
        let service = name.clone();
        facts.learn(EndpointFact {
            service,
            endpoint,
            standing,
        });
        facts.clone()
    };
    let mut zone = Zone::new(1);
    let first = stands("10.0.0.9", Standing::down(Down::Drain));
    follow(&mut zone, &built(&mesh, &first, None));
    assert_eq!(
        said(&zone, "db.mesh"),
        "10.0.0.1 10.0.0.2 fd00::1 | 10.0.0.7"
    );
    assert_eq!(
        said(&zone, "_5432._tcp.db.mesh"),
        "0 1 5433 10-0-0-1.db.mesh | 0 1 5432 10-0-0-2.db.mesh | 0 1 5432 fd00-0-0-0-0-0-0-1.db.mesh | 1 3 5432 far.db.mesh"
    );
    assert_eq!(said(&zone, "far.db.mesh"), "10.0.0.7");
    assert_eq!(
        said(&zone, "10-0-0-9.db.mesh"),
        "10.0.0.9",
        "whatever its state"
    );
    let revision = zone.revision();

    let second = stands("10.0.0.2", Standing::down(Down::Unhealthy));
    assert!(follow(&mut zone, &built(&mesh, &second, None)));
    assert_eq!(said(&zone, "db.mesh"), "10.0.0.1 fd00::1 | 10.0.0.7");
    let extract = zone.since(Some(revision));
    let changed: Vec<_> = extract.names().map(|(name, _)| name.to_string()).collect();
    assert_eq!(changed, ["_5432._tcp.db.mesh", "db.mesh"], "and no other");
    assert!(
        !follow(&mut zone, &built(&mesh, &second, None)),
        "the same again"
    );
}

#[test]
fn where_all_are_down_a_service_that_uses_all_names_what_nobody_took_out() {
    let text = |on_all_down: &str| {
        format!(
            "services.a = {{ headless = true, vips = ['auto'], ports = [80], on_all_down = '{on_all_down}', \
             endpoints = ['10.0.0.1', {{ address = '10.0.0.2', state = 'drain' }}, {{ address = '10.0.0.3', weight = 0 }}] }}"
        )
    };
    for (on_all_down, expected) in [("refuse", ""), ("use-all", "10.0.0.1")] {
        let mesh = mesh(&text(on_all_down));
        let mut facts = Facts::default();
        for (endpoint, down) in
            mesh.services["a"]
                .endpoints
                .iter()
                .zip([Down::Unhealthy, Down::Drain, Down::Unhealthy])
        {
            facts.learn(EndpointFact {
                service: "a".parse().unwrap(),
                endpoint: Membership::from(endpoint),
                standing: Standing::down(down),
            });
        }
        let mut zone = Zone::new(1);
        follow(&mut zone, &built(&mesh, &facts, None));
        assert_eq!(said(&zone, "a.mesh"), expected, "{on_all_down}");
    }
}

#[test]
fn of_two_claims_that_of_a_service_counts_and_the_other_one_comes_back() {
    let text = |more: &str| {
        format!(
            "services.b = {{ vips = ['10.96.0.1'], ports = [80], endpoints = ['a'] }}
             endpoints.a = {{ address = '10.0.0.1' }}
             {more}"
        )
    };
    let mut zone = Zone::new(1);
    let mut turn = |more: &str| {
        follow(
            &mut zone,
            &built(&mesh(&text(more)), &Facts::default(), None),
        );
        (
            said(&zone, "a.b.mesh"),
            said(&zone, "1.0.96.10.in-addr.arpa"),
        )
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(turn(""), pair("10.0.0.1", "b.mesh"));
    let other = "services.'a.b' = { vips = ['10.96.0.1'], ports = [81] }";
    assert_eq!(turn(other), pair("10.96.0.1", "a.b.mesh"));
    assert_eq!(turn(""), pair("10.0.0.1", "b.mesh"));
}

#[test]
fn a_service_that_is_no_name_in_dns_has_its_hostnames_alone() {
    let zone = zone_of(
        "services.a_b = { vips = ['10.96.0.1'], ports = [80], hostnames = ['ab.example'] }
         services.c_d = { vips = ['10.96.0.2'], ports = [80] }",
    );
    let names: Vec<_> = zone.names.keys().map(|name| &**name).collect();
    assert_eq!(
        names,
        [
            "1.0.96.10.in-addr.arpa",
            "_80._tcp.ab.example",
            "ab.example"
        ]
    );
    assert_eq!(said(&zone, "1.0.96.10.in-addr.arpa"), "ab.example");
}

#[test]
fn without_a_listener_there_are_no_names_and_another_domain_has_all_of_them() {
    let mut mesh = mesh(ONE);
    let mut zone = Zone::new(1);
    assert!(!zone.is_known());
    follow(&mut zone, &built(&mesh, &Facts::default(), None));
    let before = zone.len();
    mesh.dns.serving.as_mut().unwrap().domain = "svc.internal".to_owned();
    assert!(follow(&mut zone, &built(&mesh, &Facts::default(), None)));
    assert_eq!(zone.len(), before);
    assert_eq!(
        said(&zone, "_80._tcp.payments.svc.internal"),
        "0 0 80 payments.svc.internal"
    );
    assert_eq!(said(&zone, "payments.mesh"), "-");
    mesh.dns.serving = None;
    assert!(follow(&mut zone, &built(&mesh, &Facts::default(), None)));
    assert!(zone.is_empty() && zone.is_known());
}

/// Names with their records.
type Contents = BTreeMap<String, NameRecords>;

/// What an agent knows after it was told: the whole, or a difference to what it knew.
fn told(known: &Contents, extract: &Extract) -> Contents {
    let mut names = match extract.since {
        Some(_) => known.clone(),
        None => Contents::new(),
    };
    for (name, records) in extract.names() {
        match records {
            Some(records) => drop(names.insert(name.to_string(), NameRecords::clone(records))),
            None => drop(names.remove(&**name)),
        }
    }
    names
}

const SERVICES: [&str; 5] = [
    "services.a = { vips = ['auto'], ports = [80], endpoints = ['x', '10.0.0.2'] }",
    "services.B = { vips = ['10.96.0.1', 'fd00:96::1'], ports = [80, '53/udp'], hostnames = ['a.example', '*.example'] }",
    "services.c = { headless = true, vips = ['10.96.0.1'], ports = [{ port = 81, name = 'web' }], policy = 'failover', endpoints = ['x', '10.0.0.2', 'fd00::2'] }",
    "services.'x.c' = { vips = ['auto'], ports = [80], endpoints = ['10.0.0.3'] }",
    "services.d_e = { headless = true, vips = ['auto'], ports = [80], hostnames = ['d.example'], endpoints = ['y', '10.0.0.2:81', '10.0.0.2:82'] }",
];
const SETTINGS: [&str; 3] = [
    "node.locality = 'eu/a'",
    "dns.domain = 'svc'",
    "mesh.vip_ranges = ['240.65.0.0/24']",
];
const ENDPOINTS: &str = "endpoints.x = { address = '10.0.0.1', locality = 'eu/a' }\nendpoints.y = { address = '10.0.0.4' }";

/// Which lines of a file there are, and which endpoints are down.
fn state() -> impl Strategy<Value = (Vec<&'static str>, Vec<&'static str>, Vec<u8>)> {
    let services = subsequence(SERVICES.to_vec(), 0..=SERVICES.len());
    let settings = subsequence(SETTINGS.to_vec(), 0..=SETTINGS.len());
    (services, settings, prop::collection::vec(any::<u8>(), 12))
}

proptest! {
    #[test]
    fn a_difference_makes_the_old_names_the_new_ones(states in prop::collection::vec(state(), 1..8), sleeps in prop::collection::vec(any::<bool>(), 8)) {
        let mut zone = Zone::new(1);
        let mut before: Option<Built> = None;
        let (mut known, mut revision) = (Contents::new(), None);
        for ((services, settings, draws), sleeps) in states.into_iter().zip(sleeps) {
            let lines = settings.into_iter().chain(services).chain([ENDPOINTS]);
            let mesh = mesh(&lines.collect::<Vec<_>>().join("\n"));
            let mut facts = Facts::default();
            let mut draws = draws.into_iter().cycle();
            for (name, service) in &mesh.services {
                for endpoint in &service.endpoints {
                    let standing = match draws.next() {
                        Some(0..64) => Standing::down(Down::Unhealthy),
                        Some(64..96) => Standing { weight: Some(7), ..Standing::default() },
                        _ => continue,
                    };
                    let (service, endpoint) = (name.clone(), Membership::from(endpoint));
                    facts.learn(EndpointFact { service, endpoint, standing });
                }
            }
            let now = built(&mesh, &facts, before.as_ref());
            let had = zone.revision();
            let changes = follow(&mut zone, &now);
            prop_assert_eq!(changes, zone.revision() != had);
            let mut anew = Zone::new(1);
            follow(&mut anew, &now);
            let whole = told(&Contents::new(), &anew.since(None));
            prop_assert_eq!(&told(&Contents::new(), &zone.since(None)), &whole);
            // An agent may miss any number of revisions.
            if !sleeps {
                let extract = zone.since(revision);
                known = told(&known, &extract);
                revision = Some(extract.revision);
                prop_assert_eq!(&known, &whole);
            }
            before = Some(now);
        }
    }
}

#[test]
fn the_owner_of_a_name_is_found_also_by_the_wildcard_that_answered_for_it() {
    let owners = zone_of(ONE).owners();
    let of = |name: &str| owners.of(name).map(|it| it.as_str());
    let of_answered = |name: &str| owners.of_answered(name).map(|it| it.as_str());
    for name in [
        "payments.mesh",
        "_https._tcp.payments.mesh",
        "db-1.payments.mesh",
        "pay.example",
        "10.0.96.10.in-addr.arpa",
    ] {
        assert_eq!(of(name), Some("Payments"), "{name}");
        assert_eq!(of_answered(name), Some("Payments"), "{name}");
    }
    for name in ["a.shop.internal", "b.a.shop.internal"] {
        assert_eq!((of(name), of_answered(name)), (None, Some("Payments")));
    }
    for name in ["mesh", "no.mesh", "shop.internal", "www.internal", "."] {
        assert_eq!((of(name), of_answered(name)), (None, None), "{name}");
    }
}
