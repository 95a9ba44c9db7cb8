//! Facts about endpoints, and small passes: what they change takes effect, and nothing else is looked at.

use kmesh_lite::model::{Endpoint, EndpointFact, Mesh, Name};
use kmesh_lite_tests::client::{Client, address, call};
use kmesh_lite_tests::host::{mesh, routed};
use kmesh_lite_tests::maps::{Maps, frontend_key};
use kmesh_lite_tests::mesh::standing;

const WEB: &str = r#"
    [services.web]
    vips = ["10.96.0.10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2", "127.0.0.3"]

    [services.other]
    vips = ["10.96.0.11"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2"]
"#;

fn fact(service: &Name, endpoint: &Endpoint, usable: bool) -> EndpointFact {
    EndpointFact {
        service: service.clone(),
        endpoint: endpoint.into(),
        standing: standing(usable),
    }
}

/// The service's endpoint of this number.
fn endpoint<'a>(mesh: &'a Mesh, service: &str, number: usize) -> (&'a Name, &'a Endpoint) {
    let (name, service) = mesh.services.get_key_value(service).unwrap();
    (name, &service.endpoints[number])
}

#[test]
fn an_unusable_endpoint_gets_no_new_connects_and_keeps_its_connections_and_its_count() {
    let Some(mut running) = routed(WEB) else {
        return;
    };
    let mesh = self::mesh(WEB);
    let client = Client::tcp4();
    let gets_two = |it: &Client| {
        assert_eq!(it.connect("10.96.0.10:80"), Ok(()));
        it.greeting()
    };
    gets_two(&client);
    for _ in 0..40 {
        call("10.96.0.10:80").unwrap();
    }
    let counts = |running: &mut kmesh_lite_tests::host::Routed| running.counts().endpoints;
    let before = counts(&mut running);

    let (web, two) = endpoint(&mesh, "web", 0);
    let pass = running.change(&mesh, [fact(web, two, false)]);
    // Two ranges, the service, its frontend, and the commit.
    assert_eq!(pass.operations, 5, "{:?}", pass.summary);
    for _ in 0..40 {
        assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.0.3:8080")));
        assert_eq!(call("10.96.0.11:80"), Ok(address("127.0.0.2:8080")));
    }
    client.exchange("still there");
    let after = counts(&mut running);
    let stayed = before.iter().filter(|(id, count)| after[*id] == **count);
    assert_eq!(stayed.count(), 1, "{before:?} {after:?}");

    let (_, three) = endpoint(&mesh, "web", 1);
    running.change(&mesh, [fact(web, three, false)]);
    assert!(call("10.96.0.10:80").is_err());
    running.change(&mesh, [fact(web, two, true)]);
    assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.0.2:8080")));
    client.exchange("still there");
    assert_eq!(running.change(&mesh, []).operations, 0);
    let whole = running.follow(&mesh);
    assert_eq!((whole.operations, whole.drift.as_slice()), (0, &[][..]));
}

#[test]
fn a_small_pass_finds_damage_where_it_writes_and_a_full_one_everywhere() {
    let Some(mut running) = routed(WEB) else {
        return;
    };
    let maps = Maps::of(&running.host);
    maps.touch("delete", "FRONTEND_IDS", &frontend_key(11), None);
    assert!(call("10.96.0.11:80").is_err());
    // Of the other service.
    let moved = WEB.replacen("80:8080", "80:8081", 1);
    let pass = running.change(&mesh(&moved), []);
    assert_eq!(pass.drift, Vec::<String>::new());
    assert!(call("10.96.0.11:80").is_err());

    maps.touch("delete", "FRONTEND_IDS", &frontend_key(10), None);
    let pass = running.change(&mesh(WEB), []);
    let said = pass.drift.join("\n");
    assert!(
        said.contains("10.96.0.10:80") && said.contains("10.96.0.11:80"),
        "{said}"
    );
    assert!(call("10.96.0.10:80").is_ok());
    assert_eq!(call("10.96.0.11:80"), Ok(address("127.0.0.2:8080")));
    assert_eq!(running.follow(&mesh(WEB)).operations, 0);
}
