//! SSH behind a waypoint: the server greets, and keys tie the client to the address it asked for.

use crate::PROGRAM;
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::proxy::{FOUR, Proxy, Unit, forwarder, haproxy, host};
use kmesh_lite_tests::require;
use kmesh_lite_tests::server::ends_with_us;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const SERVER: &str = "192.168.1.68";

const SSH: Program = Program {
    name: "OpenSSH",
    version: &["ssh", "-V"],
};

/// The keys of a server and of a client who know each other.
struct Keys(TempDir);

impl Keys {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["host", "client"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
            command.arg(folder.path().join(name));
            let output = command.stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        let keys = Self(folder);
        let host = fs::read_to_string(keys.path("host.pub")).unwrap();
        fs::write(keys.path("known"), format!("10.96.0.68 {host}")).unwrap();
        keys
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

/// A server of its own. The folder that it insists on is in a /run that nobody else sees.
fn sshd(host: &Host, keys: &Keys) -> Proxy {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sshd_config");
    let text = format!(
        "Port 2222\nListenAddress {SERVER}\nPidFile none\nHostKey {}\nAuthorizedKeysFile {}\n\
         PermitRootLogin yes\nPasswordAuthentication no\nUsePAM no\nStrictModes no\n\
         MaxStartups 100\n",
        keys.path("host"),
        keys.path("client.pub")
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    command
        .arg("mount -t tmpfs run /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f \"$0\"");
    command.arg(&file);
    let place = Unit::inside(&host.cgroup, "sshd");
    Proxy::start(place, folder, &mut command, &["192.168.1.68:2222"])
}

fn mesh(header: &str, unit: &Path) -> String {
    format!(
        r#"
        [waypoints.edge]
        address = "127.0.0.1:15008"
        header = "{header}"
        server_first = true
        unit = {unit:?}

        [services.login]
        vips = ["10.96.0.68"]
        ports = ["22:2222"]
        waypoint = "edge"
        endpoints = ["{SERVER}"]
        "#
    )
}

/// Runs a command over there.
fn ssh(keys: &Keys, input: Stdio, remote: &str) -> Output {
    let mut command = Command::new("ssh");
    command.args(["-F", "none", "-T", "-b", FOUR, "-i", &keys.path("client")]);
    for option in [
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=yes",
        "GlobalKnownHostsFile=none",
        "ConnectTimeout=20",
        &format!("UserKnownHostsFile={}", keys.path("known")),
    ] {
        command.args(["-o", option]);
    }
    command.args(["root@10.96.0.68", remote]).stdin(input);
    let output = ends_with_us(&mut command).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// Commands run, and streams arrive whole in both directions.
fn works(keys: &Keys) {
    for _ in 0..5 {
        let said = ssh(keys, Stdio::null(), "echo hello from $SSH_CONNECTION").stdout;
        let said = String::from_utf8(said).unwrap();
        assert!(said.starts_with("hello from "), "{said}");
        assert!(said.ends_with(&format!(" {SERVER} 2222\n")), "{said}");
    }
    let file = keys.path("stream");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    fs::write(&file, &bytes).unwrap();
    let back = ssh(keys, File::open(&file).unwrap().into(), "cat").stdout;
    assert!(back == bytes, "{} of {} bytes", back.len(), bytes.len());
}

fn running(programs: &[&str]) -> Option<(Host, Keys, Proxy)> {
    let host = host(programs, &[SERVER])?;
    if !require::servers(&["sshd", "ssh", "ssh-keygen"]) {
        return None;
    }
    let keys = Keys::new();
    let server = sshd(&host, &keys);
    Some((host, keys, server))
}

#[test]
fn haproxy_passes_ssh_on() {
    let mode = "server first, behind HAProxy";
    let row = Row::of(SSH, ["client, server", mode, "proxy-v2"]);
    let Some((host, keys, _server)) = running(&["haproxy"]) else {
        return;
    };
    let file = keys.path("haproxy.cfg");
    let text = format!(
        "global\n    log stdout format raw daemon\n\
         defaults\n    log global\n    mode tcp\n    timeout connect 5s\n    timeout client 1m\n    timeout server 1m\n\
         frontend waypoint\n    bind 127.0.0.1:15008 accept-proxy\n    \
         log-format \"client=%[src] asked=%[dst]:%[dst_port]\"\n    default_backend login\n\
         backend login\n    server one {SERVER}:2222\n"
    );
    fs::write(&file, text).unwrap();
    let unit = Unit::inside(&host.cgroup, "haproxy");
    let path = host.cgroup.path().join("haproxy");
    let mut proxy = haproxy(unit, Path::new(&file), &["127.0.0.1:15008"]);
    let _mesh = host.run_as_daemon(&mesh("proxy-v2", &path));
    works(&keys);
    proxy.logs(&format!("client={FOUR} asked=10.96.0.68:22"));
    row.passed();
}

#[test]
fn our_forwarder_passes_ssh_on() {
    let mode = "server first, behind kmesh-lite";
    let row = Row::of(SSH, ["client, server", mode, "tlv, proxy-v2"]);
    let Some((host, keys, _server)) = running(&[]) else {
        return;
    };
    for header in ["tlv", "proxy-v2"] {
        let unit = host.cgroup.child("forwarder").unwrap();
        let options = ["--accept", header, "--allow", "10.96.0.68"];
        let _forwarder = forwarder(PROGRAM, &unit, "worker", "127.0.0.1:15008", &options);
        let _mesh = host.run_as_daemon(&mesh(header, unit.path()));
        works(&keys);
    }
    row.passed();
}
