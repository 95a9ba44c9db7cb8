//! `explain` beside the kernel, with the daemon and without.

use crate::PROGRAM;
use kmesh_lite_tests::client::{Client, call};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::user::as_user;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

const WEB: &str = "10.96.0.10:80";
const FULL: &str = "10.96.0.11:80";

const MESH: &str = "
    [services.web]
    vips = ['10.96.0.10']
    ports = ['80:8080']
    affinity = '1h'
    clients_by = 'user'
    connects_per_second = 1000
    client_connects_per_second = 1000
    endpoints = ['127.0.0.2', '127.0.0.3', '127.0.0.4']
    [services.full]
    vips = ['10.96.0.11']
    ports = ['80:8080']
    endpoints = [{ address = '127.0.0.2', max_connections = 1 }]
";

fn reached(to: &str) -> Result<String, Errno> {
    call(to).map(|peer| peer.to_string())
}

/// Somebody else's process, which ends with the test.
struct Sleeper(Child);

impl Sleeper {
    fn of(user: u32) -> Self {
        let mut command = Command::new("sleep");
        Self(command.arg("600").uid(user).spawn().expect("a process"))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_the_kernel_remembers_is_told_with_a_daemon_and_without() {
    let Some(host) = Host::new() else { return };
    let _servers = Echo::everywhere(&[8080]);
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&limited(MESH)));
    daemon.wait_until("it is ready", |daemon| daemon.times_ready() > 0);
    let users = [0, 1000, 1001, 1002];
    let kept = users.map(|user| as_user(user, || reached(WEB)).expect("a server"));
    let stays = Client::tcp4();
    assert_eq!(stays.connect(FULL), Ok(()));
    let sleeper = Sleeper::of(1001);
    let pid = sleeper.0.id().to_string();
    for attended in [true, false] {
        if !attended {
            daemon.signal(Signal::SIGKILL);
            daemon.wait();
        }
        for (user, endpoint) in users.iter().zip(&kept) {
            let user = match user {
                0 => "root".to_owned(),
                user => user.to_string(),
            };
            let said = daemon.json(&["explain", WEB, "--user", &user]);
            assert_eq!(said["kept"]["endpoint"], endpoint.as_str(), "{said:#}");
            assert_eq!(said["kept"]["taken"], true, "{said:#}");
            assert_eq!(said["candidates"].as_array().map(Vec::len), Some(1));
            assert_eq!(said["candidates"][0]["endpoint"], endpoint.as_str());
        }
        let said = daemon.json(&["explain", WEB, "--pid", &pid]);
        assert_eq!(said["steps"][0]["fields"]["user"], 1001, "{said:#}");
        assert_eq!(said["kept"]["endpoint"], kept[2].as_str(), "{said:#}");
        let text = daemon.verb(&["explain", WEB, "--user", "1000"]);
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        let words = format!("this user keeps {} until 2", kept[1]);
        assert!(text.contains(&words), "{text}");
        // Nobody of this user was there.
        let said = daemon.json(&["explain", WEB, "--user", "1003"]);
        assert_eq!(said["candidates"].as_array().map(Vec::len), Some(3));
        let said = daemon.json(&["explain", FULL]);
        assert_eq!(said["outcome"], "refuse_endpoints_full", "{said:#}");
        assert_eq!(reached(FULL), Err(Errno::ECONNREFUSED));
    }
    for (user, endpoint) in users.into_iter().zip(kept) {
        assert_eq!(as_user(user, || reached(WEB)), Ok(endpoint));
    }
    let nobody = daemon.verb(&["explain", WEB, "--user", "no-such-user"]);
    assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");
}
