//! How many connections may be open, and how many connects there may be: counted exactly, whatever becomes of them.

mod ends;
mod storm;

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::client::{Client, address, call};
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::{Running, routed};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::net::IpAddr;

const WEB: &str = "10.96.0.10:80";

/// A service of endpoints with limits of their own, in places, for a host in a/x.
fn limited(service: &str, endpoints: &[(&str, &str, u32)]) -> String {
    let endpoints = endpoints.iter().map(|(address, locality, limit)| {
        format!("{{ address = '{address}', locality = '{locality}', max_connections = {limit} }}")
    });
    let endpoints: Vec<_> = endpoints.collect();
    format!(
        "node.locality = 'a/x'
         [services.web]
         vips = ['10.96.0.10', 'fd00:96::10']
         ports = ['80:8080']
         {service}
         endpoints = [{}]",
        endpoints.join(", ")
    )
}

/// How many connections are open, by the addresses of endpoints, and of all services.
fn open(mesh: &mut Running) -> (BTreeMap<String, u32>, u32) {
    let snapshot = mesh.snapshot().expect("a snapshot");
    let (tables, open) = (&snapshot.tables, &snapshot.counters.open);
    let mut endpoints = BTreeMap::new();
    for (key, id) in tables.counted() {
        if let Some(count) = open.endpoints.get(&id) {
            let text = format!("{key:?}");
            let row = tables.endpoints.values().flat_map(|rows| rows.iter());
            let row = row.map(|row| row.own).find(|own| own.endpoint == Some(id));
            let name = row.map_or(text, |own| IpAddr::from(own.address).to_string());
            *endpoints.entry(name).or_default() += count;
        }
    }
    (endpoints, open.services.values().sum())
}

/// The counts come to be these. Other tests of this process may be starting programs, which have copies of all its
/// descriptors for a moment.
#[track_caller]
fn comes_to_be(mesh: &mut Running, endpoints: &[(&str, u32)], service: u32) {
    let endpoints = endpoints.iter().map(|(name, n)| ((*name).to_owned(), *n));
    let expected = (endpoints.collect::<BTreeMap<_, _>>(), service);
    let same = eventually(|| open(mesh) == expected);
    assert!(same, "{:?}, not {expected:?}", open(mesh));
}

/// A connection that stays, with the address of its endpoint.
fn held(to: &str) -> Result<(Client, String), Errno> {
    let client = Client::tcp(address(to));
    client.connect(to)?;
    let reached = client.greeting().ip().to_canonical().to_string();
    Ok((client, reached))
}

#[test]
fn an_endpoint_takes_as_many_connections_as_it_may_have() {
    let endpoints = [("127.0.0.2", "a/x", 2), ("127.0.0.3", "a/x", 3)];
    for balance in ["", "balance = 'least-connections'"] {
        let Some(mut mesh) = routed(&limited(balance, &endpoints)) else {
            return;
        };
        let mut clients: Vec<_> = (0..5).map(|_| held(WEB).expect("room")).collect();
        comes_to_be(&mut mesh, &[("127.0.0.2", 2), ("127.0.0.3", 3)], 5);
        for to in [WEB, "[fd00:96::10]:80"] {
            assert_eq!(call(to), Err(Errno::ECONNREFUSED));
        }
        assert_eq!(mesh.outcomes()[&Outcome::RefuseEndpointsFull], 2);
        // One that ends makes room at its endpoint, and nowhere else.
        for _ in 0..20 {
            let (client, reached) = clients.swap_remove(0);
            drop(client);
            let freed = [("127.0.0.2", 2), ("127.0.0.3", 3)]
                .map(|(name, n)| (name, n - u32::from(name == reached)));
            comes_to_be(&mut mesh, &freed, 4);
            let (client, instead) = held("[fd00:96::10]:80").expect("room");
            assert_eq!(instead, reached);
            clients.push((client, instead));
        }
        drop(clients);
        comes_to_be(&mut mesh, &[("127.0.0.2", 0), ("127.0.0.3", 0)], 0);
    }
}

#[test]
fn a_service_has_as_many_connections_as_it_may_have_whatever_its_endpoints_may() {
    let endpoints = [("127.0.0.2", "a/x", 100), ("127.0.0.3", "a/x", 100)];
    let text = limited("max_connections = 3", &endpoints);
    let Some(mut mesh) = routed(&text) else {
        return;
    };
    let clients: Vec<_> = (0..3).map(|_| held(WEB).expect("room")).collect();
    assert_eq!(call(WEB), Err(Errno::ECONNREFUSED));
    assert_eq!(mesh.outcomes()[&Outcome::RefuseServiceFull], 1);
    assert_eq!(open(&mut mesh).1, 3);
    drop(clients);
    comes_to_be(&mut mesh, &[("127.0.0.2", 0), ("127.0.0.3", 0)], 0);
    assert!(call(WEB).is_ok());
}

#[test]
fn the_next_priority_takes_what_has_no_room_where_the_policy_allows_it() {
    let endpoints = [
        ("127.0.0.2", "a/x", 2),
        ("127.0.0.3", "a/y", 1),
        ("127.0.0.4", "b/z", 1),
    ];
    let failover = "policy = 'failover'\nprefer = ['region', 'zone']";
    let Some(mut mesh) = routed(&limited(failover, &endpoints)) else {
        return;
    };
    let reached = |clients: &[(Client, String)]| -> Vec<String> {
        clients.iter().map(|(_, reached)| reached.clone()).collect()
    };
    let mut clients: Vec<_> = (0..4).map(|_| held(WEB).expect("room")).collect();
    let order = ["127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.4"];
    assert_eq!(reached(&clients), order);
    assert_eq!(call(WEB), Err(Errno::ECONNREFUSED));
    // What ends nearby makes room there.
    clients.remove(0);
    assert!(eventually(|| open(&mut mesh).1 == 3));
    assert_eq!(held(WEB).expect("room").1, "127.0.0.2");
    drop(clients);

    let strict = "policy = 'strict'\nprefer = ['region', 'zone']";
    mesh.reload(&limited(strict, &endpoints));
    comes_to_be(
        &mut mesh,
        &[("127.0.0.2", 0), ("127.0.0.3", 0), ("127.0.0.4", 0)],
        0,
    );
    let clients: Vec<_> = (0..2).map(|_| held(WEB).expect("room")).collect();
    assert_eq!(reached(&clients), ["127.0.0.2", "127.0.0.2"]);
    assert_eq!(call(WEB), Err(Errno::ECONNREFUSED));
}

/// Sixty endpoints of one place are asked one after the other.
#[test]
fn the_only_endpoint_with_room_is_found() {
    let names: Vec<_> = (2..62).map(|last| format!("127.0.0.{last}")).collect();
    let endpoints: Vec<_> = names.iter().map(|name| (name.as_str(), "a/x", 1)).collect();
    let Some(mut mesh) = routed(&limited("", &endpoints)) else {
        return;
    };
    let mut clients: Vec<_> = (0..60).map(|_| held(WEB).expect("room")).collect();
    assert_eq!(call(WEB), Err(Errno::ECONNREFUSED));
    for _ in 0..60 {
        let (client, reached) = clients.swap_remove(0);
        drop(client);
        assert!(eventually(|| open(&mut mesh).1 == 59));
        let another = held(WEB).expect("room");
        assert_eq!(another.1, reached);
        clients.push(another);
    }
}

#[test]
fn fewer_open_connections_for_the_weight_win() {
    let service = |balance: &str| {
        format!(
            "[services.web]
             vips = ['10.96.0.10']
             ports = ['80:8080']
             {balance}
             endpoints = ['127.0.0.2', {{ address = '127.0.0.3', weight = 3 }}]"
        )
    };
    let Some(mut mesh) = routed(&service("balance = 'least-connections'")) else {
        return;
    };
    let clients: Vec<_> = (0..200).map(|_| held(WEB).expect("a server")).collect();
    // At random it would be off by six, as a rule.
    let (endpoints, _) = open(&mut mesh);
    assert!((49..=51).contains(&endpoints["127.0.0.2"]), "{endpoints:?}");
    // Whoever lost its connections gets those that follow.
    let (gone, mut stay): (Vec<_>, Vec<_>) = clients
        .into_iter()
        .partition(|(_, reached)| reached == "127.0.0.2");
    let lost = gone.len();
    drop(gone);
    assert!(eventually(|| open(&mut mesh).0["127.0.0.2"] == 0));
    for _ in 0..lost {
        let another = held(WEB).expect("a server");
        assert_eq!(another.1, "127.0.0.2");
        stay.push(another);
    }
    drop(stay);
    assert!(eventually(|| open(&mut mesh).1 == 0));
    // Nobody counts where nobody asks.
    mesh.reload(&service(""));
    let _client = held(WEB);
    assert_eq!(open(&mut mesh), (BTreeMap::new(), 0));
}

#[test]
fn connects_are_as_many_a_second_as_there_may_be() {
    let text = limited("connects_per_second = 50", &[]).replace(
        "endpoints = []",
        "endpoints = ['127.0.0.2']\n[services.free]\nvips = ['10.96.0.11']\nports = ['80:8080']\nendpoints = ['127.0.0.2']",
    );
    let Some(mut mesh) = routed(&text) else {
        return;
    };
    let began = std::time::Instant::now();
    let mut allowed = 0;
    let mut refused = 0;
    while refused < 200 {
        match Client::tcp4().connect(WEB) {
            Ok(()) => allowed += 1,
            Err(Errno::ECONNREFUSED) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    // What may be saved up, and what came since.
    let since = began.elapsed().as_secs_f64();
    assert!(allowed >= 50, "{allowed}");
    assert!(
        f64::from(allowed) <= 50.0 + 50.0 * since + 1.0,
        "{allowed} in {since} s"
    );
    assert_eq!(mesh.outcomes()[&Outcome::RefuseTooFast], 200);
    assert!(Client::tcp4().connect("10.96.0.11:80").is_ok());
    // Another one is due in a while.
    assert!(eventually(|| Client::tcp4().connect(WEB).is_ok()));
    mesh.reload(&text.replace("connects_per_second = 50", ""));
    for _ in 0..100 {
        assert_eq!(Client::tcp4().connect(WEB), Ok(()));
    }
}
