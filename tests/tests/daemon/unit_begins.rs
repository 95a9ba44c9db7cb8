//! A unit that is restarted and connects at once, before the daemon has told the kernel of its new cgroup: an allow policy
//! refuses it until then, and a deny policy lets it through. How long that is, is printed.

use crate::PROGRAM;
use kmesh_lite_tests::client::call;
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use nix::errno::Errno;
use std::time::{Duration, Instant};

const RESTARTS: usize = 200;
/// Longer than any of them takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a program sees of a policy: without it, or while it is about somebody else, and with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    before: Result<(), Errno>,
    after: Result<(), Errno>,
}

/// Restarts a unit again and again, with no time in between; how long each policy took to hold.
fn restarts(action: &str, seen: Seen) -> Vec<Duration> {
    let Some(host) = Host::new() else {
        return Vec::new();
    };
    let _servers = Echo::brief("127.0.0.2:8080");
    let slice = host.cgroup.child("system.slice").unwrap();
    // Names are searched for on the whole machine: this one must not meet another test's.
    let name = format!("{action}-{}.service", std::process::id());
    let mesh = format!(
        "[services.web]\nvips = ['10.96.0.10']\nports = ['80:8080']\nendpoints = ['127.0.0.2']\n\
         [policies.one]\naction = '{action}'\nservices = ['web']\nclients = ['{name}']\n"
    );
    let _daemon = Daemon::start(PROGRAM, &host, Some(&limited(&mesh)));
    let connect = || call("10.96.0.10:80").map(drop);
    let restart = |round: usize| {
        let unit = slice.child(&name).unwrap();
        let took = unit.run(|| {
            let begun = Instant::now();
            let mut connects = 0;
            while connect() != seen.after {
                connects += 1;
                assert!(begun.elapsed() < PATIENCE, "restart {round}");
            }
            let took = if connects == 0 {
                Duration::ZERO
            } else {
                begun.elapsed()
            };
            // What holds once holds for good.
            for _ in 0..5 {
                assert_eq!(connect(), seen.after, "restart {round}");
            }
            took
        });
        took.unwrap()
    };
    assert_eq!(connect(), seen.before, "somebody else");
    let mut took: Vec<_> = (0..RESTARTS).map(restart).collect();
    assert_eq!(connect(), seen.before, "somebody else");
    took.sort_unstable();
    let [median, most, last] = [RESTARTS / 2, RESTARTS * 99 / 100, RESTARTS - 1].map(|at| took[at]);
    println!("{action}: median {median:?}, 99th percentile {most:?}, maximum {last:?}");
    took
}

#[test]
fn a_closed_service_refuses_a_unit_that_begins_until_its_cgroup_is_known() {
    let refused = Err(Errno::EACCES);
    restarts(
        "allow",
        Seen {
            before: refused,
            after: Ok(()),
        },
    );
}

#[test]
fn a_unit_that_begins_is_denied_as_soon_as_its_cgroup_is_known() {
    let refused = Err(Errno::EACCES);
    restarts(
        "deny",
        Seen {
            before: Ok(()),
            after: refused,
        },
    );
}
