//! Clients keep their endpoints whatever happens to the daemon.

use crate::PROGRAM;
use kmesh_lite_tests::client::Client;
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, BTreeSet};

const MESH: &str = "
    [services.web]
    vips = ['10.96.0.10']
    ports = ['80:8080']
    affinity = '1h'
    clients_by = 'address'
    endpoints = ['127.0.0.2', '127.0.0.3', '127.0.0.4']
";

/// Where each of some clients gets.
fn all() -> BTreeMap<u8, String> {
    let clients = (1..=30).map(|last| {
        let client = Client::tcp4().bind(&format!("127.0.1.{last}:0"));
        client.connect("10.96.0.10:80").expect("a server");
        (last, client.greeting().ip().to_string())
    });
    clients.collect()
}

#[test]
fn a_client_keeps_its_endpoint_while_the_daemon_is_killed_starts_again_and_moves_to_other_tables() {
    let Some(host) = Host::new() else { return };
    let _servers = Echo::everywhere(&[8080]);
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&limited(MESH)));
    daemon.wait_until("it is ready", |daemon| daemon.times_ready() > 0);
    let before = all();
    assert_eq!(before.values().collect::<BTreeSet<_>>().len(), 3);
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    assert_eq!(all(), before, "without a daemon");
    for environment in [&[][..], &[("KMESH_LITE_LAYOUT", "98")]] {
        daemon.start_again(environment);
        assert_eq!(all(), before, "{environment:?}");
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
    }
    daemon.start_again(&[]);
    assert_eq!(all(), before, "at the end");
}
