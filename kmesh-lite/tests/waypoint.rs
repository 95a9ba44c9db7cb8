//! `kmesh-lite waypoint` is a process with arguments, signals and exit codes.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

struct Waypoint {
    child: Child,
    log: BufReader<ChildStderr>,
    address: SocketAddr,
}

impl Waypoint {
    /// Starts it on a free port and waits until it listens.
    fn start(args: &[&str]) -> Self {
        let mut child = command(args).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut waypoint = Self {
            child,
            log,
            address: ([127, 0, 0, 1], 0).into(),
        };
        let line = waypoint.wait_for("listening on ");
        let (_, address) = line.rsplit_once("listening on ").unwrap();
        let address = address.split(' ').next().unwrap();
        waypoint.address = address.trim().parse().unwrap();
        waypoint
    }

    /// Reads the log up to a line that holds `text`.
    fn wait_for(&mut self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(
                self.log.read_line(&mut line).unwrap(),
                0,
                "no {text:?} in\n{seen}"
            );
            if line.contains(text) {
                return line;
            }
            seen += &line;
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    fn connect(&self, destination: SocketAddr) -> TcpStream {
        let SocketAddr::V4(to) = destination else {
            panic!("expected IPv4, got {destination}");
        };
        let port = to.port().to_be_bytes();
        let header = [
            &[1, 0, 0, 0, 6],
            &to.ip().octets()[..],
            &port,
            &[0xfe, 0, 0, 0, 0],
        ];
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(&header.concat()).unwrap();
        stream
    }

    fn end(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Waypoint {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kmesh-lite"));
    command
        .args(["waypoint", "--listen", "127.0.0.1:0"])
        .args(args)
        .env_remove("NOTIFY_SOCKET")
        .env_remove("JOURNAL_STREAM");
    command
}

fn write_mesh(path: &Path, destination: SocketAddr) {
    let text = format!(
        "[services.echo]\nvips = [\"{}\"]\nports = [{}]\nendpoints = [\"192.0.2.1\"]\n",
        destination.ip(),
        destination.port(),
    );
    std::fs::write(path, text).unwrap();
}

fn check_relayed(waypoint: &Waypoint, destination: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = waypoint.connect(destination.local_addr().unwrap());
    let (mut server, _) = destination.accept().unwrap();
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0]).unwrap();
    (client, server)
}

fn check_refused(waypoint: &Waypoint, destination: SocketAddr) {
    let read = waypoint.connect(destination).read(&mut [0]);
    assert_eq!(
        read.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
}

#[test]
fn it_does_not_start_without_knowing_what_is_allowed() {
    let missing = ["--config", "/nonexistent/mesh.toml"];
    let output = command(&missing).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("/nonexistent/mesh.toml does not exist"),
        "{text}"
    );

    if Path::new("/etc/kmesh/mesh.toml").exists() {
        return;
    }
    let output = command(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("nothing is allowed"), "{text}");
}

#[test]
fn a_bad_file_is_shown_as_check_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.toml");
    std::fs::write(&path, "[services.echo]\nvip = [\"10.96.0.10\"]\n").unwrap();
    let output = command(&["--config", path.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("vips"), "{text}");
}

#[test]
fn it_follows_its_file_on_sighup_and_keeps_the_last_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.toml");
    let one = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    write_mesh(&path, one.local_addr().unwrap());
    let mut waypoint = Waypoint::start(&["--config", path.to_str().unwrap()]);
    let (mut client, mut server) = check_relayed(&waypoint, &one);
    check_refused(&waypoint, other.local_addr().unwrap());

    write_mesh(&path, other.local_addr().unwrap());
    waypoint.signal(Signal::SIGHUP);
    waypoint.wait_for("reloaded");
    check_relayed(&waypoint, &other);
    check_refused(&waypoint, one.local_addr().unwrap());
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0]).unwrap();

    std::fs::write(&path, "services = 1").unwrap();
    waypoint.signal(Signal::SIGHUP);
    waypoint.wait_for("cannot reload");
    check_relayed(&waypoint, &other);
}

#[test]
fn sigterm_waits_for_connections_and_a_second_one_does_not() {
    let destination = TcpListener::bind("127.0.0.1:0").unwrap();
    let allow = ["--allow", "127.0.0.1/32"];

    let mut waypoint = Waypoint::start(&allow);
    let (mut client, mut server) = check_relayed(&waypoint, &destination);
    waypoint.signal(Signal::SIGUSR1);
    waypoint.wait_for("so far: accepted=1 forwarded=1");
    waypoint.signal(Signal::SIGTERM);
    waypoint.wait_for("stopping");
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0]).unwrap();
    drop((client, server));
    let (status, log) = waypoint.end();
    assert!(status.success(), "{log}");
    assert!(
        log.contains("stopped: accepted=1 forwarded=1 finished=1"),
        "{log}"
    );

    let mut waypoint = Waypoint::start(&allow);
    let (mut client, _server) = check_relayed(&waypoint, &destination);
    waypoint.signal(Signal::SIGTERM);
    waypoint.wait_for("stopping");
    waypoint.signal(Signal::SIGINT);
    let (status, log) = waypoint.end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("cut=1"), "{log}");
    client.read(&mut [0]).unwrap_err();
}
