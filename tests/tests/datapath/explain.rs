//! `explain` beside the kernel: what it says of a connect, and what becomes of that connect.

use kmesh_lite::model::{Down, EndpointFact, Standing};
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::explained::{Said, explained};
use kmesh_lite_tests::host::{self, Routed, routed};
use kmesh_lite_tests::user::as_user;
use nix::errno::Errno;
use std::collections::BTreeMap;

const WEB: &str = "10.96.0.10:80";

/// A service with these keys and endpoints, for a host in a/x. The tables of tests are small.
fn mesh(service: &str, endpoints: &[&str]) -> String {
    let service = match service.contains("consistent-hash") {
        true => format!("{service}\nhash_slots = 211"),
        false => service.to_owned(),
    };
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

const THREE: [&str; 3] = ["'127.0.0.2'", "'127.0.0.3'", "'127.0.0.4'"];

/// What becomes of a connect, and the connection.
fn connect(to: &str) -> (Client, Result<String, Errno>) {
    let client = Client::tcp(address(to));
    let connected = client.connect(to);
    let reached = connected.map(|()| client.greeting().ip().to_canonical().to_string());
    (client, reached)
}

/// What is said of a connect of this host, and then what becomes of it; they must not differ.
#[track_caller]
fn beside(mesh: &mut Routed, to: &str) -> (Said, Client, Result<String, Errno>) {
    let cgroup = mesh.host.cgroup.path().to_owned();
    let said = explained(mesh, Some(&cgroup), Some(0), to);
    let (client, reached) = connect(to);
    match &reached {
        Ok(reached) => assert!(said.shares().contains_key(reached), "{reached}: {said:#?}"),
        Err(errno) => assert_eq!(
            (*errno, said.0["verdict"].as_str()),
            (Errno::ECONNREFUSED, Some("refuse")),
            "{said:#?}"
        ),
    }
    (said, client, reached)
}

#[test]
fn a_client_that_keeps_its_endpoint_is_said_to_go_there() {
    let of = |balance: &str| {
        mesh(
            &format!("affinity = '1h'\nclients_by = 'user'\n{balance}"),
            &THREE,
        )
    };
    for balance in [
        "",
        "balance = 'least-connections'",
        "balance = 'consistent-hash'",
    ] {
        let text = of(balance);
        let Some(mut mesh) = routed(&text) else {
            return;
        };
        // Root is a user like others.
        let users = || (1000..1020).chain([0]);
        let said = |mesh: &mut Routed, user| explained(mesh, None, Some(user), WEB);
        let mut kept = BTreeMap::new();
        for user in users() {
            let before = said(&mut mesh, user);
            assert_eq!(before.0["kept"], serde_json::Value::Null, "{before:#?}");
            assert_eq!(
                before.step("client"),
                "this user keeps no endpoint at this moment"
            );
            let (_, reached) = as_user(user, || connect(WEB));
            let reached = reached.expect("a server");
            assert!(before.shares().contains_key(&reached), "{before:#?}");
            assert!(
                balance.is_empty()
                    || balance.contains("least")
                    || before.only().as_ref() == Some(&reached)
            );
            kept.insert(user, reached);
        }
        for to in [WEB, "[fd00:96::10]:80"] {
            for (user, reached) in &kept {
                let after = explained(&mut mesh, None, Some(*user), to);
                assert_eq!(after.only().as_ref(), Some(reached), "{after:#?}");
                assert_eq!(after.0["kept"]["endpoint"], format!("{reached}:8080"));
                assert_eq!(after.0["kept"]["taken"], true);
                assert_eq!(
                    after.text(),
                    format!("sent to {reached}:8080, which this user keeps")
                );
                assert_eq!(after.0["left_out"].as_array().map(Vec::len), Some(2));
                assert_eq!(as_user(*user, || connect(to)).1.as_ref(), Ok(reached));
            }
        }
        // Where the endpoint takes none, its clients go elsewhere, and others stay.
        let parsed = host::mesh(&text);
        let service = &parsed.services["web"];
        let down = service
            .endpoints
            .iter()
            .find(|it| it.address.to_string() == "127.0.0.3");
        let fact = EndpointFact {
            service: "web".parse().expect("a name"),
            endpoint: down.expect("an endpoint").into(),
            standing: Standing::down(Down::Unhealthy),
        };
        mesh.change(&parsed, [fact]);
        for (user, reached) in &kept {
            let meanwhile = said(&mut mesh, *user);
            let moves = reached == "127.0.0.3";
            assert_eq!(meanwhile.0["kept"]["taken"], !moves, "{meanwhile:#?}");
            assert_eq!(meanwhile.step("client").ends_with("chooses anew"), moves);
            let now = as_user(*user, || connect(WEB)).1.expect("a server");
            assert!(meanwhile.shares().contains_key(&now), "{meanwhile:#?}");
            assert!(moves || meanwhile.only().as_ref() == Some(reached));
        }
    }
}

#[test]
fn looking_at_a_client_changes_nothing_that_is_remembered_of_it() {
    let rates = "connects_per_second = 1000\nclient_connects_per_second = 1000";
    let text = mesh(&format!("affinity = '1h'\n{rates}"), &THREE);
    let Some(mut mesh) = routed(&text) else {
        return;
    };
    let (said, _client, reached) = beside(&mut mesh, WEB);
    assert_eq!(said.0["kept"], serde_json::Value::Null);
    let cgroup = mesh.host.cgroup.path().to_owned();
    let first = explained(&mut mesh, Some(&cgroup), None, WEB);
    assert_eq!(first.only(), reached.ok(), "{first:#?}");
    assert_eq!(first.0["kept"]["taken"], true, "{first:#?}");
    for _ in 0..10 {
        let again = explained(&mut mesh, Some(&cgroup), None, WEB);
        assert_eq!(again.0["kept"], first.0["kept"]);
        assert_eq!(again.0["outcome_count"], first.0["outcome_count"]);
    }
    // Somebody of whom nothing is remembered stays that.
    let other = mesh.host.cgroup.child("other").expect("a cgroup");
    for _ in 0..2 {
        let said = explained(&mut mesh, Some(other.path()), None, WEB);
        assert_eq!(said.0["kept"], serde_json::Value::Null, "{said:#?}");
    }
}

/// A connect that is refused after a look was to be refused at the look, and one that is allowed before the look was to
/// be allowed; so the time between them says nothing.
#[test]
fn a_rate_that_is_used_up_is_told_with_the_verdict() {
    for (key, outcome) in [
        ("connects_per_second", "refuse_too_fast"),
        ("client_connects_per_second", "refuse_client_too_fast"),
    ] {
        let text = mesh(&format!("{key} = 5"), &THREE);
        let Some(mut mesh) = routed(&text) else {
            return;
        };
        let cgroup = mesh.host.cgroup.path().to_owned();
        let (mut refused, mut allowed) = (0, 0);
        while refused < 20 || allowed < 10 {
            let said = explained(&mut mesh, Some(&cgroup), None, WEB);
            let refuses = said.outcome() == outcome;
            match connect(WEB).1 {
                Err(errno) => {
                    assert!(refuses, "{errno}: {said:#?}");
                    assert!(
                        said.text().contains("; the next one is allowed in "),
                        "{said:#?}"
                    );
                    assert!(
                        said.step("service").contains(", 0 of them at this moment"),
                        "{said:#?}"
                    );
                    refused += 1;
                }
                // It may have become due in between.
                Ok(_) if refuses => {}
                Ok(_) => allowed += 1,
            }
        }
        let other = mesh.host.cgroup.child("other").expect("a cgroup");
        let said = explained(&mut mesh, Some(other.path()), None, WEB);
        let reached = other.run(|| connect(WEB).1).expect("inside");
        assert!(reached.is_err() || said.outcome() == "endpoint" || key == "connects_per_second");
        assert!(key == "connects_per_second" || reached.is_ok());
    }
}

#[test]
fn of_two_choices_the_one_with_fewer_connections_is_told() {
    let two = ["'127.0.0.2'", "{ address = '127.0.0.3', weight = 3 }"];
    let Some(mut mesh) = routed(&mesh("balance = 'least-connections'", &two)) else {
        return;
    };
    let mut clients = Vec::new();
    let mut certain = 0;
    for _ in 0..40 {
        let (said, client, reached) = beside(&mut mesh, WEB);
        let reached = reached.expect("a server");
        assert!(
            said.step("endpoint")
                .starts_with("two random choices by weight"),
            "{said:#?}"
        );
        assert!(said.0["candidates"][0]["open"].is_u64(), "{said:#?}");
        // Two of two are always both: the one with more is never taken.
        if let Some(only) = said.only() {
            assert_eq!(only, reached);
            let why = said.0["left_out"][0]["why"].as_str().unwrap_or_default();
            assert!(
                why.contains("each of the others has fewer for its weight"),
                "{said:#?}"
            );
            certain += 1;
        }
        clients.push(client);
    }
    assert!(certain > 10, "{certain}");
}

#[test]
fn while_endpoints_are_full_nothing_is_told_of_them_that_is_not_so() {
    let full = |address: &str, locality: &str, limit: u32| {
        format!("{{ address = '{address}', locality = '{locality}', max_connections = {limit} }}")
    };
    let endpoints = [
        full("127.0.0.2", "a/x", 2),
        full("127.0.0.3", "a/x", 1),
        full("127.0.0.4", "b/y", 2),
    ];
    let endpoints = endpoints.each_ref().map(String::as_str);
    let Some(mut mesh) = routed(&self::mesh("", &endpoints)) else {
        return;
    };
    for balance in [
        "",
        "balance = 'least-connections'",
        "balance = 'consistent-hash'",
        "affinity = '1h'",
    ] {
        for policy in ["failover", "strict"] {
            let service = format!("{balance}\npolicy = '{policy}'\nprefer = ['region']");
            mesh.reload(&self::mesh(&service, &endpoints));
            let room = if policy == "failover" { 5 } else { 3 };
            let mut clients = Vec::new();
            for _ in 0..room {
                let (_, client, reached) = beside(&mut mesh, WEB);
                assert!(reached.is_ok(), "{balance} {policy}");
                clients.push(client);
            }
            let (said, _, reached) = beside(&mut mesh, WEB);
            assert!(reached.is_err(), "{balance} {policy}");
            assert_eq!(said.outcome(), "refuse_endpoints_full");
            let step = said.step("endpoint");
            assert_eq!(
                step,
                "every endpoint that the policy allows has as many connections as it may have"
            );
            assert_eq!(
                said.0["left_out"].as_array().map(Vec::len),
                Some(3),
                "{said:#?}"
            );
            drop(clients);
            let open = |mesh: &mut Routed| mesh.counts().open;
            let is_over = eventually(|| open(&mut mesh).endpoints.values().all(|it| *it == 0));
            assert!(is_over, "{:?}", open(&mut mesh));
        }
    }
}

/// More than one walk asks: the only one with room is found from some of all places where a walk may begin.
#[test]
fn among_many_endpoints_the_only_one_with_room_is_told() {
    let endpoints: Vec<_> = (2..102)
        .map(|last| format!("{{ address = '127.0.0.{last}', max_connections = 1 }}"))
        .collect();
    let endpoints: Vec<_> = endpoints.iter().map(String::as_str).collect();
    let Some(mut mesh) = routed(&mesh("", &endpoints)) else {
        return;
    };
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    while clients.len() < 99 {
        if let (client, Ok(reached)) = connect(WEB) {
            clients.insert(reached, client);
        }
    }
    let cgroup = mesh.host.cgroup.path().to_owned();
    let said = explained(&mut mesh, Some(&cgroup), None, WEB);
    let only = said.only().expect("the one with room");
    assert!(!clients.contains_key(&only), "{only}");
    assert_eq!(said.text(), format!("sent to {only}:8080"));
}
