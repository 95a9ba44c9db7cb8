//! A first send that the kernel refuses after the program has put the header before it: the header is
//! lost with it, and nothing may follow without one.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::behind::{self, FOUR, SIX};
use kmesh_lite_tests::client::{Client, address, set};
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::kernel::is_at_least;
use nix::errno::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::Read;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

const SERVICE: &str = "10.96.0.10:80";
const SERVICE6: &str = "[fd00:96::11]:80";

/// MSG_FASTOPEN connects; this socket is connected.
fn by_fast_open(client: &Client, to: &str) -> Errno {
    let to = SockAddr::from(address(to));
    let flags = libc::MSG_FASTOPEN;
    let sent = client.socket().send_to_with_flags(b"lost", &to, flags);
    errno(&sent.expect_err("the socket is connected"))
}

/// A socket that is being repaired takes nothing before it is said for which queue.
fn by_repair(client: &Client, _: &str) -> Errno {
    let repair = |on| set(client.socket(), libc::IPPROTO_TCP, libc::TCP_REPAIR, on);
    repair(1);
    let sent = client.socket().send(b"lost");
    repair(0);
    errno(&sent.expect_err("there is no queue"))
}

/// A send without a copy needs memory that may be locked; a child process has none.
fn by_accounts(client: &Client, _: &str) -> Errno {
    set(client.socket(), libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1);
    let fd = client.socket().as_raw_fd();
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the child does nothing but one system call after another, and ends here.
    let child = unsafe {
        match libc::fork() {
            0 => {
                libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const none);
                // Without CAP_IPC_LOCK the limit counts.
                libc::syscall(libc::SYS_setuid, 65534);
                let sent = libc::send(fd, b"lost".as_ptr().cast(), 4, libc::MSG_ZEROCOPY);
                libc::_exit(if sent < 0 { Errno::last_raw() } else { 0 });
            }
            child => child,
        }
    };
    let mut status = 0;
    // SAFETY: our own child.
    let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(ended, child);
    Errno::from_raw(libc::WEXITSTATUS(status))
}

type Way = fn(&Client, &str) -> Errno;

#[test]
fn nothing_follows_a_header_that_was_lost() {
    let mut ways: Vec<(Way, Errno)> =
        vec![(by_fast_open, Errno::EISCONN), (by_repair, Errno::EINVAL)];
    if is_at_least(6, 5) {
        ways.push((by_accounts, Errno::ENOBUFS));
    } else {
        eprintln!("skipped: ENOBUFS: this kernel refuses the first send of such sockets");
    }
    for header in ["tlv", "proxy-v2"] {
        for (service, waypoint) in [(SERVICE, FOUR), (SERVICE6, SIX)] {
            nothing_follows(header, service, waypoint, &ways);
        }
    }
}

fn nothing_follows(header: &str, service: &str, waypoint: &str, ways: &[(Way, Errno)]) {
    // Shorter than any header, as long as one, and longer.
    const LENGTHS: [usize; 6] = [1, 16, 28, 52, 60, 100_000];
    let Some(host) = Host::new() else { return };
    host.add(&behind::ADDRESSES);
    let mut mesh = host.run(&behind::mesh(header));
    let at: SocketAddr = address(waypoint);
    let listener = Socket::new(Domain::for_address(at), Type::STREAM, None).expect("a socket");
    listener.bind(&at.into()).expect("bind");
    listener.listen(16).expect("listen");
    for (way, expected) in ways {
        for length in LENGTHS {
            let client = Client::tcp(at);
            assert_eq!(client.connect(service), Ok(()));
            assert_eq!(way(&client, service), *expected);
            // The kernel says that it takes a part of it. Then the connection ends.
            let sent = client.socket().send(&vec![7; length]);
            let case = format!("{header} {service} {expected} {length}: {sent:?}");
            let receive = || {
                let received = client.socket().recv(&mut [MaybeUninit::uninit(); 1]);
                errno(&received.expect_err(&case))
            };
            // The socket is still in the map while it waits, where the end of a connection wakes it with
            // EAGAIN. Whatever wakes the thread says EINTR, as the socket has a time limit.
            let woken = [Errno::EAGAIN, Errno::EINTR];
            let mut errors = std::iter::repeat_with(receive).take(4);
            let error = errors.find(|error| !woken.contains(error));
            let error = error.unwrap_or(Errno::EAGAIN);
            let closed = [Errno::ETIMEDOUT, Errno::ENETUNREACH];
            assert!(closed.contains(&error), "{case}, then {error}");
            let (mut stream, _) = listener.accept().expect("the client");
            let timeout = Some(Duration::from_millis(100));
            stream.set_read_timeout(timeout).expect("SO_RCVTIMEO");
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            assert_eq!(bytes, b"", "{case}");
        }
    }
    let outcomes = mesh.outcomes();
    let cases = ways.len() * LENGTHS.len();
    assert_eq!(outcomes[&Outcome::CloseEarlySend], cases as u64);
    assert_eq!(outcomes[&Outcome::HeaderSent], 0);
    assert_eq!(outcomes[&Outcome::HeaderLeaked], 0);
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}
