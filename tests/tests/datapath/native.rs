//! After its header a socket is the kernel's own again.

use kmesh_lite_tests::client::Client;
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::pending::{Pending, cookie};
use kmesh_lite_tests::syscall::until_in;
use kmesh_lite_tests::waypoint::Waypoint;
use kmesh_lite_tests::wire::{self, FAR, Wire};
use kmesh_lite_tests::{cgroup, require};
use nix::unistd::gettid;
use socket2::TcpKeepalive;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// The way there takes as long as to another town.
const DELAY: Duration = Duration::from_millis(4);

const SERVICE: &str = "10.96.0.10:80";
/// Where the service's clients are sent to, and where clients go that are no business of the mesh.
const WAYPOINT: u16 = 15008;
const DIRECT: u16 = 15009;

/// The far end answers the first byte, and then every so many, with one.
const PIECE: usize = 64 * 1024;

fn mesh(address: &str, header: &str) -> String {
    format!(
        r#"
        [waypoints.far]
        address = "{address}:{WAYPOINT}"
        header = "{header}"

        [services.far]
        vips = ["10.96.0.10"]
        ports = [80]
        waypoint = "far"
        endpoints = ["127.0.0.2"]
        "#
    )
}

/// Answers at `address`, whose clients say `header` bytes before anything else.
fn serve(address: &str, port: u16, header: usize) {
    let listener = TcpListener::bind((address, port)).expect("a listener");
    thread::spawn(move || {
        cgroup::leave().expect("outside of the test's cgroup");
        while let Ok((stream, _)) = listener.accept() {
            thread::spawn(move || answer(stream, header));
        }
    });
}

/// Until the client is gone.
fn answer(mut stream: TcpStream, header: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.read_exact(&mut vec![0; header])?;
    let mut piece = [0; PIECE];
    stream.read_exact(&mut piece[..1])?;
    loop {
        stream.write_all(b".")?;
        stream.read_exact(&mut piece)?;
    }
}

/// A socket on which nothing but an answer, or the end of the connection, ends a recv().
fn client(to: &str) -> Client {
    let client = Client::tcp4();
    let socket = client.socket();
    socket.set_read_timeout(None).expect("SO_RCVTIMEO");
    // Small, so that it is often full.
    socket.set_send_buffer_size(PIECE).expect("SO_SNDBUF");
    // The end, should the other side be lost: a test must not wait for ever.
    let patience = Duration::from_secs(10);
    let alive = TcpKeepalive::new().with_time(patience);
    socket.set_tcp_keepalive(&alive).expect("SO_KEEPALIVE");
    let timeout = socket.set_tcp_user_timeout(Some(patience));
    timeout.expect("TCP_USER_TIMEOUT");
    assert_eq!(client.connect(to), Ok(()));
    client
}

/// What a client that waits for answers saw.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Seen {
    /// recv() that brought an answer.
    answers: usize,
    /// recv() that failed with EAGAIN, though it was to wait as long as it takes.
    spurious: usize,
}

impl Seen {
    /// Waits until there were so many answers.
    fn wait(&mut self, client: &Client, answers: usize) {
        while self.answers < answers {
            match client.socket().read(&mut [0]) {
                Ok(1) => self.answers += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.spurious += 1,
                other => panic!("{other:?} after {self:?}"),
            }
        }
    }
}

const ROUNDS: usize = 50;

/// After its first send(), time and again sends what the buffer takes, then waits for the answers.
fn in_turn(client: &Client) -> Seen {
    let mut seen = Seen::default();
    client.send(b"!");
    let mut sent = 0;
    for _ in 0..ROUNDS {
        loop {
            let socket = client.socket();
            match socket.send_with_flags(&[0; PIECE], libc::MSG_DONTWAIT) {
                Ok(length) => sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error} after {sent} bytes"),
            }
        }
        seen.wait(client, 1 + sent / PIECE);
    }
    seen
}

/// After its first send(), one thread sends while another one waits for the answers.
fn at_once(client: &Client) -> Seen {
    let mut seen = Seen::default();
    client.send(b"!");
    thread::scope(|scope| {
        scope.spawn(|| client.send(&[0; ROUNDS * PIECE]));
        seen.wait(client, 1 + ROUNDS);
    });
    seen
}

/// First that the kernel wakes a socket of a socket map for nothing when the client behaves like
/// this, and a direct one never; then that it does not wake one whose header has left.
fn waits(way: impl Fn(&Client) -> Seen) {
    let Some(host) = Host::new() else { return };
    if !wire::possible() {
        return require::skip("no /dev/net/tun");
    }
    for (header, length) in [("tlv", 16), ("proxy-v2", 28)] {
        let serve = || {
            serve(FAR, WAYPOINT, length);
            serve(FAR, DIRECT, 0);
        };
        let (_wire, ()) = Wire::lay(DELAY, serve).expect("a wire");
        let _mesh = host.run(&mesh(FAR, header));
        let direct = format!("{FAR}:{DIRECT}");
        for _ in 0..3 {
            assert_answered(way(&client(&direct)), "direct");
            let waiting = client(SERVICE);
            let mut pending = pending_with(&waiting);
            let woken = (0..10).any(|_| {
                let kept = client(&direct);
                let key = pending.keep(kept.socket());
                let seen = way(&kept);
                assert!(pending.has(key));
                seen.spurious > 0
            });
            assert!(woken, "this kernel wakes nobody for nothing");
            drop(waiting);
            assert_answered(way(&client(SERVICE)), header);
        }
    }
}

#[track_caller]
fn assert_answered(seen: Seen, what: &str) {
    assert!(seen.answers > ROUNDS, "{what}: {seen:?}");
    assert_eq!(seen.spurious, 0, "{what}: {seen:?}");
}

/// Where the mesh keeps this socket, to which nothing was sent.
#[track_caller]
fn pending_with(client: &Client) -> Pending {
    let cookie = cookie(client.socket()).expect("SO_COOKIE");
    Pending::of(cookie).expect("a socket whose header is pending")
}

#[test]
fn recv_after_a_send_that_filled_the_buffer_waits_for_data() {
    waits(in_turn);
}

#[test]
fn recv_while_another_thread_sends_waits_for_data() {
    waits(at_once);
}

/// A recv() that began before the header left is in the kernel's other code until it returns. If
/// nobody sends more meanwhile, it returns with the answer, and what follows is like any other.
#[test]
fn recv_that_waits_for_the_first_answer_gets_it() {
    let Some(host) = Host::new() else { return };
    if !wire::possible() {
        return require::skip("no /dev/net/tun");
    }
    let (_wire, ()) = Wire::lay(DELAY, || serve(FAR, WAYPOINT, 16)).expect("a wire");
    let _mesh = host.run(&mesh(FAR, "tlv"));
    for _ in 0..20 {
        let client = client(SERVICE);
        let (answered, first) = channel();
        thread::scope(|scope| {
            let (name, named) = channel();
            let (client, answered) = (&client, &answered);
            let reader = scope.spawn(move || {
                name.send(gettid()).expect("the sender waits");
                let mut seen = Seen::default();
                seen.wait(client, 1);
                answered.send(()).expect("the sender waits");
                seen.wait(client, 1 + ROUNDS / 5);
                seen
            });
            until_in(named.recv().expect("the reader"), libc::SYS_recvfrom);
            client.send(b"!");
            first.recv().expect("an answer");
            client.send(&[0; ROUNDS / 5 * PIECE]);
            let seen = reader.join().expect("the reader");
            assert_eq!(seen.spurious, 0, "{seen:?}");
        });
    }
}

/// Sends on a socket that the kernel has to have let go when that returns; for each header.
fn leaves(connect: impl Fn(&Client), way: impl Fn(&Client)) {
    for header in ["tlv", "proxy-v2"] {
        let Some(host) = Host::new() else { return };
        let waypoint = Waypoint::listen(WAYPOINT);
        let _mesh = host.run(&mesh("127.0.1.1", header));
        let silent = Client::tcp4();
        assert_eq!(silent.connect(SERVICE), Ok(()));
        let pending = pending_with(&silent);
        for _ in 0..20 {
            let client = Client::tcp4();
            connect(&client);
            let cookie = cookie(client.socket()).expect("SO_COOKIE");
            assert!(pending.has(cookie), "{header}");
            way(&client);
            assert!(!pending.has(cookie), "{header}: still pending");
            client.finish();
            assert!(!waypoint.heard().header().is_empty());
        }
        // Connections come and go beside one on which nothing is sent.
        let cookie = cookie(silent.socket()).expect("SO_COOKIE");
        assert!(pending.has(cookie), "{header}");
        drop(silent);
        assert!(eventually(|| !pending.has(cookie)), "{header}: closed");
    }
}

fn blocking(client: &Client) {
    assert_eq!(client.connect(SERVICE), Ok(()));
}

/// Stays without waiting.
fn nonblocking(client: &Client) {
    assert_eq!(client.connect_nonblocking(SERVICE), Ok(()));
    client.socket().set_nonblocking(true).expect("O_NONBLOCK");
}

fn send(client: &Client, bytes: &[u8], flags: libc::c_int) -> usize {
    let sent = client.socket().send_with_flags(bytes, flags);
    sent.expect("send")
}

#[test]
fn a_socket_is_native_after_one_send() {
    leaves(blocking, |client| assert_eq!(send(client, b"!", 0), 1));
    leaves(nonblocking, |client| assert_eq!(send(client, b"!", 0), 1));
}

#[test]
fn a_socket_is_native_after_one_send_that_is_larger_than_its_buffer() {
    leaves(blocking, |client| {
        assert_eq!(send(client, &[0; 4 << 20], 0), 4 << 20);
    });
    leaves(nonblocking, |client| {
        assert!(send(client, &[0; 16 << 20], 0) < 16 << 20);
    });
}

#[test]
fn a_socket_is_native_after_one_send_when_more_is_to_come() {
    let more = |client: &Client| assert_eq!(send(client, b"!", libc::MSG_MORE), 1);
    leaves(blocking, more);
    leaves(nonblocking, more);
}

/// The daemon sends on the client's behalf. This process is the daemon, so clients are others.
#[test]
fn a_socket_is_native_after_its_header_when_the_server_speaks_first() {
    let Some(host) = Host::new() else { return };
    if !require::programs(&["python3"]) {
        return;
    }
    let listener = TcpListener::bind(("127.0.1.1", WAYPOINT)).expect("a listener");
    let server = thread::spawn(move || -> std::io::Result<()> {
        cgroup::leave()?;
        for _ in 0..20 {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.read_exact(&mut [0; 28])?;
            stream.write_all(b"hello")?;
            std::io::copy(&mut &stream, &mut &stream)?;
        }
        Ok(())
    });
    let _mesh = host.run_as_daemon(
        r#"
        [waypoints.mail]
        address = "127.0.1.1:15008"
        header = "proxy-v2"
        server_first = true

        [waypoints.web]
        address = "127.0.1.2:15008"
        header = "proxy-v2"

        [services.mail]
        vips = ["10.96.0.25"]
        ports = [25]
        waypoint = "mail"
        endpoints = ["127.0.0.2"]

        [services.web]
        vips = ["10.96.0.10"]
        ports = [80]
        waypoint = "web"
        endpoints = ["127.0.0.2"]
        "#,
    );
    let _web = TcpListener::bind(("127.0.1.2", WAYPOINT)).expect("a listener");
    const CLIENT: &str = r#"
import socket, sys
SO_COOKIE = 57
cookie = lambda s: int.from_bytes(s.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)
silent = socket.create_connection(('10.96.0.10', 80))
for round in range(20):
    s = socket.create_connection(('10.96.0.25', 25))
    assert s.recv(5, socket.MSG_WAITALL) == b'hello'
    print(cookie(silent), cookie(s), flush=True)
    sys.stdin.readline()
    s.sendall(b'x' * 1000)
    assert s.recv(1000, socket.MSG_WAITALL) == b'x' * 1000
    s.close()
"#;
    let mut client = Command::new("python3")
        .args(["-c", CLIENT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut go = client.stdin.take().expect("a pipe");
    let lines = BufReader::new(client.stdout.take().expect("a pipe")).lines();
    let mut greeted = 0;
    for line in lines {
        let line = line.expect("a line");
        let mut cookies = line
            .split(' ')
            .map(|cookie| cookie.parse().expect("a cookie"));
        let silent = cookies.next().expect("that of the silent one");
        let waited = cookies.next().expect("that of the one that waited");
        let pending = Pending::of(silent).expect("a socket whose header is pending");
        assert!(!pending.has(waited), "still pending");
        greeted += 1;
        go.write_all(b"\n").expect("a pipe");
    }
    assert!(client.wait().expect("python3").success());
    assert_eq!(greeted, 20);
    server.join().expect("the server").expect("headers");
}
