//! What a capture of packets shows of connections that policies refuse where they arrive.

use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::sniffer::{Flags, Segment, Sniffer};
use kmesh_lite_tests::zone::Zone;
use nix::errno::Errno;
use socket2::{Domain, SockRef, Socket, Type};
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

const PORT: u16 = 8080;

const MESH: &str = r#"
    [services.web]
    vips = ["10.96.0.10", "fd00:96::10"]
    ports = ["80:8080"]
    endpoints = ["10.50.1.1", "fd50:1::1"]

    [policies.near]
    action = "allow"
    services = ["web"]
    from = ["10.50.1.2", "fd50:1::2"]
"#;

const PAYLOAD: &[u8] = b"let me in";

/// Fast Open by every client and every server, with data in the first segment and without cookies
/// (tcp_fastopen in ip-sysctl.rst).
const FAST_OPEN: &str = "1543";

/// When a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// As soon as it has called connect().
    AtOnce,
    /// With the first segment.
    First,
}

/// Connects and sends.
fn knock(when: When, from: SocketAddr, to: SocketAddr) -> (Result<(), Errno>, Client) {
    let client = Client::tcp(to).bind(&from.to_string());
    let failed = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    let outcome = match when {
        When::AtOnce => {
            client.socket().set_nonblocking(true).unwrap();
            let begun = client.connect(&to.to_string());
            let sent = client.socket().send(PAYLOAD).map_err(failed);
            let outcome = match begun {
                Err(Errno::EINPROGRESS) => client.settled(),
                outcome => outcome,
            };
            match (outcome, sent) {
                // It was too early.
                (Ok(()), Err(Errno::EAGAIN)) => client.socket().send(PAYLOAD).map_err(failed),
                // Whichever call is the first to be told of a failure.
                (outcome, sent) => outcome.and(sent),
            }
        }
        When::First => {
            let to = to.into();
            let socket = client.socket();
            socket
                .send_to_with_flags(PAYLOAD, &to, libc::MSG_FASTOPEN)
                .map_err(failed)
        }
    };
    (outcome.map(drop), client)
}

/// A server that accepts when it is asked, and what waits for it.
struct Server(TcpListener);

impl Server {
    fn listen() -> Self {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        socket.set_only_v6(false).unwrap();
        let every: SocketAddr = (std::net::Ipv6Addr::UNSPECIFIED, PORT).into();
        socket.bind(&every.into()).unwrap();
        socket.listen(16).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket.into())
    }

    /// How many connections wait to be accepted.
    fn backlog(&self) -> u32 {
        /// Offset of `tcpi_unacked` in `struct tcp_info`: what it is of a socket that listens.
        const WAITING: usize = 24;
        let mut info = [0_u32; 64];
        let mut length = size_of_val(&info) as libc::socklen_t;
        // SAFETY: the value is as long as we say.
        let outcome = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        Errno::result(outcome).unwrap();
        info[WAITING / 4]
    }

    /// Whether a thread in accept() or poll() would be woken.
    fn is_woken(&self) -> bool {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry.
        unsafe { libc::poll(&raw mut poll, 1, 0) != 0 }
    }
}

#[test]
fn nothing_but_the_refusal_follows_on_the_first_segment_of_a_refused_connection() {
    let Some(host) = Host::new() else { return };
    let other = Zone::of_another_host(1);
    let fast_open = || fs::write("/proc/sys/net/ipv4/tcp_fastopen", FAST_OPEN).unwrap();
    fast_open();
    other.inside(fast_open);
    let server = Server::listen();
    let mut running = host.run(MESH);
    let sniffer = other.inside(Sniffer::start);
    let mut refused = 0;
    for when in [When::AtOnce, When::First] {
        for (ip, to) in [
            ("10.50.1.", "10.50.1.1:8080"),
            ("fd50:1::", "[fd50:1::1]:8080"),
        ] {
            let to = address(to);
            let from = |last| SocketAddr::new(format!("{ip}{last}").parse().unwrap(), 0);
            let carried = |segments: &[Segment], flags| -> usize {
                let of = segments.iter().filter(|it| it.flags == flags);
                of.map(|it| it.payload).sum()
            };
            for _ in 0..10 {
                let stranger = from(3);
                let (outcome, _client) = other.inside(move || knock(when, stranger, to));
                assert_eq!(outcome, Err(Errno::ECONNREFUSED), "{when:?} to {to}");
                refused += 1;
                let segments = sniffer.segments(PORT);
                let sort = |it: &Segment| (it.is_sent, it.flags);
                let sorts: Vec<_> = segments.iter().map(sort).collect();
                let expected = [(true, Flags::Syn), (false, Flags::Rst)];
                assert_eq!(sorts, expected, "{when:?} to {to}");
                // What a client puts into the first segment travels, and gets no further.
                let first = if when == When::First {
                    PAYLOAD.len()
                } else {
                    0
                };
                assert_eq!(carried(&segments, Flags::Syn), first, "{when:?} to {to}");
                assert_eq!(carried(&segments, Flags::Rst), 0);
                assert!(!server.is_woken(), "{when:?} to {to}");
                assert_eq!(server.backlog(), 0);
                let accepted = server.0.accept().map(drop).map_err(|error| error.kind());
                assert_eq!(accepted, Err(ErrorKind::WouldBlock));
            }
            // The same of one that is allowed: all of this would be seen.
            let friend = from(2);
            let (outcome, client) = other.inside(move || knock(when, friend, to));
            assert_eq!(outcome, Ok(()), "{when:?} to {to}");
            assert!(server.is_woken());
            assert_eq!(server.backlog(), 1);
            let (mut stream, peer) = server.0.accept().unwrap();
            assert_eq!(peer.ip().to_canonical(), friend.ip());
            SockRef::from(&stream).set_nonblocking(false).unwrap();
            let mut got = [0; PAYLOAD.len()];
            stream.read_exact(&mut got).unwrap();
            assert_eq!(got, PAYLOAD);
            drop((client, stream));
            let segments = sniffer.segments(PORT);
            let of = if when == When::First {
                Flags::Syn
            } else {
                Flags::Other
            };
            assert_eq!(carried(&segments, of), PAYLOAD.len(), "{segments:?}");
        }
    }
    let counted = running.snapshot().unwrap().counters.arrivals.authorizations;
    assert_eq!(counted.into_values().sum::<u64>(), refused);
}
