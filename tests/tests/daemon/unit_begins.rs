//! A unit that is restarted and connects at once, before the daemon has told the kernel of its new cgroup: an allow policy
//! refuses it until then, and a deny policy lets it through. How long that is, is printed.

use crate::PROGRAM;
use kmesh_lite_tests::cgroup::Cgroup;
use kmesh_lite_tests::client::call;
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use nix::errno::Errno;
use std::time::{Duration, Instant};

const ROUNDS: usize = 200;
/// Longer than any of them takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a program sees of a policy: without it, or while it is about somebody else, and with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    before: Result<(), Errno>,
    after: Result<(), Errno>,
}

/// Starts a unit again and again, or restarts it with no time in between, and tells how long each policy took to hold.
fn rounds(action: &str, is_restart: bool, seen: Seen) {
    let Some(host) = Host::new() else { return };
    let _servers = Echo::brief("127.0.0.2:8080");
    let slice = host.cgroup.child("system.slice").unwrap();
    // Names are searched for on the whole machine: this one must not meet another test's.
    let name = format!("{action}-{is_restart}-{}.service", std::process::id());
    let mesh = format!(
        "[services.web]\nvips = ['10.96.0.10']\nports = ['80:8080']\nendpoints = ['127.0.0.2']\n\
         [policies.one]\naction = '{action}'\nservices = ['web']\nclients = ['{name}']\n"
    );
    let daemon = Daemon::start(PROGRAM, &host, Some(&limited(&mesh)));
    let connect = || call("10.96.0.10:80").map(drop);
    let begin = |unit: &Cgroup, round: usize| {
        let took = unit.run(|| {
            let begun = Instant::now();
            let mut is_first = true;
            while connect() != seen.after {
                is_first = false;
                assert!(begun.elapsed() < PATIENCE, "round {round}");
            }
            let took = begun.elapsed();
            // What holds once holds for good.
            for _ in 0..5 {
                assert_eq!(connect(), seen.after, "round {round}");
            }
            if is_first { Duration::ZERO } else { took }
        });
        took.unwrap()
    };
    assert_eq!(connect(), seen.before, "somebody else");
    let mut took = Vec::new();
    let mut before = None;
    for round in 0..ROUNDS {
        if !is_restart {
            before = None;
        }
        // Answered when what happened before has taken effect.
        daemon.json(&["status"]);
        drop(before.take());
        let unit = slice.child(&name).unwrap();
        took.push(begin(&unit, round));
        before = Some(unit);
    }
    assert_eq!(connect(), seen.before, "somebody else");
    let early = took.iter().filter(|it| !it.is_zero()).count();
    took.sort_unstable();
    let [median, most, last] = [ROUNDS / 2, ROUNDS * 99 / 100, ROUNDS - 1].map(|at| took[at]);
    let what = if is_restart { "restarts" } else { "starts" };
    println!(
        "{action}, {what}: {early} of {ROUNDS} were early; median {median:?}, 99th percentile {most:?}, maximum {last:?}"
    );
}

#[test]
fn a_closed_service_refuses_a_unit_that_begins_until_its_cgroup_is_known() {
    let refused = Err(Errno::EACCES);
    for is_restart in [false, true] {
        rounds(
            "allow",
            is_restart,
            Seen {
                before: refused,
                after: Ok(()),
            },
        );
    }
}

#[test]
fn a_unit_that_begins_is_denied_as_soon_as_its_cgroup_is_known() {
    let refused = Err(Errno::EACCES);
    for is_restart in [false, true] {
        rounds(
            "deny",
            is_restart,
            Seen {
                before: Ok(()),
                after: refused,
            },
        );
    }
}
