//! Policies that would cut off the operator, with connections that stand.

use crate::PROGRAM;
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use nix::sys::signal::Signal;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};

const SERVICE: &str =
    "[services.web]\nvips = ['10.96.0.10']\nports = ['80:8080']\nendpoints = ['127.0.0.2']\n";

/// A policy about a port of this host that lets others in.
fn closed(port: u16, rest: &str) -> String {
    limited(&format!(
        "{SERVICE}\n[policies.closed]\naction = 'allow'\nports = [{port}]\nfrom = ['10.1.0.0/16']\n{rest}\n"
    ))
}

fn open() -> String {
    limited(SERVICE)
}

/// What a refusal says of a connection.
fn refused(local: SocketAddr, peer: SocketAddr) -> String {
    format!(
        "policy `closed` would lock out the connection from {peer} to {local}; `force = true` in \
         `[policies.closed]` overrides this"
    )
}

fn is_refused(daemon: &Daemon) -> bool {
    daemon.json(&["status"])["lockouts"].is_array()
}

/// A connection to a port of this host, and its ends.
fn connection(to: &str) -> (TcpStream, SocketAddr, SocketAddr) {
    let client = TcpStream::connect(to).expect("connected");
    let (local, peer) = (client.peer_addr().unwrap(), client.local_addr().unwrap());
    (client, local, peer)
}

#[test]
fn a_connection_to_ssh_is_not_locked_out_unless_it_is_forced() {
    let Some(host) = Host::new() else { return };
    let _ssh = Echo::tcp("[::]:22");
    for to in ["127.0.0.1:22", "[::1]:22"] {
        let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&open()));
        let (client, local, peer) = connection(to);
        let expected = refused(local, peer);
        let plan = {
            std::fs::write(daemon.path("other.toml"), closed(22, "")).unwrap();
            let path = daemon.path("other.toml").display().to_string();
            daemon.json(&["plan", &path])
        };
        assert_eq!(plan["lockouts"][0]["text"], expected.as_str());
        // By the watch, and by a reload.
        daemon.save(&closed(22, ""));
        daemon.wait_until("it is refused", |daemon| is_refused(daemon));
        let status = daemon.json(&["status"]);
        assert_eq!(status["state"], "keeping");
        assert_eq!(status["lockouts"][0]["policy"], "closed");
        assert_eq!(status["lockouts"][0]["local"], local.to_string());
        assert_eq!(status["lockouts"][0]["peer"], peer.to_string());
        assert!(
            status["verdict"].as_str().unwrap().ends_with(&expected),
            "{status}"
        );
        assert!(daemon.log().contains(&expected));
        let reload = daemon.verb(&["reload"]);
        assert_eq!(reload.status.code(), Some(3));
        let why = String::from_utf8_lossy(&reload.stderr);
        assert!(why.contains(&expected), "{why}");
        // That it ends, and that the daemon does, is no reason to let nobody in any more.
        drop(client);
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        daemon.start_again(&[]);
        assert!(is_refused(&daemon));
        let (client, ..) = connection(to);
        daemon.save(&closed(22, "force = true"));
        daemon.wait_until("it is applied", |daemon| daemon.state() == "routing");
        let again = TcpStream::connect(to).map_err(|error| error.kind());
        assert_eq!(again.err(), Some(ErrorKind::ConnectionRefused));
        drop(client);
    }
}

#[test]
fn nobody_is_locked_out_where_nobody_is() {
    let Some(host) = Host::new() else { return };
    let _servers = Echo::everywhere(&[22, 2222]);
    let daemon = Daemon::start(PROGRAM, &host, Some(&open()));
    // Neither one that listens, nor a connection to another port.
    let _other = connection("127.0.0.1:2222");
    daemon.save(&closed(22, ""));
    assert!(daemon.verb(&["reload"]).status.success());
    assert_eq!(daemon.state(), "routing");
}

/// Runs a verb in a shell that has SSH_CONNECTION, by itself or for what it starts.
fn over_ssh(daemon: &Daemon, (local, peer): (SocketAddr, SocketAddr), line: &str) -> Output {
    let told = format!(
        "{} {} {} {}",
        peer.ip(),
        peer.port(),
        local.ip(),
        local.port()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).env("SSH_CONNECTION", told);
    shell.env("PROGRAM", daemon.program());
    shell.env("SOCKET", daemon.path("socket"));
    shell.output().expect("a shell")
}

#[test]
fn the_connection_of_whoever_asks_is_looked_after_at_any_port() {
    let Some(host) = Host::new() else { return };
    let _ssh = Echo::tcp("[::]:2222");
    // As it is, and as sudo leaves it.
    let lines = [
        "\"$PROGRAM\" reload --socket \"$SOCKET\"",
        "env -u SSH_CONNECTION \"$PROGRAM\" reload --socket \"$SOCKET\"; exit $?",
    ];
    for line in lines {
        let mut daemon = Daemon::start(PROGRAM, &host, Some(&open()));
        let (_client, local, peer) = connection("127.0.0.1:2222");
        assert!(over_ssh(&daemon, (local, peer), line).status.success());
        daemon.save(&closed(2222, ""));
        daemon.wait_until("it is refused", |daemon| is_refused(daemon));
        let reload = over_ssh(&daemon, (local, peer), line);
        assert_eq!(reload.status.code(), Some(3));
        let why = String::from_utf8_lossy(&reload.stderr);
        assert!(why.contains(&refused(local, peer)), "{why}");
    }
}
