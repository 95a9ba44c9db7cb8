//! Clients that keep to an endpoint, and as many connects of each unit as there may be.

use kmesh_lite::model::{Down, EndpointFact, Standing};
use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::{self, Running, routed};
use kmesh_lite_tests::user::as_user;
use nix::errno::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const WEB: &str = "10.96.0.10:80";
const ENDPOINTS: [&str; 3] = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];

/// A service with these keys. The tables of tests are small.
fn mesh(service: &str, endpoints: &[&str]) -> String {
    let service = match service.contains("consistent-hash") {
        true => format!("{service}\nhash_slots = 211"),
        false => service.to_owned(),
    };
    format!(
        "[services.web]
         vips = ['10.96.0.10', 'fd00:96::10']
         ports = ['80:8080', '81:8080']
         {service}
         endpoints = {endpoints:?}"
    )
}

fn reached(client: &Client, to: &str) -> Result<String, Errno> {
    client.connect(to)?;
    Ok(client.greeting().ip().to_canonical().to_string())
}

/// Where a client that is bound to this address gets.
fn bound(last: u8, to: &str) -> String {
    let client = Client::tcp(address(to));
    let client = match address(to).is_ipv4() {
        true => client.bind(&format!("127.0.1.{last}:0")),
        false => client.bind(&format!("[::ffff:127.0.1.{last}]:0")),
    };
    reached(&client, to).expect("a server")
}

/// Where each of many such clients gets.
fn all(to: &str) -> BTreeMap<u8, String> {
    (1..=60).map(|last| (last, bound(last, to))).collect()
}

fn used(reached: &BTreeMap<u8, String>) -> BTreeSet<&str> {
    reached.values().map(String::as_str).collect()
}

/// Says of an endpoint of the service that it is down, or that it is not.
fn stands(mesh: &mut Running, text: &str, endpoint: &str, standing: Standing) {
    let mesh_of_text = host::mesh(text);
    let service = &mesh_of_text.services["web"];
    let mut endpoints = service.endpoints.iter();
    let found = endpoints.find(|it| it.address.to_string() == endpoint);
    let fact = EndpointFact {
        service: "web".parse().expect("a name"),
        endpoint: found.expect("an endpoint").into(),
        standing,
    };
    mesh.change(&mesh_of_text, [fact]);
}

#[test]
fn by_its_hash_a_client_gets_the_same_endpoint_and_only_those_of_one_that_is_down_move() {
    let text = mesh(
        "balance = 'consistent-hash'\nclients_by = 'address'",
        &ENDPOINTS,
    );
    let before = {
        let Some(mut mesh) = routed(&text) else {
            return;
        };
        let before = all(WEB);
        assert_eq!(used(&before), BTreeSet::from(ENDPOINTS));
        for to in [
            WEB,
            "10.96.0.10:81",
            "[::ffff:10.96.0.10]:80",
            "[fd00:96::10]:80",
        ] {
            assert_eq!(all(to), before, "{to}");
        }
        stands(
            &mut mesh,
            &text,
            "127.0.0.3",
            Standing::down(Down::Unhealthy),
        );
        let meanwhile = all(WEB);
        assert!(!used(&meanwhile).contains("127.0.0.3"));
        let stayed = |it: &&u8| before[it] != "127.0.0.3";
        let others: Vec<_> = before.keys().filter(stayed).collect();
        let moved = others.iter().filter(|it| before[it] != meanwhile[it]);
        // Of those that need not, few do.
        assert!(
            moved.count() <= others.len() / 5,
            "{before:?}, {meanwhile:?}"
        );
        stands(&mut mesh, &text, "127.0.0.3", Standing::default());
        assert_eq!(all(WEB), before);
        before
    };
    // Another host with the same file, whose tables came about in another way.
    let Some(mut mesh) = routed(&mesh("", &["127.0.0.9"])) else {
        return;
    };
    mesh.reload(&text);
    assert_eq!(all(WEB), before);
}

#[test]
fn clients_are_told_apart_by_user_by_unit_and_by_network_namespace() {
    let by = |clients_by: &str| {
        let service = format!("balance = 'consistent-hash'\n{clients_by}");
        mesh(&service, &ENDPOINTS)
    };
    let Some(mut mesh) = routed(&by("clients_by = 'user'")) else {
        return;
    };
    let call = || reached(&Client::tcp4(), WEB).expect("a server");
    let users = || -> BTreeMap<u32, String> {
        let users = 1000..1030;
        users.map(|user| (user, as_user(user, call))).collect()
    };
    let of_users = users();
    let used: BTreeSet<_> = of_users.values().collect();
    assert_eq!(used.len(), 3, "{of_users:?}");
    assert_eq!(users(), of_users);

    // The default is the unit.
    mesh.reload(&by(""));
    let same: BTreeSet<_> = users().into_values().collect();
    assert_eq!(same.len(), 1, "{same:?}");
    let units = (0..20).map(|unit| mesh.host.cgroup.child(&format!("unit-{unit}")));
    let units: Vec<_> = units.collect::<Result<_, _>>().expect("cgroups");
    let of_units = || -> Vec<String> {
        let reached = units.iter().map(|unit| unit.run(call));
        reached.collect::<Result<_, _>>().expect("inside")
    };
    let first = of_units();
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3, "{first:?}");
    assert_eq!(of_units(), first);

    mesh.reload(&by("clients_by = 'network-namespace'"));
    let same: BTreeSet<_> = of_units()
        .into_iter()
        .chain(users().into_values())
        .collect();
    assert_eq!(same.len(), 1, "{same:?}");
}

#[test]
fn a_client_whose_endpoint_is_full_goes_to_others_meanwhile() {
    let service = "balance = 'consistent-hash'";
    let endpoints = ENDPOINTS.map(|it| format!("{{ address = '{it}', max_connections = 2 }}"));
    let text = mesh(service, &[]).replace(
        "endpoints = []",
        &format!("endpoints = [{}]", endpoints.join(", ")),
    );
    let Some(mut mesh) = routed(&text) else {
        return;
    };
    let mut held: Vec<(Client, String)> = Vec::new();
    for _ in 0..6 {
        let client = Client::tcp4();
        let reached = reached(&client, WEB).expect("room");
        held.push((client, reached));
    }
    let order: Vec<_> = held.iter().map(|(_, reached)| reached.clone()).collect();
    assert_eq!(order[0], order[1]);
    let different: BTreeSet<_> = [&order[0], &order[2], &order[4]].into();
    assert_eq!((order.len(), different.len()), (6, 3), "{order:?}");
    assert_eq!(Client::tcp4().connect(WEB), Err(Errno::ECONNREFUSED));
    assert_eq!(mesh.outcomes()[&Outcome::RefuseEndpointsFull], 1);
    drop(held);
    assert!(eventually(
        || reached(&Client::tcp4(), WEB).as_ref() == Ok(&order[0])
    ));
}

#[test]
fn a_client_keeps_its_endpoint_over_reloads_and_moves_when_that_takes_no_connections() {
    for balance in [
        "",
        "balance = 'least-connections'",
        "balance = 'consistent-hash'",
    ] {
        let service = format!("{balance}\naffinity = '1h'\nclients_by = 'address'");
        let text = mesh(&service, &ENDPOINTS);
        let Some(mut mesh) = routed(&text) else {
            return;
        };
        let before = all(WEB);
        assert_eq!(used(&before), BTreeSet::from(ENDPOINTS), "{balance}");
        for to in [WEB, "10.96.0.10:81", "[fd00:96::10]:80"] {
            assert_eq!(all(to), before, "{balance} {to}");
        }
        let more = [
            "127.0.0.1",
            "127.0.0.2",
            "127.0.0.3",
            "127.0.0.4",
            "127.0.0.5",
        ];
        let more = self::mesh(&service, &more);
        mesh.reload(&more);
        assert_eq!(all(WEB), before, "{balance}");
        stands(
            &mut mesh,
            &more,
            "127.0.0.3",
            Standing::down(Down::Unhealthy),
        );
        let meanwhile = all(WEB);
        assert!(!used(&meanwhile).contains("127.0.0.3"), "{balance}");
        for (client, reached) in &before {
            assert!(
                reached == "127.0.0.3" || *reached == meanwhile[client],
                "{balance}"
            );
        }
        // It is back, and those that moved stay where they are.
        stands(&mut mesh, &more, "127.0.0.3", Standing::default());
        assert_eq!(all(WEB), meanwhile, "{balance}");
        // Nobody keeps anything without it.
        mesh.reload(&more.replace("affinity = '1h'", ""));
        assert!(balance.contains("hash") || all(WEB) != meanwhile);
    }
}

/// An id that is handed out again is another endpoint.
#[test]
fn a_client_does_not_keep_what_came_in_the_place_of_its_endpoint() {
    let of = |endpoint: &str| mesh("affinity = '1h'", &[endpoint]);
    let Some(mut mesh) = routed(&of("127.0.0.2")) else {
        return;
    };
    for endpoint in ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.2"] {
        mesh.reload(&of(endpoint));
        assert_eq!(reached(&Client::tcp4(), WEB).as_deref(), Ok(endpoint));
    }
}

#[test]
fn a_client_that_was_away_for_longer_chooses_anew() {
    const AFFINITY: Duration = Duration::from_millis(20);
    let text = mesh("affinity = '20ms'\nclients_by = 'address'", &ENDPOINTS);
    let Some(_mesh) = routed(&text) else {
        return;
    };
    let mut chosen = BTreeSet::new();
    for _ in 0..60 {
        chosen.insert(bound(1, WEB));
        // By the clock that the kernel noted the connect by, which was before now.
        let connected = Instant::now();
        assert!(eventually(|| connected.elapsed() > AFFINITY));
    }
    assert_eq!(chosen.len(), 3);
}

#[test]
fn one_unit_makes_as_many_connects_a_second_as_it_may_and_another_one_its_own() {
    let text = mesh("client_connects_per_second = 50", &ENDPOINTS);
    let Some(mut mesh) = routed(&text) else {
        return;
    };
    let began = Instant::now();
    let (mut allowed, mut refused) = (0, 0);
    while refused < 200 {
        match Client::tcp4().connect(WEB) {
            Ok(()) => allowed += 1,
            Err(Errno::ECONNREFUSED) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    let since = began.elapsed().as_secs_f64();
    assert!(allowed >= 50, "{allowed}");
    assert!(
        f64::from(allowed) <= 50.0 + 50.0 * since + 1.0,
        "{allowed} in {since} s"
    );
    assert_eq!(mesh.outcomes()[&Outcome::RefuseClientTooFast], 200);
    let other = mesh.host.cgroup.child("other").expect("a cgroup");
    let connects = other.run(|| {
        (0..40)
            .map(|_| Client::tcp4().connect(WEB))
            .collect::<Vec<_>>()
    });
    let connects = connects.expect("inside");
    assert!(connects.iter().all(Result::is_ok), "{connects:?}");
    // Another one is due in a while.
    assert!(eventually(|| Client::tcp4().connect(WEB).is_ok()));
    mesh.reload(&text.replace("client_connects_per_second = 50", ""));
    for _ in 0..100 {
        assert_eq!(Client::tcp4().connect(WEB), Ok(()));
    }
}
