//! No daemon: the kernel goes on, and root can still ask it.

use crate::hitless::{Servers, started};
use kmesh_lite_tests::host::Host;
use nix::sys::signal::Signal;

#[test]
fn without_a_daemon_the_kernel_answers() {
    let Some(host) = Host::new() else { return };
    let _servers = Servers::start();
    let (mut daemon, _open) = started(&host);
    let attended = daemon.json(&["dump"]);
    let explained = daemon.json(&["explain", "10.96.0.11:80"]);
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    let output = daemon.verb(&["status"]);
    let (text, complaint) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(1), "{text}{complaint}");
    assert!(
        complaint.contains("the daemon is not running"),
        "{complaint}"
    );
    let verdict = "the daemon is not running; the kernel goes on with 2 services over 2 endpoints";
    assert!(text.starts_with(verdict), "{text}");
    let cgroup = host.cgroup.path().display().to_string();
    let status = daemon.json(&["status"]);
    assert_eq!(status["state"], "unattended");
    assert_eq!(status["datapath"]["attached"][0], cgroup.as_str());
    assert_eq!(status["datapath"]["services"][1]["connects"], 1);
    assert_eq!(daemon.json(&["dump"]), attended);
    assert_eq!(daemon.json(&["explain", "10.96.0.11:80"]), explained);
    assert_eq!(daemon.verb(&["status", "absent"]).status.code(), Some(1));
    daemon.start_again(&[]);
    assert_eq!(daemon.state(), "routing");
    // Once nobody keeps them, there are none; the kernel takes its time.
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    daemon.forget_everything();
    daemon.wait_until("the kernel holds nothing", |daemon| {
        let output = daemon.verb(&["status"]);
        String::from_utf8_lossy(&output.stderr).contains("is kmesh-lite running?")
    });
}
