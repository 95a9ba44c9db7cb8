//! What programs tell of connections: every beginning and every end once, with its numbers.

use kmesh_lite::kernel::{Hear, MomentsReader};
use kmesh_lite_common::{Ending, Interest, Moment, MomentKind};
use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::fates::MESH;
use kmesh_lite_tests::host::{Host, Running};
use kmesh_lite_tests::waypoint::Waypoint;
use nix::errno::Errno;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Beside the others, a service behind a waypoint that gets a header.
const FAR: &str = r#"
    [waypoints.edge]
    address = "127.0.1.1:15008"
    header = "proxy-v2"

    [services.far]
    vips = ["10.96.0.15"]
    ports = ["80:8080"]
    waypoint = "edge"
"#;

fn mesh() -> String {
    format!("{MESH}{FAR}")
}

/// Keeps what it hears.
#[derive(Clone, Default)]
struct Ear {
    heard: Arc<Mutex<Vec<Moment>>>,
    lost: Arc<AtomicU64>,
}

impl Hear for Ear {
    fn hear(&mut self, moment: &Moment) {
        self.heard.lock().unwrap().push(*moment);
    }

    fn lost(&mut self, moments: u64) {
        self.lost.fetch_add(moments, Ordering::SeqCst);
    }
}

impl Ear {
    fn of(&self, cookie: u64) -> Vec<Moment> {
        let heard = self.heard.lock().unwrap();
        let of_it = heard.iter().filter(|moment| moment.cookie == cookie);
        of_it.copied().collect()
    }

    /// The moments of a socket, once there are so many.
    fn wait(&self, cookie: u64, count: usize) -> Vec<Moment> {
        let are_there = eventually(|| self.of(cookie).len() >= count);
        assert!(are_there, "{:#?}", self.of(cookie));
        self.of(cookie)
    }
}

fn listening(interest: Interest) -> Option<(Host, Running, Ear, MomentsReader)> {
    let host = Host::new()?;
    let mut mesh = host.run(&mesh());
    mesh.tell(interest).expect("told");
    let ear = Ear::default();
    let reader = mesh.moments().expect("the buffer").read(ear.clone());
    Some((host, mesh, ear, reader.expect("a thread")))
}

fn kinds(moments: &[Moment]) -> Vec<MomentKind> {
    moments.iter().map(|moment| moment.kind).collect()
}

/// Asserts that a socket has exactly these moments.
#[track_caller]
fn exactly(moments: &[Moment], expected: &[MomentKind]) {
    assert_eq!(kinds(moments), expected, "{moments:#?}");
    for moment in moments {
        assert_eq!(moment.process, std::process::id());
        assert_eq!(moment.user, 0);
        assert_ne!(moment.command, [0; 16], "{moment:#?}");
        assert!(moment.cgroup > 1 && moment.at > 0);
    }
}

#[test]
fn a_connection_that_succeeds_is_told_from_its_decision_to_its_end() {
    for to in [
        "10.96.0.10:80",
        "[fd00:96::10]:80",
        "[::ffff:10.96.0.10]:80",
    ] {
        let Some((_host, _mesh, ear, _reader)) = listening(Interest::ALL) else {
            return;
        };
        let listener = TcpListener::bind("127.0.0.2:8080").expect("a listener");
        let client = Client::tcp(address(to));
        assert_eq!(client.connect(to), Ok(()), "{to}");
        let cookie = client.cookie();
        let own = client.own();
        let (mut stream, _) = listener.accept().expect("a client");
        client.send(&[7; 1_234]);
        stream.read_exact(&mut [0; 1_234]).expect("what was sent");
        stream.write_all(&[8; 4_321]).expect("an answer");
        let mut left = 4_321;
        while left > 0 {
            let buffer = &mut [std::mem::MaybeUninit::uninit(); 4_096];
            left -= client.socket().recv(buffer).expect("an answer");
        }
        client.socket().set_linger(None).expect("SO_LINGER");
        drop(client);
        drop(stream);
        let moments = ear.wait(cookie, 3);
        exactly(
            &moments,
            &[
                MomentKind::Decided,
                MomentKind::Established,
                MomentKind::Closed,
            ],
        );
        let [decided, established, closed] = moments[..] else {
            unreachable!()
        };
        assert_eq!(decided.detail, Outcome::Endpoint as u32);
        assert!(established.connecting > 0);
        assert_eq!(closed.connecting, established.connecting);
        assert_eq!(closed.detail, Ending::Closed.0);
        assert_eq!((closed.sent, closed.received), (1_234, 4_321), "{to}");
        assert!(closed.open > closed.connecting);
        for moment in [established, closed] {
            assert_eq!(moment.source_port.get(), own.port(), "{to}");
            let source = IpAddr::from(moment.source).to_canonical();
            assert_eq!(source, own.ip().to_canonical(), "{to}");
        }
        for moment in moments {
            let asked = (IpAddr::from(moment.address), moment.port.get());
            let expected = address(to);
            assert_eq!(asked, (expected.ip().to_canonical(), expected.port()));
            assert!(moment.service.is_some() && moment.endpoint.is_some());
        }
    }
}

#[test]
fn what_goes_through_a_waypoint_is_told_without_its_header() {
    let Some((_host, _mesh, ear, _reader)) = listening(Interest::ALL) else {
        return;
    };
    let _waypoint = Waypoint::listen(15008);
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.15:80"), Ok(()));
    let cookie = client.cookie();
    client.send(b"hello");
    client.finish();
    let mut answer = Vec::new();
    let mut socket: &Socket = client.socket();
    socket.read_to_end(&mut answer).expect("the end");
    drop(client);
    let moments = ear.wait(cookie, 3);
    let [decided, _, closed] = moments[..] else {
        panic!("{moments:#?}")
    };
    assert_eq!(decided.detail, Outcome::ServiceWaypoint as u32);
    assert_eq!(closed.kind, MomentKind::Closed);
    assert_eq!((closed.sent, closed.received), (5, answer.len() as u64));
    assert!(closed.waypoint.is_some() && closed.endpoint.is_none());
}

#[test]
fn an_attempt_that_fails_is_told_once_with_its_reason() {
    let Some((_host, _mesh, ear, _reader)) = listening(Interest::ENDS) else {
        return;
    };
    for (to, error, ending) in [
        ("10.96.0.13:80", Errno::ECONNREFUSED, Ending::Refused),
        ("10.96.0.14:80", Errno::ENETUNREACH, Ending::NotSent),
    ] {
        let client = Client::tcp4();
        assert_eq!(client.connect(to), Err(error));
        let cookie = client.cookie();
        drop(client);
        let moments = ear.wait(cookie, 1);
        exactly(&moments, &[MomentKind::Failed]);
        assert_eq!(moments[0].detail, ending.0, "{moments:#?}");
    }
    let at = address("127.0.0.2:8080");
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&at.into()).expect("bind");
    listener.listen(0).expect("listen");
    let _filling = TcpStream::connect(at).expect("the one that fills it");
    let patient = Client::tcp4();
    let limit = Some(Duration::from_millis(200));
    let set = patient.socket().set_tcp_user_timeout(limit);
    set.expect("TCP_USER_TIMEOUT");
    assert_eq!(patient.connect("10.96.0.10:80"), Err(Errno::ETIMEDOUT));
    let hasty = Client::tcp4();
    let begun = hasty.connect_at_once("10.96.0.10:80");
    assert_eq!(begun, Err(Errno::EINPROGRESS));
    let cookies = [patient.cookie(), hasty.cookie()];
    drop((patient, hasty));
    for (cookie, ending) in cookies.into_iter().zip([Ending::TimedOut, Ending::Aborted]) {
        let moments = ear.wait(cookie, 1);
        exactly(&moments, &[MomentKind::Failed]);
        assert_eq!(moments[0].detail, ending.0, "{moments:#?}");
        assert!(moments[0].open > 0);
    }
}

#[test]
fn a_connection_that_is_reset_is_told_so() {
    let Some((_host, _mesh, ear, _reader)) = listening(Interest::ENDS) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.2:8080").expect("a listener");
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    client.send(b"hello");
    let (stream, _) = listener.accept().expect("a client");
    stream.peek(&mut [0; 5]).expect("what was sent");
    // With what it did not read, the kernel answers by a reset.
    drop(stream);
    let moments = ear.wait(client.cookie(), 1);
    exactly(&moments, &[MomentKind::Closed]);
    assert_eq!(moments[0].detail, Ending::Reset.0);
    assert_eq!((moments[0].sent, moments[0].received), (5, 0));
    let cookie = client.cookie();
    drop(client);
    assert_eq!(ear.of(cookie).len(), 1);
}

#[test]
fn a_refusal_before_any_packet_is_told_with_its_reason() {
    let Some((_host, _mesh, ear, _reader)) = listening(Interest::ENDS) else {
        return;
    };
    for (to, error, outcome) in [
        (
            "10.96.0.10:81",
            Errno::ECONNREFUSED,
            Outcome::RefuseUndeclaredPort,
        ),
        (
            "10.96.0.12:80",
            Errno::EHOSTUNREACH,
            Outcome::RefuseNoEndpoint,
        ),
    ] {
        let client = Client::tcp4();
        assert_eq!(client.connect(to), Err(error));
        let moments = ear.wait(client.cookie(), 1);
        exactly(&moments, &[MomentKind::Rejected]);
        assert_eq!(moments[0].detail, outcome as u32);
        assert_eq!(IpAddr::from(moments[0].address), address(to).ip());
        assert_eq!(moments[0].port.get(), address(to).port());
    }
}

#[test]
fn nothing_is_told_while_nobody_wants_to_know() {
    let Some((_host, mut mesh, ear, _reader)) = listening(Interest::default()) else {
        return;
    };
    let refused = Client::tcp4();
    assert!(refused.connect("10.96.0.12:80").is_err());
    mesh.tell(Interest::ENDS).expect("told");
    let client = Client::tcp4();
    assert!(client.connect("10.96.0.12:80").is_err());
    ear.wait(client.cookie(), 1);
    assert_eq!(ear.of(refused.cookie()), []);
}

/// The buffer holds what it has room for, and the rest is counted; connects go on.
#[test]
fn what_a_full_buffer_loses_is_counted() {
    const CONNECTS: u64 = 8_000;
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(&mesh());
    mesh.tell(Interest::ENDS).expect("told");
    for _ in 0..CONNECTS {
        let client = Client::tcp4();
        assert_eq!(client.connect("10.96.0.12:80"), Err(Errno::EHOSTUNREACH));
    }
    let lost = mesh.moments_lost().expect("the counter");
    assert!(lost > 0 && lost < CONNECTS, "{lost}");
    let ear = Ear::default();
    let reader = mesh.moments().expect("the buffer").read(ear.clone());
    let heard = || ear.heard.lock().unwrap().len() as u64;
    assert!(eventually(|| heard() + lost == CONNECTS), "{}", heard());
    drop(reader);
}
