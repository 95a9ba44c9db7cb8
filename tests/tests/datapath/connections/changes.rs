//! Open connections while the mesh changes below them.

use super::{MESH, holds};
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::host::{Running, more, routed};
use nix::errno::Errno;

#[test]
fn connections_stay_listed_through_other_tables() {
    let Some(mut mesh) = routed(MESH) else { return };
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    let larger = format!("{MESH}\n[limits]\nservices = 500\n{}", more(100));
    assert!(mesh.reload(&larger).replaced);
    holds(&mesh, [client.cookie()]);
    assert_eq!(client.peer(), Ok(address("10.96.0.10:80")));
    let another = Client::tcp4();
    assert_eq!(another.connect("10.96.0.10:80"), Ok(()));
    assert_eq!(mesh.listed().len(), 2);
    drop((client, another));
    holds(&mesh, []);
}

#[test]
fn what_is_captured_no_more_is_seen_to_end() {
    let Some(mut mesh) = routed(MESH) else { return };
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    let elsewhere = mesh.host.cgroup.child("elsewhere").expect("a cgroup");
    mesh.capture_instead(elsewhere.path());
    mesh.reload(MESH);
    // New connects of the first cgroup are not routed, and those that are open are not forgotten.
    assert_eq!(
        Client::tcp4().connect("10.96.0.10:80"),
        Err(Errno::ENETUNREACH)
    );
    assert_eq!(client.peer(), Ok(address("10.96.0.10:80")));
    assert_eq!(mesh.reload(MESH).operations, 0);
    holds(&mesh, [client.cookie()]);
    drop(client);
    holds(&mesh, []);
    // Nobody needs the links any more: those of names of peers, of datagrams, and of ends.
    assert_eq!(mesh.reload(MESH).operations, 5);
    assert_eq!(mesh.reload(MESH).operations, 0);
}

#[test]
fn a_connection_forgets_what_is_gone_before_something_else_has_its_number() {
    let Some(mut mesh) = routed(MESH) else { return };
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    let row = |mesh: &Running| mesh.listed()[&client.cookie()];
    let (service, endpoint) = (row(&mesh).service, row(&mesh).endpoint);
    // The endpoint is gone, and the connection still says which it was: nothing else has its number.
    mesh.reload(&MESH.replace("endpoints = [\"127.0.0.2\"]", "endpoints = []"));
    assert_eq!(
        (row(&mesh).service, row(&mesh).endpoint),
        (service, endpoint)
    );
    // Another one gets it.
    mesh.reload(&MESH.replace("127.0.0.2", "127.0.0.7"));
    assert_eq!((row(&mesh).service, row(&mesh).endpoint), (service, None));
    mesh.reload("");
    mesh.quiesce();
    assert_eq!((row(&mesh).service, row(&mesh).backend), (None, None));
    assert_eq!(client.peer(), Ok(address("10.96.0.10:80")));
}

const WEB: &str = r#"
    [services.web]
    vips = ["10.96.0.10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2"]
"#;

/// With services that do not fit into the tables that there are: others take their place.
fn many(mesh: &str) -> String {
    format!("{mesh}\n[limits]\nservices = 500\n{}", more(100))
}

/// Tables that take the place of others begin with nothing: no operation says what is gone.
#[test]
fn a_connection_forgets_what_went_when_the_tables_were_replaced() {
    let Some(mut mesh) = routed(WEB) else { return };
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    let row = |mesh: &Running| mesh.listed()[&client.cookie()];
    let service = row(&mesh).service;
    assert!(service.is_some() && row(&mesh).backend.is_some());
    assert!(mesh.reload(&many("")).replaced);
    mesh.quiesce();
    assert_eq!((row(&mesh).service, row(&mesh).backend), (None, None));
    // Another service gets the number.
    let two = WEB
        .replace("web", "two")
        .replace("10.96.0.10", "10.96.0.20");
    assert!(!mesh.reload(&many(&two)).replaced);
    let another = Client::tcp4();
    assert_eq!(another.connect("10.96.0.20:80"), Ok(()));
    assert_eq!(mesh.listed()[&another.cookie()].service, service);
    assert_eq!(row(&mesh).service, None);
    assert_eq!(client.peer(), Ok(address("10.96.0.10:80")));
}

#[test]
fn a_connection_forgets_an_endpoint_whose_number_goes_to_another_one_in_other_tables() {
    let Some(mut mesh) = routed(WEB) else { return };
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    let row = |mesh: &Running| mesh.listed()[&client.cookie()];
    let (service, endpoint) = (row(&mesh).service, row(&mesh).endpoint);
    let without = WEB.replace("endpoints = [\"127.0.0.2\"]", "endpoints = []");
    mesh.reload(&without);
    assert_eq!(row(&mesh).endpoint, endpoint);
    assert!(mesh.reload(&many(&without)).replaced);
    let number = endpoint.expect("it was counted");
    assert!(mesh.counts().endpoints.contains_key(&number));
    assert_eq!((row(&mesh).service, row(&mesh).endpoint), (service, None));
}
