//! Limits are held whatever happens to the daemon, and open connections stay counted.

use crate::PROGRAM;
use kmesh_lite_tests::client::{Client, call};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::{Host, limited};
use nix::errno::Errno;
use nix::sys::signal::Signal;

const WEB: &str = "10.96.0.10:80";

const MESH: &str = "
    [services.web]
    vips = ['10.96.0.10']
    ports = ['80:8080']
    endpoints = [{ address = '127.0.0.2', max_connections = 2 }]
";

#[test]
fn an_open_connection_stays_counted_while_the_daemon_is_killed_starts_again_and_moves_to_other_tables()
 {
    let Some(host) = Host::new() else { return };
    let _servers = Echo::everywhere(&[8080]);
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&limited(MESH)));
    daemon.wait_until("it is ready", |daemon| daemon.times_ready() > 0);
    let clients = [Client::tcp4(), Client::tcp4()];
    for client in &clients {
        assert_eq!(client.connect(WEB), Ok(()));
    }
    let is_full = |when: &str| assert_eq!(call(WEB), Err(Errno::ECONNREFUSED), "{when}");
    is_full("at first");
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    is_full("without a daemon");
    daemon.start_again(&[]);
    is_full("after a restart");
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    daemon.start_again(&[("KMESH_LITE_LAYOUT", "98")]);
    is_full("with tables of another layout");
    drop(clients);
    // Each of the two gave back what it had, once.
    let again: Vec<_> = (0..2).map(|_| Client::tcp4()).collect();
    assert!(eventually(|| again[0].connect(WEB) == Ok(())));
    assert!(eventually(|| again[1].connect(WEB) == Ok(())));
    is_full("at the end");
}

#[test]
fn an_endpoint_that_leaves_and_comes_back_is_counted_on() {
    let Some(host) = Host::new() else { return };
    let _servers = Echo::everywhere(&[8080]);
    let service = |endpoints: &str| {
        limited(&format!(
            "[services.web]\nvips = ['10.96.0.10']\nports = ['80:8080']\nendpoints = [{endpoints}]\n"
        ))
    };
    let with = |others: &str| {
        service(&format!(
            "{{ address = '127.0.0.2', max_connections = 2 }}{others}"
        ))
    };
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&with("")));
    daemon.wait_until("it is ready", |daemon| daemon.times_ready() > 0);
    let clients = [Client::tcp4(), Client::tcp4()];
    for client in &clients {
        assert_eq!(client.connect(WEB), Ok(()));
    }
    let reload = |daemon: &mut Daemon, text: &str| {
        daemon.save(text);
        assert!(daemon.verb(&["reload"]).status.success());
    };
    let is_full = |when: &str| assert_eq!(call(WEB), Err(Errno::ECONNREFUSED), "{when}");
    // Another one would get its number, and would be full.
    let other = "{ address = '127.0.0.3', max_connections = 1 }";
    reload(&mut daemon, &service(other));
    let of_other = Client::tcp4();
    assert_eq!(of_other.connect(WEB), Ok(()));
    is_full("the other one");
    reload(&mut daemon, &with(&format!(", {other}")));
    is_full("when it is back");
    reload(&mut daemon, &service(other));
    // Its successor learns of it.
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    daemon.start_again(&[]);
    reload(&mut daemon, &with(&format!(", {other}")));
    is_full("when it is back after a restart");
    drop(clients);
    let again: Vec<_> = (0..2).map(|_| Client::tcp4()).collect();
    assert!(eventually(|| again[0].connect(WEB) == Ok(())));
    assert!(eventually(|| again[1].connect(WEB) == Ok(())));
    is_full("at the end");
}
