//! A mail server behind a waypoint: its clients wait for its greeting.

use crate::PROGRAM;
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::page::curl;
use kmesh_lite_tests::proxy::{FOUR, Proxy, Unit, example, forwarder, haproxy, host};
use kmesh_lite_tests::require;
use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

const OPENSMTPD: Program = Program {
    name: "OpenSMTPD",
    version: &["smtpd", "-h"],
};

/// An SMTP server, which speaks first.
fn smtp(host: &Host) -> Proxy {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("smtpd.conf");
    let text = "listen on 192.168.1.65 port 2525 hostname mail.example\n\
                match from any for any reject\n";
    fs::write(&file, text).unwrap();
    let mut command = Command::new("smtpd");
    command.arg("-d").arg("-f").arg(&file);
    let place = Unit::inside(&host.cgroup, "mail");
    Proxy::start(place, folder, &mut command, &["192.168.1.65:2525"])
}

/// Clients that wait for the server's greeting before they say anything are served.
fn talks_smtp() {
    for _ in 0..20 {
        let options = ["--interface", FOUR, "--request", "HELP"];
        let output = curl(&[&options[..], &["smtp://10.96.0.65/"]].concat());
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("This is OpenSMTPD"), "{text}");
    }
}

/// OpenSMTPD has one control socket for the whole machine; none where it is somebody else's, or where
/// there is no OpenSMTPD.
fn alone() -> Option<MutexGuard<'static, ()>> {
    static SMTP: Mutex<()> = Mutex::new(());
    if !require::servers(&["smtpd"]) {
        return None;
    }
    let guard = SMTP.lock().unwrap_or_else(PoisonError::into_inner);
    if UnixStream::connect("/run/smtpd.sock").is_ok() {
        require::skip_server("an OpenSMTPD runs on this machine");
        return None;
    }
    Some(guard)
}

#[test]
fn haproxy_passes_smtp_on_although_the_client_waits() {
    let mode = "server first, behind HAProxy";
    let row = Row::of(OPENSMTPD, ["server", mode, "proxy-v2"]);
    let Some(host) = host(&["haproxy", "curl"], &["192.168.1.65"]) else {
        return;
    };
    let Some(_alone) = alone() else { return };
    let unit = Unit::of_systemd(&host, "haproxy.service");
    let file = example("waypoint-haproxy/haproxy.cfg");
    let mut proxy = haproxy(unit, &file, &["127.0.0.1:15008"]);
    let _smtp = smtp(&host);
    let text = fs::read_to_string(example("waypoint-haproxy/mesh.toml")).unwrap();
    let _mesh = host.run_as_daemon(&text);
    talks_smtp();
    proxy.logs("asked=10.96.0.65:25 backend=mail server=mail-1 ");
    assert!(proxy.log().contains(&format!("client={FOUR}:")));
    row.passed();
}

#[test]
fn our_forwarder_passes_smtp_on_although_the_client_waits() {
    let mode = "server first, behind kmesh-lite";
    let row = Row::of(OPENSMTPD, ["server", mode, "tlv, proxy-v2"]);
    let Some(host) = host(&["curl"], &["192.168.1.65"]) else {
        return;
    };
    let Some(_alone) = alone() else { return };
    let _smtp = smtp(&host);
    for header in ["tlv", "proxy-v2"] {
        let unit = host.cgroup.child("forwarder").unwrap();
        let options = ["--accept", header, "--allow", "10.96.0.65"];
        let _forwarder = forwarder(PROGRAM, &unit, "worker", "127.0.0.1:15008", &options);
        let path = unit.path();
        let text = format!(
            r#"
            [waypoints.mail]
            address = "127.0.0.1:15008"
            header = "{header}"
            server_first = true
            unit = {path:?}

            [services.mail]
            vips = ["10.96.0.65"]
            ports = ["25:2525"]
            waypoint = "mail"
            endpoints = ["192.168.1.65"]
            "#
        );
        let _mesh = host.run_as_daemon(&text);
        talks_smtp();
    }
    row.passed();
}
