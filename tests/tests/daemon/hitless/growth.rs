//! Tables that have grown, and a daemon that is started again.

use super::fire::{Servers, mesh, started, under_fire};
use super::plans::{operations, replaces};
use kmesh_lite_tests::client::address;
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::host::{self, Host, LIMITS};
use nix::sys::signal::Signal;

/// Rows in use, room in the table that there is, and the limit.
fn capacity(daemon: &Daemon, table: &str) -> [Option<u64>; 3] {
    let status = daemon.json(&["status"]);
    let tables = status["datapath"]["capacity"].as_array();
    let mut tables = tables.expect("tables").iter();
    let table = tables.find(|it| it["table"] == table).expect("the table");
    ["used", "room", "limit"].map(|what| table[what].as_u64())
}

#[test]
fn tables_that_have_grown_are_taken_over_as_they_are() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, open) = started(&host);
    let limits = |services: u32| {
        let before = format!("services = {}\n", LIMITS.services);
        mesh("127.0.0.2").replace(&before, &format!("services = {services}\n"))
    };
    let large = limits(1_000) + &host::more(150);
    under_fire(&servers, &["127.0.0.2"], |fire| {
        assert_eq!(capacity(&daemon, "services"), [2, 64, 64].map(Some));
        assert!(replaces(&daemon, &large));
        daemon.save(&large);
        daemon.wait_until("it has grown", |daemon| {
            capacity(daemon, "services") == [152, 256, 1_000].map(Some)
        });
        fire.more();
        let mut held = large.clone();
        // The same file; then one with fewer rows than there is room for, and limits that are lower.
        for (text, used, limit) in [(&large, 152, 1_000), (&limits(3), 2, 3), (&limits(3), 2, 3)] {
            daemon.signal(Signal::SIGKILL);
            daemon.wait();
            daemon.save(text);
            daemon.start_again(&[]);
            assert_eq!(operations(&daemon) == 0, *text == held, "{}", daemon.log());
            held.clone_from(text);
            assert_eq!(capacity(&daemon, "services"), [used, 256, limit].map(Some));
            fire.more();
        }
        // Room is no leave to go beyond a limit.
        daemon.save(&(limits(3) + &host::more(2)));
        daemon.wait_until("it refuses", |daemon| daemon.state() == "keeping");
        fire.more();
    });
    assert_eq!(open.peer(), Ok(address("10.96.0.10:80")));
}
