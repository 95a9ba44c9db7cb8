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
