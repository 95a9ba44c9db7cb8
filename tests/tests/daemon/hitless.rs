//! Whatever happens to the daemon, connects are handled: its links and tables are kept for the next
//! one.

mod crashes;
mod fire;
mod growth;
mod kept;
mod plans;

pub use fire::{Servers, started};

use fire::{mesh, under_fire};
use kmesh_lite_tests::client::{address, call};
use kmesh_lite_tests::host::Host;
use nix::sys::signal::Signal;
use plans::operations;

#[test]
fn a_daemon_that_is_killed_and_restarted_loses_no_connect_and_writes_nothing() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, open) = started(&host);
    under_fire(&servers, &["127.0.0.2"], |fire| {
        for signal in [
            Signal::SIGKILL,
            Signal::SIGTERM,
            Signal::SIGABRT,
            Signal::SIGKILL,
        ] {
            daemon.signal(signal);
            daemon.wait();
            fire.more();
            daemon.start_again(&[]);
            assert_eq!(operations(&daemon), 0, "{}", daemon.log());
            assert_eq!(daemon.state(), "routing");
            fire.more();
        }
    });
    assert_eq!(open.peer(), Ok(address("10.96.0.10:80")));
    let counted = &daemon.json(&["status", "web"])["datapath"]["services"][0]["connects"];
    assert!(counted.as_u64() > Some(50), "{counted}");
}

#[test]
fn a_bad_file_at_the_start_changes_nothing_in_the_kernel() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, _open) = started(&host);
    under_fire(&servers, &["127.0.0.2", "127.0.0.3"], |fire| {
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        daemon.save("services = 1");
        daemon.start_again(&[]);
        assert_eq!(daemon.state(), "keeping");
        let verdict = daemon.json(&["status"])["verdict"].to_string();
        assert!(verdict.contains("keeping the last good state"), "{verdict}");
        fire.more();
        daemon.save(&mesh("127.0.0.3"));
        daemon.wait_until("it routes", |daemon| daemon.state() == "routing");
    });
    assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.0.3:8080")));
}

#[test]
fn a_daemon_that_hangs_holds_nobody_up() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, _open) = started(&host);
    under_fire(&servers, &["127.0.0.2"], |fire| {
        daemon.signal(Signal::SIGSTOP);
        for _ in 0..10 {
            fire.more();
        }
        // What a supervisor does when the watchdog is not fed.
        daemon.signal(Signal::SIGABRT);
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        daemon.start_again(&[]);
    });
    assert_eq!(operations(&daemon), 0);
}
