//! Every way of sending arrives as the header and then what was sent, and nothing else.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::behind::{self, Behind};
use kmesh_lite_tests::client::{Client, address, data_segments, set};
use kmesh_lite_tests::host::{self, Running, Stop};
use kmesh_lite_tests::waypoint::Waypoint;
use nix::errno::Errno;
use socket2::Socket;
use std::collections::BTreeMap;
use std::io::{IoSlice, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};

const V4: &str = "10.96.0.10:80";
const V6: &str = "[fd00:96::11]:80";
const SERVICES: [&str; 2] = [V4, V6];

/// Bytes that are nowhere the same.
fn payload(length: usize) -> Vec<u8> {
    let mut state = length as u32 ^ 0x9e37_79b9;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Connects, sends by `way`, and compares what arrived; for each header and family.
fn arrives(rounds: usize, length: usize, way: impl Fn(&Client, &[u8])) {
    for header in ["tlv", "proxy-v2"] {
        let Some(mut mesh) = Behind::start(header) else {
            return;
        };
        let bytes = payload(length);
        for round in 0..rounds {
            for to in SERVICES {
                let client = Client::tcp(address(to));
                assert_eq!(client.connect(to), Ok(()));
                way(&client, &bytes);
                client.finish();
                check(&mesh.waypoint, header, to, &bytes, round);
            }
        }
        assert_sent(&mut mesh, 2 * rounds as u64);
    }
}

fn check(waypoint: &Waypoint, header: &str, to: &str, bytes: &[u8], round: usize) {
    let heard = waypoint.heard();
    let expected = match (header, to) {
        ("tlv", V4) => 16,
        ("tlv", _) | (_, V4) => 28,
        _ => 52,
    };
    assert_eq!(heard.header().len(), expected, "{header} {to} {round}");
    if header == "proxy-v2" {
        assert_eq!(heard.proxy(), Some((heard.from, address(to))));
    }
    let same = heard.payload() == bytes;
    assert!(
        same,
        "{header} {to} {round}: {} bytes of {} arrived, or others",
        heard.payload().len(),
        bytes.len()
    );
}

fn assert_sent(mesh: &mut Running, expected: u64) {
    let outcomes = mesh.outcomes();
    assert_eq!(outcomes[&Outcome::HeaderSent], expected);
    for outcome in [
        Outcome::CloseEarlySend,
        Outcome::CloseFastOpen,
        Outcome::CloseUnmappable,
        Outcome::HeaderLeaked,
    ] {
        assert_eq!(outcomes[&outcome], 0, "{outcome:?}");
    }
}

fn checked(outcome: isize, what: &str) -> usize {
    assert!(outcome >= 0, "{what}: {}", Errno::last());
    outcome as usize
}

fn send_with(client: &Client, bytes: &[u8], flags: libc::c_int) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let fd = client.socket().as_raw_fd();
        // SAFETY: the buffer is as long as we say.
        let sent = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), flags) };
        rest = &rest[checked(sent, "send")..];
    }
}

#[test]
fn a_header_goes_before_one_byte() {
    arrives(50, 1, |client, bytes| client.send(bytes));
}

#[test]
fn a_header_goes_before_a_request() {
    arrives(300, 200, |client, bytes| client.send(bytes));
}

#[test]
fn a_header_goes_before_a_megabyte_at_once() {
    arrives(10, 1 << 20, |client, bytes| client.send(bytes));
}

#[test]
fn a_header_goes_before_bytes_that_come_one_by_one() {
    arrives(20, 100, |client, bytes| {
        for byte in bytes {
            client.send(&[*byte]);
        }
    });
}

/// In a segment of its own, the header would hold up what follows until a server that waits for more
/// acknowledges it.
#[test]
fn a_header_and_the_first_bytes_leave_in_one_segment() {
    for header in ["tlv", "proxy-v2"] {
        let Some(mesh) = Behind::start(header) else {
            return;
        };
        for no_delay in [0, 1] {
            for length in [1, 100, 1000] {
                let client = Client::tcp4();
                set(
                    client.socket(),
                    libc::IPPROTO_TCP,
                    libc::TCP_NODELAY,
                    no_delay,
                );
                assert_eq!(client.connect(V4), Ok(()));
                client.send(&payload(length));
                let segments = data_segments(client.socket());
                assert_eq!(
                    segments, 1,
                    "{header}, {length} bytes, TCP_NODELAY {no_delay}"
                );
                client.finish();
                mesh.waypoint.heard();
            }
        }
    }
}

#[test]
fn no_header_goes_where_the_client_says_nothing() {
    // A connection that is closed without a byte has no header either.
    let Some(mut mesh) = Behind::start("tlv") else {
        return;
    };
    let client = Client::tcp4();
    assert_eq!(client.connect(V4), Ok(()));
    client.finish();
    assert_eq!(mesh.waypoint.heard().bytes, b"");
    assert_sent(&mut mesh, 0);
}

#[test]
fn a_header_goes_before_writev() {
    arrives(50, 3000, |client, bytes| {
        let (first, rest) = bytes.split_at(1);
        let (second, third) = rest.split_at(1000);
        let parts = [first, second, third].map(IoSlice::new);
        let sent = client.socket().send_vectored(&parts).expect("writev");
        client.send(&bytes[sent..]);
    });
}

#[test]
fn a_header_goes_before_a_send_with_more_to_come() {
    arrives(50, 3000, |client, bytes| {
        let (first, rest) = bytes.split_at(10);
        let (second, third) = rest.split_at(10);
        send_with(client, first, libc::MSG_MORE);
        send_with(client, second, libc::MSG_MORE);
        send_with(client, third, 0);
    });
}

#[test]
fn a_header_goes_before_what_is_corked() {
    arrives(50, 3000, |client, bytes| {
        set(client.socket(), libc::IPPROTO_TCP, libc::TCP_CORK, 1);
        for part in bytes.chunks(500) {
            client.send(part);
        }
        set(client.socket(), libc::IPPROTO_TCP, libc::TCP_CORK, 0);
    });
}

#[test]
fn a_header_goes_before_sendfile() {
    arrives(20, 300_000, |client, bytes| {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("a file");
        file.rewind().expect("a file");
        let mut left = bytes.len();
        while left > 0 {
            let (to, from) = (client.socket().as_raw_fd(), file.as_raw_fd());
            // SAFETY: no offset: the file's own counts.
            let sent = unsafe { libc::sendfile(to, from, std::ptr::null_mut(), left) };
            left -= checked(sent, "sendfile");
        }
    });
}

#[test]
fn a_header_goes_before_splice() {
    arrives(50, 5000, |client, bytes| {
        let (from, mut to) = std::io::pipe().expect("a pipe");
        to.write_all(bytes).expect("a pipe");
        let mut left = bytes.len();
        while left > 0 {
            let null = std::ptr::null_mut();
            let (from, to) = (from.as_raw_fd(), client.socket().as_raw_fd());
            // SAFETY: neither has an offset.
            let sent = unsafe { libc::splice(from, null, to, null, left, 0) };
            left -= checked(sent, "splice");
        }
    });
}

#[test]
fn a_header_goes_before_what_a_child_process_sends() {
    arrives(20, 1000, |client, bytes| {
        // SAFETY: the child does nothing but one system call after another.
        match unsafe { libc::fork() } {
            0 => {
                let fd = client.socket().as_raw_fd();
                // SAFETY: the buffer is as long as we say; the child ends here.
                unsafe {
                    let sent = libc::send(fd, bytes.as_ptr().cast(), bytes.len(), 0);
                    libc::_exit(i32::from(sent != bytes.len() as isize));
                }
            }
            child => {
                let mut status = 0;
                // SAFETY: our own child.
                let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
                assert_eq!((ended, status), (child, 0));
            }
        }
    });
}

#[test]
fn a_header_goes_before_a_send_that_did_not_wait_for_the_connection() {
    for header in ["tlv", "proxy-v2"] {
        let Some(mut mesh) = Behind::start(header) else {
            return;
        };
        let bytes = payload(1000);
        for round in 0..50 {
            for to in SERVICES {
                let client = Client::tcp(address(to));
                assert_eq!(client.connect_nonblocking(to), Ok(()));
                client.send(&bytes);
                client.finish();
                check(&mesh.waypoint, header, to, &bytes, round);
            }
        }
        assert_sent(&mut mesh, 100);
    }
}

/// Threads that all want to be the first: the header stands before all of them, once.
#[test]
fn one_header_goes_before_what_threads_race_to_send() {
    for header in ["tlv", "proxy-v2"] {
        let Some(mut mesh) = Behind::start(header) else {
            return;
        };
        for _ in 0..100 {
            let client = Client::tcp4();
            assert_eq!(client.connect(V4), Ok(()));
            thread::scope(|scope| {
                for byte in 0..4_u8 {
                    let client = &client;
                    scope.spawn(move || client.send(&[byte; 300]));
                }
            });
            client.finish();
            let heard = mesh.waypoint.heard();
            assert!(!heard.header().is_empty());
            let mut payload = heard.payload().to_vec();
            payload.sort_unstable();
            let expected: Vec<u8> = (0..4).flat_map(|byte| [byte; 300]).collect();
            assert_eq!(payload, expected);
        }
        assert_sent(&mut mesh, 100);
    }
}

/// Thousands of short connections from several threads at once.
#[test]
fn thousands_of_connections_have_one_header_each() {
    const EACH: usize = 1000;
    const THREADS: usize = 4;
    let Some(mut mesh) = Behind::start("proxy-v2") else {
        return;
    };
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let to = SERVICES[thread % 2];
                for _ in 0..EACH {
                    let client = Client::tcp(address(to));
                    assert_eq!(client.connect(to), Ok(()));
                    client.send(to.as_bytes());
                    client.finish();
                    // Until the waypoint has everything, so that no backlog overflows.
                    let mut done = [0; 4];
                    client.socket().read_exact_from(&mut done);
                }
            });
        }
        for _ in 0..EACH * THREADS {
            let heard = mesh.waypoint.heard();
            let to = std::str::from_utf8(heard.payload()).expect("what was sent");
            assert_eq!(heard.proxy(), Some((heard.from, address(to))));
        }
    });
    assert_sent(&mut mesh, (EACH * THREADS) as u64);
}

trait ReadExact {
    fn read_exact_from(&self, bytes: &mut [u8]);
}

impl ReadExact for Socket {
    fn read_exact_from(&self, bytes: &mut [u8]) {
        let mut socket = self;
        socket.read_exact(bytes).expect("receive");
    }
}

/// What the kernel does to a socket in a socket map: a blocking recv() that fails with EAGAIN.
/// After the header there must be none.
#[test]
fn recv_after_the_header_waits_like_any_other() {
    let Some(mesh) = Behind::start("tlv") else {
        return;
    };
    for _ in 0..200 {
        let client = Client::tcp4();
        assert_eq!(client.connect(V4), Ok(()));
        client.send(b"x");
        client.finish();
        let mut answer = [MaybeUninit::uninit(); 4];
        let received = client.socket().recv(&mut answer);
        assert_eq!(received.expect("no spurious EAGAIN"), 4);
        mesh.waypoint.heard();
    }
}

/// The waypoint's header comes, changes and goes, and the tables grow, while threads connect.
#[test]
fn headers_are_whole_or_absent_while_the_file_changes() {
    const CLIENTS: u64 = 4;
    let Some(mut mesh) = Behind::start("tlv") else {
        return;
    };
    let stop = AtomicBool::new(false);
    let connected = AtomicU64::new(0);
    thread::scope(|scope| {
        let end = Stop(&stop);
        let connect = || {
            while !stop.load(Ordering::SeqCst) {
                let client = Client::tcp4();
                assert_eq!(client.connect(V4), Ok(()));
                thread::yield_now();
                client.send(b"under fire");
                client.finish();
                let mut done = [0; 4];
                client.socket().read_exact_from(&mut done);
                connected.fetch_add(1, Ordering::SeqCst);
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(connect)).collect();
        for round in 0..150_u32 {
            let header = ["none", "proxy-v2", "tlv"][round as usize % 3];
            let mut text = behind::mesh(header);
            if round >= 50 {
                // More than there is room for, each time.
                text += "\n[limits]\nservices = 1000\n";
                text += &host::more(100 * (round / 50));
            }
            mesh.reload(&text);
            // One of these began after the reload.
            let enough = connected.load(Ordering::SeqCst) + CLIENTS + 1;
            while connected.load(Ordering::SeqCst) < enough
                && !clients.iter().all(ScopedJoinHandle::is_finished)
            {
                thread::yield_now();
            }
        }
        drop(end);
    });
    let total = connected.load(Ordering::SeqCst);
    let mut kinds = BTreeMap::new();
    for _ in 0..total {
        let heard = mesh.waypoint.heard();
        assert_eq!(heard.payload(), b"under fire", "{heard:?}");
        *kinds.entry(heard.header().len()).or_insert(0) += 1;
        assert!([0, 16, 28].contains(&heard.header().len()), "{heard:?}");
    }
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}
