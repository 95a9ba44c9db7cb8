//! A stream that a waypoint would misread is closed, and counted with its reason.

use crate::kernel_tls;
use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::behind::{self, FOUR, SIX};
use kmesh_lite_tests::client::{Client, address, set};
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::{Host, Running};
use kmesh_lite_tests::pending::{Full, Pending, cookie};
use kmesh_lite_tests::syscall::until_in;
use nix::errno::Errno;
use nix::unistd::gettid;
use socket2::{Domain, Socket, Type};
use std::io::Read;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

const SERVICE: &str = "10.96.0.10:80";
const SERVICE6: &str = "[fd00:96::11]:80";

/// What a program may see of a connection that is closed: `waypoint-limits.md` has the cases.
const CLOSED: [Errno; 4] = [
    Errno::ETIMEDOUT,
    Errno::ENODEV,
    Errno::ENETUNREACH,
    Errno::ECONNRESET,
];

/// That a program sees an error from a call, or from the receive that follows. Printed, for the page.
fn closed(case: &str, call: std::io::Result<usize>, client: &Client) {
    let then = |_| client.socket().recv(&mut [MaybeUninit::uninit(); 1]);
    let (from, outcome) = match call {
        Ok(sent) => ("the next recv()", then(sent)),
        Err(error) => ("the call", Err(error)),
    };
    let error = outcome.expect_err("the connection is closed");
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    println!("closed: {case}: {errno} from {from}");
    assert!(CLOSED.contains(&errno), "{case}: {errno} from {from}");
}

/// A host with the addresses of both waypoints, and their mesh.
fn host() -> Option<(Host, Running)> {
    let host = Host::new()?;
    host.add(&behind::ADDRESSES);
    let mesh = host.run(&behind::mesh("tlv"));
    Some((host, mesh))
}

#[test]
fn data_in_a_syn_closes_the_connection_instead_of_leaving_without_a_header() {
    const TCP_FASTOPEN_CONNECT: libc::c_int = 30;
    for (service, waypoint) in [(SERVICE, FOUR), (SERVICE6, SIX)] {
        let Some((_host, mut mesh)) = host() else {
            return;
        };
        // Server side cookies, so that the second connection can carry data in its SYN.
        std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "3").expect("tcp_fastopen");
        let at: SocketAddr = address(waypoint);
        let listener = Socket::new(Domain::for_address(at), Type::STREAM, None).expect("a socket");
        set(&listener, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 16);
        listener.bind(&at.into()).expect("bind");
        listener.listen(16).expect("listen");
        let accepted = thread::spawn(move || {
            let mut streams = Vec::new();
            while let Ok((mut stream, _)) = listener.accept() {
                let mut bytes = Vec::new();
                let _ = stream.read_to_end(&mut bytes);
                if bytes == b"stop" {
                    return streams;
                }
                streams.push(bytes);
            }
            streams
        });
        // Straight to it, so that this host has a cookie.
        for _ in 0..2 {
            let client = Client::tcp(at);
            fast(&client, waypoint).expect("sendto");
            client.finish();
        }
        // In the SYN by sendto().
        let client = Client::tcp(at);
        let outcome = fast(&client, service);
        closed(
            &format!("sendto(MSG_FASTOPEN) to {service}"),
            outcome,
            &client,
        );
        // In the SYN by a connect() that waits for the first write.
        let client = Client::tcp(at);
        set(client.socket(), libc::IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
        assert_eq!(client.connect(service), Ok(()));
        let outcome = client.socket().send(b"fast");
        closed(
            &format!("TCP_FASTOPEN_CONNECT to {service}"),
            outcome,
            &client,
        );

        let client = Client::tcp(at);
        assert_eq!(client.connect(waypoint), Ok(()));
        client.send(b"stop");
        client.finish();
        let streams = accepted.join().expect("the waypoint");
        let misled: Vec<_> = streams
            .iter()
            .skip(2)
            .filter(|bytes| !bytes.is_empty())
            .collect();
        assert!(misled.is_empty(), "{misled:?}");
        let outcomes = mesh.outcomes();
        assert_eq!(outcomes[&Outcome::CloseFastOpen], 2, "{outcomes:?}");
        assert_eq!(outcomes[&Outcome::HeaderLeaked], 0);
    }
}

fn fast(client: &Client, to: &str) -> std::io::Result<usize> {
    let to = socket2::SockAddr::from(address(to));
    client
        .socket()
        .send_to_with_flags(b"fast", &to, libc::MSG_FASTOPEN)
}

/// A send that waits for the connection goes past the program that would put the header before it.
#[test]
fn a_send_that_began_before_the_connection_stood_closes_it() {
    for (service, waypoint) in [(SERVICE, FOUR), (SERVICE6, SIX)] {
        let Some((_host, mut mesh)) = host() else {
            return;
        };
        // A listener that is full drops the SYN; the next one comes after a second.
        let at: SocketAddr = address(waypoint);
        let listener = Socket::new(Domain::for_address(at), Type::STREAM, None).expect("a socket");
        listener.bind(&at.into()).expect("bind");
        listener.listen(0).expect("listen");
        let filling = Client::tcp(at);
        assert_eq!(filling.connect(waypoint), Ok(()));

        let client = Client::tcp(at);
        client.socket().set_nonblocking(true).expect("O_NONBLOCK");
        assert_eq!(client.connect(service), Err(Errno::EINPROGRESS));
        client.socket().set_nonblocking(false).expect("O_NONBLOCK");
        let outcome = thread::scope(|scope| {
            let (name, named) = channel();
            let client = &client;
            let early = scope.spawn(move || {
                name.send(gettid()).expect("somebody waits for it");
                client.socket().send(b"early")
            });
            // Room for it, once send() waits.
            until_in(named.recv().expect("a client"), libc::SYS_sendto);
            listener.accept().expect("the one before");
            early.join().expect("a client")
        });
        closed(
            &format!("a send that waits, to {service}"),
            outcome,
            &client,
        );
        assert_nothing_arrived(&listener);
        let outcomes = mesh.outcomes();
        assert_eq!(outcomes[&Outcome::CloseEarlySend], 1, "{outcomes:?}");
        assert_eq!(outcomes[&Outcome::HeaderSent], 0);
    }
}

/// The kernel has one set of functions for all sockets with TLS, so another socket can take the program
/// away that would put the header before what is sent.
#[test]
fn a_socket_that_lost_its_program_to_tls_is_closed() {
    let _alone = kernel_tls::alone();
    let Some((_host, mut mesh)) = host() else {
        return;
    };
    let at: SocketAddr = address(FOUR);
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&at.into()).expect("bind");
    listener.listen(8).expect("listen");
    let other = Client::tcp(at);
    assert_eq!(other.connect(FOUR), Ok(()));
    let client = Client::tcp(at);
    assert_eq!(client.connect(SERVICE), Ok(()));
    for socket in [client.socket(), other.socket()] {
        if let Err(error) = kernel_tls::put_on(socket) {
            eprintln!("skipped: this kernel has no TLS: {error}");
            return;
        }
    }
    // No program runs for it, but the segment is seen.
    let sent = client.socket().send(b"a secret");
    // Where the kernel refuses options of such sockets to programs, TCP gives it up in its own time.
    let patience = Some(Duration::from_millis(100));
    client
        .socket()
        .set_read_timeout(patience)
        .expect("SO_RCVTIMEO");
    let then = |_| client.socket().recv(&mut [MaybeUninit::uninit(); 1]);
    sent.and_then(then).expect_err("the connection is closed");
    assert_nothing_arrived(&listener);
    let outcomes = mesh.outcomes();
    assert_eq!(outcomes[&Outcome::CloseEarlySend], 1, "{outcomes:?}");
    assert_eq!(outcomes[&Outcome::HeaderSent], 0);
}

/// Nothing puts a header before what is sent on a socket that the map has no room for.
#[test]
fn a_connection_is_closed_where_too_many_sockets_wait_for_a_header() {
    // Threads that fill the map hold copies of every descriptor of this process.
    let Some(host) = Host::alone() else { return };
    let mut mesh = host.run(&behind::mesh("tlv"));
    let at: SocketAddr = address(FOUR);
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&at.into()).expect("bind");
    listener.listen(16).expect("listen");
    let silent = Client::tcp4();
    assert_eq!(silent.connect(SERVICE), Ok(()));
    let cookie = cookie(silent.socket()).expect("SO_COOKIE");
    let pending = Pending::of(cookie).expect("a socket whose header is pending");
    let full = Full::of(cookie);

    let client = Client::tcp4();
    // The client may find out when it connects or when it sends.
    match client.connect(SERVICE) {
        Ok(()) => {
            let sent = client.socket().send(b"without");
            closed("a socket map without room", sent, &client);
        }
        Err(error) => println!("closed: a socket map without room: connect() {error}"),
    }
    assert_nothing_arrived(&listener);
    let outcomes = mesh.outcomes();
    assert_eq!(outcomes[&Outcome::CloseUnmappable], 1, "{outcomes:?}");
    assert_eq!(outcomes[&Outcome::HeaderLeaked], 0);

    // With room, the next one gets its header.
    drop((silent, full));
    assert!(eventually(|| !pending.has(cookie)));
    let client = Client::tcp4();
    assert_eq!(client.connect(SERVICE), Ok(()));
    client.send(b"with");
    client.finish();
    listener.set_nonblocking(false).expect("O_NONBLOCK");
    let (mut stream, _) = listener.accept().expect("the client");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("header and payload");
    assert_eq!(bytes.len(), 16 + 4);
    assert!(bytes.ends_with(b"with"), "{bytes:?}");
}

/// Takes what has connected so far, and finds that none of it said anything.
fn assert_nothing_arrived(listener: &Socket) {
    listener.set_nonblocking(true).expect("O_NONBLOCK");
    while let Ok((mut stream, _)) = listener.accept() {
        let timeout = Some(Duration::from_millis(100));
        stream.set_read_timeout(timeout).expect("SO_RCVTIMEO");
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        assert_eq!(bytes, b"");
    }
}
