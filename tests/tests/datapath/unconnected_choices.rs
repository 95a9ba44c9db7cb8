//! The endpoint that a socket which is not connected keeps for an address, and when it gets another one.

use kmesh_lite::model::{Down, EndpointFact, Limits, Standing};
use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, LIMITS, Running, mesh, more};
use std::collections::BTreeSet;
use std::net::SocketAddr;

const NAMES: &str = "10.96.0.53:53";
const ENDPOINTS: [&str; 4] = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"];

/// A service with these endpoints and keys.
fn names(endpoints: &[&str], keys: &str) -> String {
    format!(
        "[services.names]
         vips = ['10.96.0.53', 'fd00:96::53']
         ports = ['53:5353/udp', '54:5353/udp']
         {keys}
         endpoints = {endpoints:?}\n"
    )
}

fn backends() -> [Echo; 4] {
    ENDPOINTS.map(|endpoint| Echo::udp(&format!("{endpoint}:5353")))
}

/// The text of where a socket gets.
fn reached(client: &Client) -> String {
    client.ask_at(NAMES).expect("an answer").ip().to_string()
}

/// Says of an endpoint of the service that it is down, or that it is not.
fn stands(mesh: &mut Running, text: &str, endpoint: &str, standing: Standing) {
    let mesh_of_text = self::mesh(text);
    let mut endpoints = mesh_of_text.services["names"].endpoints.iter();
    let found = endpoints.find(|it| it.address.to_string() == endpoint);
    let fact = EndpointFact {
        service: "names".parse().unwrap(),
        endpoint: found.expect("an endpoint").into(),
        standing,
    };
    mesh.change(&mesh_of_text, [fact]);
}

fn down() -> Standing {
    Standing {
        down: Some(Down::Unhealthy),
        ..Standing::default()
    }
}

#[test]
fn a_socket_keeps_its_endpoint_and_sockets_are_spread() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(&names(&ENDPOINTS, ""));
    let _backends = backends();
    let clients: Vec<_> = (0..60).map(|_| Client::udp4()).collect();
    let first: Vec<_> = clients.iter().map(reached).collect();
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 4);
    for _ in 0..3 {
        let again: Vec<_> = clients.iter().map(reached).collect();
        assert_eq!(again, first);
    }
    let counts = mesh.counts();
    assert_eq!(counts.outcomes[&Outcome::Endpoint], 60);
    assert_eq!(counts.endpoints.values().sum::<u64>(), 60);
}

/// Each change is another generation, other ranges and other rows.
#[test]
fn a_choice_outlives_changes_that_leave_its_endpoint_in_use() {
    let Some(host) = Host::new() else { return };
    for keys in [
        "",
        "balance = 'least-connections'",
        "affinity = '1h'\nclients_by = 'address'",
        "balance = 'consistent-hash'\nhash_slots = 211\nclients_by = 'address'",
    ] {
        let mut running = host.run(&names(&ENDPOINTS[..3], keys));
        let _backends = backends();
        let clients: Vec<_> = (0..40).map(|_| Client::udp4()).collect();
        let first: Vec<_> = clients.iter().map(reached).collect();
        for text in [
            names(&ENDPOINTS, keys),
            names(&["127.0.0.5", "127.0.0.4", "127.0.0.3", "127.0.0.2"], keys),
            names(&ENDPOINTS[..3], keys) + &more(3),
            names(&ENDPOINTS[..3], keys),
        ] {
            running.reload(&text);
            let again: Vec<_> = clients.iter().map(reached).collect();
            assert_eq!(again, first, "{text}");
        }
        let counts = running.counts();
        assert_eq!(counts.outcomes[&Outcome::Endpoint], 40, "{keys}");
    }
}

#[test]
fn a_socket_gets_another_endpoint_when_its_own_is_removed() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(&names(&ENDPOINTS[..2], ""));
    let _backends = backends();
    let clients: Vec<_> = (0..20).map(|_| Client::udp4()).collect();
    let first: Vec<_> = clients.iter().map(reached).collect();
    mesh.reload(&names(&ENDPOINTS[..1], ""));
    for client in &clients {
        assert_eq!(reached(client), "127.0.0.2");
    }
    let moved = first.iter().filter(|it| **it == "127.0.0.3").count() as u64;
    assert_eq!(mesh.outcomes()[&Outcome::Endpoint], 20 + moved);
    // One that takes the place of another in the tables is not taken for it.
    mesh.reload(&names(&["127.0.0.4"], ""));
    for client in &clients {
        assert_eq!(reached(client), "127.0.0.4");
    }
}

#[test]
fn a_socket_leaves_an_endpoint_that_is_down_or_drained_and_stays_where_it_went() {
    let Some(host) = Host::new() else { return };
    let text = names(&ENDPOINTS[..2], "");
    let mut mesh = host.run(&text);
    let _backends = backends();
    let client = Client::udp4();
    let first = reached(&client);
    stands(&mut mesh, &text, &first, down());
    let second = reached(&client);
    assert_ne!(second, first);
    stands(&mut mesh, &text, &first, Standing::default());
    for _ in 0..10 {
        assert_eq!(reached(&client), second);
    }
    let drained = text.replace(
        &format!("{second:?}"),
        &format!("{{ address = '{second}', weight = 0 }}"),
    );
    assert_ne!(drained, text);
    mesh.reload(&drained);
    for _ in 0..10 {
        assert_eq!(reached(&client), first);
    }
    // Another port is where the same endpoint is found at once.
    let at = |it: &&str| Echo::udp(&format!("{it}:5999"));
    let _others: Vec<_> = ENDPOINTS[..2].iter().map(at).collect();
    let chosen = mesh.outcomes()[&Outcome::Endpoint];
    mesh.reload(&text.replace("53:5353", "53:5999"));
    let there = address(&format!("{first}:5999"));
    assert_eq!(client.ask_at(NAMES), Ok(there));
    assert_eq!(mesh.outcomes()[&Outcome::Endpoint], chosen);
}

#[test]
fn ports_and_addresses_of_a_service_are_chosen_for_each_by_itself() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(&names(&ENDPOINTS, ""));
    let _backends = backends();
    let client = Client::udp4();
    for _ in 0..3 {
        client.ask_at("10.96.0.53:53").unwrap();
        client.send_to("10.96.0.53:54").unwrap();
        // If both are at one endpoint, the answer is to the last one.
        let (_, from) = client.received().unwrap();
        assert_eq!(from, address("10.96.0.53:54"));
    }
    assert_eq!(mesh.outcomes()[&Outcome::Endpoint], 2);
}

#[test]
fn larger_tables_leave_choices_as_they_are() {
    let Some(host) = Host::new() else { return };
    let mut running = host.run(&names(&ENDPOINTS, ""));
    let _backends = backends();
    let clients: Vec<_> = (0..30).map(|_| Client::udp4()).collect();
    let first: Vec<_> = clients.iter().map(reached).collect();
    for services in [150, 400] {
        let mut mesh = self::mesh(&(names(&ENDPOINTS, "") + &more(services)));
        mesh.limits = Limits {
            services: 2_000,
            frontends: 2_000,
            addresses: 2_000,
            endpoints: 2_000,
            backends: 2_000,
            ..LIMITS
        };
        let pass = running.follow(&mesh);
        assert!(pass.replaced);
        let again: Vec<_> = clients.iter().map(reached).collect();
        assert_eq!(again, first);
    }
}

/// Who was of no use for longest is forgotten, and chooses again; nobody gets an answer that is not theirs.
#[test]
fn more_flows_than_there_is_room_for_still_reach_endpoints() {
    let Some(host) = Host::new() else { return };
    let few = Limits {
        flows: 128,
        ..LIMITS
    };
    let mut mesh = host.idle_in(few);
    mesh.reload(&names(&ENDPOINTS, ""));
    let _backends = backends();
    let clients: Vec<_> = (0..4 * few.flows).map(|_| Client::udp4()).collect();
    let endpoints: BTreeSet<SocketAddr> = ENDPOINTS
        .iter()
        .map(|it| address(&format!("{it}:5353")))
        .collect();
    for client in clients.iter().chain(clients.iter().rev()) {
        let backend = client.ask_at(NAMES).expect("an answer");
        assert!(endpoints.contains(&backend));
    }
    let made = mesh.outcomes()[&Outcome::Endpoint];
    let (sockets, sends) = (clients.len() as u64, 2 * clients.len() as u64);
    assert!((sockets + 1..sends).contains(&made), "{made} of {sends}");
}
