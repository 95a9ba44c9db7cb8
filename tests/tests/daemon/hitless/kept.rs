//! What is kept of a daemon that has ended: of other versions, in part, or mixed up.

use super::fire::{Servers, mesh, started, under_fire};
use kmesh_lite_tests::client::{Client, address, call};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::host::Host;
use nix::sys::signal::Signal;
use std::fs::File;

/// What is kept of the tables.
pub fn tables(daemon: &Daemon) -> Vec<String> {
    of_kind(daemon, "kmesh-tables-")
}

/// Links to the programs in charge.
pub fn links(daemon: &Daemon) -> usize {
    of_kind(daemon, "kmesh-link-").len()
}

fn of_kind(daemon: &Daemon, kind: &str) -> Vec<String> {
    let mut names = kept(daemon);
    names.retain(|name| name.starts_with(kind));
    names
}

fn kept(daemon: &Daemon) -> Vec<String> {
    daemon.supervisor.as_ref().expect("a supervisor").names()
}

#[test]
fn another_layout_of_tables_takes_over_without_a_gap_and_back() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, open) = started(&host);
    let before = tables(&daemon);
    under_fire(&servers, &["127.0.0.2"], |fire| {
        for environment in [&[("KMESH_LITE_LAYOUT", "99")][..], &[]] {
            daemon.signal(Signal::SIGTERM);
            daemon.wait();
            fire.more();
            daemon.start_again(environment);
            assert_eq!(daemon.state(), "routing");
            fire.more();
        }
        // The last good configuration fills the tables of another layout where the file cannot.
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        daemon.save("services = 1");
        daemon.start_again(&[("KMESH_LITE_LAYOUT", "98")]);
        assert_eq!(daemon.state(), "keeping");
        assert!(tables(&daemon).iter().all(|name| name.contains("-98-")));
        fire.more();
        daemon.save(&mesh("127.0.0.2"));
        daemon.wait_until("it routes", |daemon| daemon.state() == "routing");
    });
    assert_eq!(open.peer(), Ok(address("10.96.0.10:80")));
    assert_eq!(tables(&daemon).len(), before.len());
    assert!(tables(&daemon).iter().all(|name| name.contains("-98-")));
}

#[test]
fn sockets_of_an_earlier_version_keep_their_peer_name() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, first) = started(&host);
    let mut open = vec![first];
    under_fire(&servers, &["127.0.0.2"], |fire| {
        for version in ["98", "99"] {
            daemon.signal(Signal::SIGKILL);
            daemon.wait();
            daemon.start_again(&[("KMESH_LITE_SOCKETS", version)]);
            fire.more();
            let another = Client::tcp6();
            another.connect("[fd00:96::10]:80").expect("connected");
            open.push(another);
        }
    });
    assert_eq!(open[0].peer(), Ok(address("10.96.0.10:80")));
    assert_eq!(open[1].peer(), Ok(address("[fd00:96::10]:80")));
    assert_eq!(open[2].peer(), Ok(address("[fd00:96::10]:80")));
}

#[test]
fn a_store_that_lost_descriptors_is_made_good() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, open) = started(&host);
    let before = (tables(&daemon).len(), links(&daemon));
    // Links to programs of before, after each loss.
    let mut of_before = Vec::new();
    // What holds the connects is there in all of these cases, so none may fail.
    for gone in [
        "SETTINGS",
        "ENDPOINTS",
        "ORIGINALS",
        "kmesh-tables",
        "EVENTS",
    ] {
        under_fire(&servers, &["127.0.0.2"], |fire| {
            daemon.signal(Signal::SIGKILL);
            daemon.wait();
            let supervisor = daemon.supervisor.as_ref().expect("a supervisor");
            supervisor.lose(|name| name.contains(gone));
            let file = File::open("/dev/null").expect("a file");
            supervisor.add("kmesh-link-1", file.into());
            fire.more();
            daemon.start_again(&[]);
            assert_eq!(daemon.state(), "routing", "without {gone}");
            fire.more();
        });
        of_before.push(of_kind(&daemon, "kmesh-kept-").len());
    }
    assert_eq!(open.peer(), Ok(address("10.96.0.10:80")));
    // Nothing is left over but what old sockets need: as much each time that what is about sockets
    // was lost.
    let kept = kept(&daemon);
    let left = (tables(&daemon).len(), links(&daemon));
    assert_eq!(left, before, "{kept:?}");
    let once = of_before[2];
    assert_ne!(once, 0);
    assert_eq!(of_before, [0, 0, once, once, 2 * once], "{kept:?}");
    // Without any, it begins anew.
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    daemon.forget_everything();
    assert_ne!(call("10.96.0.10:80"), Ok(address("127.0.0.2:8080")));
    daemon.start_again(&[]);
    assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.0.2:8080")));
}

#[test]
fn a_map_that_is_not_what_its_name_says_is_not_used() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, _open) = started(&host);
    let before = tables(&daemon).len();
    under_fire(&servers, &["127.0.0.2"], |fire| {
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        let supervisor = daemon.supervisor.as_ref().expect("a supervisor");
        supervisor.mix_up("-BACKENDS", "-SERVICES");
        daemon.start_again(&[]);
        assert_eq!(daemon.state(), "routing");
        fire.more();
    });
    assert!(
        daemon.log().contains("cannot be taken over"),
        "{}",
        daemon.log()
    );
    assert_eq!(tables(&daemon).len(), before);
}
