//! What is added up of connections: how they began and ended, and what they carried.

use kmesh_lite_common::{Ending, Traffic};
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::fates::MESH;
use kmesh_lite_tests::host::{Host, Routed, Running, routed};
use nix::errno::Errno;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// All that was added up, whoever it was for.
fn all(mesh: &Running) -> Traffic {
    let accounts = mesh.accounts().expect("accounts");
    assert_eq!(accounts.uncounted, 0);
    let mut all = Traffic::default();
    accounts.sums.values().for_each(|sums| all.add(sums));
    let times = accounts.durations.values();
    let (mut stood, mut ended) = (0, 0);
    for times in times {
        stood += times.connecting.iter().sum::<u64>();
        ended += times.open.iter().sum::<u64>();
    }
    // That a connection stood is told by a look at it, or by its end.
    assert_eq!(ended, all.ended.iter().sum::<u64>());
    assert!(
        (ended..=all.established).contains(&stood),
        "{stood} {all:?}"
    );
    all
}

/// Waits until the sums are as `expected` says, and no connection is open.
fn settles(mesh: &Running, expected: impl Fn(&Traffic) -> bool) -> Traffic {
    let is_so = eventually(|| {
        let all = all(mesh);
        all.active() == 0 && expected(&all)
    });
    assert!(is_so, "{:?}", all(mesh));
    assert!(
        eventually(|| mesh.listed().is_empty()),
        "{:?}",
        mesh.listed()
    );
    all(mesh)
}

fn count(counts: [u64; Ending::COUNT], ending: Ending) -> u64 {
    counts[ending.0 as usize]
}

/// A server for one connection.
fn serve(at: &str, one: impl FnOnce(TcpStream) + Send + 'static) -> thread::JoinHandle<()> {
    let listener = TcpListener::bind(at).expect("a listener");
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        one(stream);
    })
}

fn host() -> Option<(Host, Running)> {
    let host = Host::new()?;
    let mesh = host.run(MESH);
    Some((host, mesh))
}

/// Bytes each way, to the last one, whoever closes first and however.
#[test]
fn a_connection_is_counted_with_its_bytes_whoever_closes_it() {
    type Close = fn(&mut TcpStream, &Client);
    let client_first: Close = |stream, client| {
        client.finish();
        stream.read_to_end(&mut Vec::new()).expect("the end");
    };
    let server_first: Close = |stream, client| {
        stream.shutdown(Shutdown::Write).expect("FIN");
        let end = client
            .socket()
            .recv(&mut [std::mem::MaybeUninit::uninit(); 1]);
        assert_eq!(end.expect("the end"), 0);
        client.socket().set_linger(None).expect("SO_LINGER");
    };
    for to in [
        "10.96.0.10:80",
        "[fd00:96::10]:80",
        "[::ffff:10.96.0.10]:80",
    ] {
        for close in [client_first, server_first] {
            let Some((_host, mesh)) = host() else { return };
            let listener = TcpListener::bind("127.0.0.2:8080").expect("a listener");
            let client = Client::tcp(address(to));
            assert_eq!(client.connect(to), Ok(()), "{to}");
            let (mut stream, _) = listener.accept().expect("a client");
            let now = all(&mesh);
            assert_eq!(
                (now.established, now.active(), now.failures()),
                (1, 1, 0),
                "{to}"
            );
            client.send(&[7; 12_345]);
            let mut heard = vec![0; 12_345];
            stream.read_exact(&mut heard).expect("what was sent");
            stream.write_all(&[8; 23_456]).expect("an answer");
            let mut left = 23_456;
            while left > 0 {
                let buffer = &mut [std::mem::MaybeUninit::uninit(); 4_096];
                left -= client.socket().recv(buffer).expect("an answer");
            }
            close(&mut stream, &client);
            drop(stream);
            drop(client);
            let all = settles(&mesh, |all| all.ended != [0; Ending::COUNT]);
            assert_eq!(count(all.ended, Ending::Closed), 1, "{to} {all:?}");
            assert_eq!((all.sent, all.received), (12_345, 23_456), "{to}");
            assert_eq!((all.established, all.failures()), (1, 0));
            assert!(all.rtts >= 1);
            assert!(all.connecting > 0 && all.open > all.connecting);
        }
    }
}

#[test]
fn an_attempt_that_fails_is_counted_with_its_reason() {
    let Some(mesh) = routed(MESH) else { return };
    let mesh: &Routed = &mesh;
    for (to, error, ending) in [
        ("10.96.0.13:80", Errno::ECONNREFUSED, Ending::Refused),
        ("10.96.0.14:80", Errno::ENETUNREACH, Ending::NotSent),
    ] {
        let before = all(mesh);
        let client = Client::tcp4();
        assert_eq!(client.connect(to), Err(error));
        drop(client);
        let after = settles(mesh, |all| all.failures() == before.failures() + 1);
        assert_eq!(count(after.failed, ending), 1, "{after:?}");
        assert_eq!(after.established, 0);
    }
}

/// A listener whose queue is full answers no SYN.
#[test]
fn an_attempt_that_is_not_answered_is_counted() {
    let Some((_host, mesh)) = host() else { return };
    let at = address("127.0.0.2:8080");
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&at.into()).expect("bind");
    listener.listen(0).expect("listen");
    let filling = TcpStream::connect(at).expect("the one that fills it");
    // One gives up by itself after it asked again, one is given up by its program.
    let patient = Client::tcp4();
    let fd = patient.socket();
    fd.set_tcp_user_timeout(Some(Duration::from_millis(1_500)))
        .expect("TCP_USER_TIMEOUT");
    assert_eq!(patient.connect("10.96.0.10:80"), Err(Errno::ETIMEDOUT));
    let hasty = Client::tcp4();
    assert_eq!(
        hasty.connect_at_once("10.96.0.10:80"),
        Err(Errno::EINPROGRESS)
    );
    drop((patient, hasty));
    let all = settles(&mesh, |all| all.failures() == 2);
    assert_eq!(count(all.failed, Ending::TimedOut), 1, "{all:?}");
    assert_eq!(count(all.failed, Ending::Aborted), 1, "{all:?}");
    assert!(all.retransmits >= 1, "{all:?}");
    drop(filling);
}

#[test]
fn a_connection_that_is_reset_is_counted_so() {
    let Some((_host, mesh)) = host() else { return };
    let server = serve("127.0.0.2:8080", |stream| {
        // With what it did not read, the kernel answers by a reset.
        stream.peek(&mut [0; 5]).expect("what was sent");
    });
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    client.send(b"hello");
    server.join().expect("a server");
    let all = settles_but_held(&mesh);
    assert_eq!(count(all.ended, Ending::Reset), 1, "{all:?}");
    assert_eq!((all.sent, all.received), (5, 0));
    drop(client);
    settles(&mesh, |now| now == &all);
}

/// Waits until nothing is open, although a program still holds the socket.
fn settles_but_held(mesh: &Running) -> Traffic {
    assert!(eventually(|| all(mesh).active() == 0), "{:?}", all(mesh));
    all(mesh)
}

/// The program is gone, and TCP still sends what it left.
#[test]
fn bytes_that_were_left_to_tcp_are_counted_when_it_is_done() {
    let Some((_host, mesh)) = host() else { return };
    const MUCH: usize = 3_000_000;
    let listener = TcpListener::bind("127.0.0.2:8080").expect("a listener");
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    let (mut stream, _) = listener.accept().expect("a client");
    client.socket().set_linger(None).expect("SO_LINGER");
    client
        .socket()
        .set_send_buffer_size(2 * MUCH)
        .expect("SO_SNDBUF");
    client.socket().set_nonblocking(true).expect("O_NONBLOCK");
    let mut left = 0;
    while let Ok(sent) = client.socket().send(&[9; 65_536]) {
        left += sent;
    }
    drop(client);
    // It is open, and in the table, as long as the kernel has it.
    let now = all(&mesh);
    assert_eq!((now.active(), now.sent), (1, 0));
    assert_eq!(mesh.listed().len(), 1);
    let heard = std::io::copy(&mut stream, &mut std::io::sink()).expect("all of it");
    assert_eq!(heard, left as u64);
    drop(stream);
    let all = settles(&mesh, |all| all.ended != [0; Ending::COUNT]);
    assert_eq!((all.sent, all.received), (left as u64, 0));
}

/// A connection may live for days: what it carries is counted when somebody asks, once, and to the last byte.
#[test]
fn a_connection_that_goes_on_is_counted_as_it_goes() {
    for to in [
        "10.96.0.10:80",
        "[fd00:96::10]:80",
        "[::ffff:10.96.0.10]:80",
    ] {
        let Some((_host, mesh)) = host() else { return };
        assert!(mesh.sees_living(), "the kernel refused the program");
        let listener = TcpListener::bind("127.0.0.2:8080").expect("a listener");
        let client = Client::tcp(address(to));
        assert_eq!(client.connect(to), Ok(()), "{to}");
        let (mut stream, _) = listener.accept().expect("a client");
        // Another descriptor of the same socket, as a child or a worker has it.
        let twice = client.socket().try_clone().expect("a descriptor");
        let shows = |sent: u64, received: u64| {
            let is_so = eventually(|| {
                let all = all(&mesh);
                (all.sent, all.received) == (sent, received)
            });
            let all = all(&mesh);
            assert!(is_so, "{to}: {sent} {received} {all:?}");
            assert_eq!((all.established, all.active()), (1, 1), "{to}");
            let times = mesh.accounts().expect("accounts").durations;
            let stood: u64 = times.values().flat_map(|it| it.connecting).sum();
            assert_eq!(stood, 1, "{to}");
            assert!(all.connecting > 0 && all.rtts > 0, "{to} {all:?}");
        };
        for round in 1..4 {
            client.send(&[7; 1_000]);
            stream.read_exact(&mut [0; 1_000]).expect("what was sent");
            stream.write_all(&[8; 3_000]).expect("an answer");
            let mut left = 3_000;
            while left > 0 {
                let buffer = &mut [std::mem::MaybeUninit::uninit(); 4_096];
                left -= client.socket().recv(buffer).expect("an answer");
            }
            shows(round * 1_000, round * 3_000);
        }
        // A FIN each way is no byte.
        stream.shutdown(Shutdown::Write).expect("FIN");
        let buffer = &mut [std::mem::MaybeUninit::uninit(); 1];
        assert_eq!(client.socket().recv(buffer).expect("the end"), 0);
        shows(3_000, 9_000);
        client.send(&[7; 500]);
        stream.read_exact(&mut [0; 500]).expect("what was sent");
        shows(3_500, 9_000);
        drop(twice);
        drop((client, stream));
        let all = settles(&mesh, |all| all.ended != [0; Ending::COUNT]);
        assert_eq!((all.sent, all.received), (3_500, 9_000), "{to}");
    }
}

/// The same where the program ends its side first, and still receives.
#[test]
fn a_half_closed_connection_is_counted_as_it_goes() {
    let Some((_host, mesh)) = host() else { return };
    assert!(mesh.sees_living(), "the kernel refused the program");
    let listener = TcpListener::bind("127.0.0.2:8080").expect("a listener");
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    let (mut stream, _) = listener.accept().expect("a client");
    client.send(&[7; 1_000]);
    client.finish();
    stream.read_to_end(&mut Vec::new()).expect("what was sent");
    for round in 1..4 {
        stream.write_all(&[8; 2_000]).expect("an answer");
        let shows = || {
            let all = all(&mesh);
            (all.sent, all.received) == (1_000, round * 2_000)
        };
        assert!(eventually(shows), "{:?}", all(&mesh));
    }
    drop((client, stream));
    settles(&mesh, |all| (all.sent, all.received) == (1_000, 6_000));
}

/// A program that lets go without a FIN: with SO_LINGER of 0, or of what it did not read.
#[test]
fn a_connection_that_its_program_cuts_off_is_counted_as_aborted() {
    let linger: fn(&Client) = |client| {
        let socket = client.socket();
        socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    };
    let unread: fn(&Client) = |client| {
        client.socket().set_linger(None).expect("SO_LINGER");
    };
    for prepare in [linger, unread] {
        let Some((_host, mesh)) = host() else { return };
        let listener = TcpListener::bind("127.0.0.2:8080").expect("a listener");
        let client = Client::tcp4();
        assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
        let (mut stream, _) = listener.accept().expect("a client");
        stream.write_all(b"hello").expect("an answer");
        let buffer = &mut [std::mem::MaybeUninit::uninit(); 5];
        client.socket().peek(buffer).expect("an answer");
        prepare(&client);
        drop(client);
        let all = settles(&mesh, |all| all.ended != [0; Ending::COUNT]);
        assert_eq!(count(all.ended, Ending::Aborted), 1, "{all:?}");
        assert_eq!((all.sent, all.received), (0, 5));
    }
}

/// A socket that finds no slot remembers by itself what it is counted for.
#[test]
fn connections_without_a_slot_are_counted_as_well() {
    let Some(host) = Host::new() else { return };
    let mesh = host.run_with_slots(1, MESH);
    let listener = TcpListener::bind("127.0.0.2:8080").expect("a listener");
    let clients: Vec<_> = (0..40)
        .map(|_| {
            let client = Client::tcp4();
            assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
            let (mut stream, _) = listener.accept().expect("a client");
            client.send(b"hello");
            stream.read_exact(&mut [0; 5]).expect("what was sent");
            (client, stream)
        })
        .collect();
    assert!(mesh.listed().len() < 40);
    assert_eq!(all(&mesh).active(), 40);
    // Those that go on, too.
    assert!(eventually(|| all(&mesh).sent == 200), "{:?}", all(&mesh));
    drop(clients);
    let all = settles(&mesh, |all| all.sent == 200);
    // The clients let go with a reset, unless the servers were faster.
    let cut = count(all.ended, Ending::Aborted) + count(all.ended, Ending::Reset);
    assert_eq!(cut, 40, "{all:?}");
}

#[test]
fn nothing_is_counted_where_accounting_is_switched_off() {
    let Some(mut mesh) = routed(MESH) else { return };
    let before = Client::tcp4();
    assert_eq!(before.connect("10.96.0.10:80"), Ok(()));
    mesh.reload(&format!("accounting.enabled = false\n{MESH}"));
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    drop(client);
    let refused = Client::tcp4();
    assert_eq!(refused.connect("10.96.0.13:80"), Err(Errno::ECONNREFUSED));
    drop(refused);
    let now = all(&mesh);
    assert_eq!((now.established, now.active(), now.failures()), (1, 1, 0));
    // The one from before is seen to end.
    drop(before);
    settles(&mesh, |all| all.established == 1);
}

/// What is counted of an endpoint or a service may not be taken for that of another, which gets its number.
#[test]
fn sums_of_a_service_stay_whole_when_its_endpoint_goes_and_go_with_it() {
    let Some(mut mesh) = routed(MESH) else { return };
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    client.greeting();
    drop(client);
    let before = settles(&mesh, |all| all.ended != [0; Ending::COUNT]);
    let keys = |mesh: &Running| -> Vec<_> {
        let accounts = mesh.accounts().expect("accounts");
        accounts.sums.keys().copied().collect()
    };
    let [own] = keys(&mesh)[..] else {
        panic!("{:?}", keys(&mesh));
    };
    assert!(own.service.is_some() && own.endpoint.is_some() && own.folded == 0);
    // Another endpoint gets the number, once this one is gone.
    mesh.reload(&MESH.replace("endpoints = [\"127.0.0.2\"]", "endpoints = []"));
    assert_eq!(keys(&mesh), [own]);
    mesh.reload(&MESH.replace("127.0.0.2", "127.0.0.7"));
    mesh.quiesce();
    let [rest] = keys(&mesh)[..] else {
        panic!("{:?}", keys(&mesh));
    };
    assert_eq!((rest.service, rest.endpoint), (own.service, None));
    assert_eq!((rest.folded, rest.cgroup), (1, own.cgroup));
    assert_eq!(all(&mesh), before);
    let another = Client::tcp4();
    assert_eq!(another.connect("10.96.0.10:80"), Ok(()));
    let accounts = mesh.accounts().expect("accounts");
    assert_eq!(accounts.sums[&own].established, 1);
    drop(another);
    // Nobody asks for the sums of a service that is gone.
    mesh.reload("");
    mesh.quiesce();
    assert!(eventually(|| {
        let accounts = mesh.accounts().expect("accounts");
        accounts.sums.keys().all(|key| key.service.is_none())
            && accounts.durations.keys().all(Option::is_none)
    }));
}

/// Every run of a unit has a cgroup of its own, and there is only so much room.
#[test]
fn rows_of_cgroups_that_are_gone_are_folded_by_a_full_pass() {
    let Some(mut mesh) = routed(MESH) else { return };
    for _ in 0..3 {
        let cgroup = mesh.host.cgroup.child("brief").expect("a cgroup");
        let client = cgroup.run(Client::tcp4).expect("inside");
        let connected = cgroup.run(|| client.connect("10.96.0.10:80"));
        assert_eq!(connected.expect("inside"), Ok(()));
        drop(client);
    }
    let before = settles(&mesh, |all| all.ended.iter().sum::<u64>() == 3);
    assert_eq!(mesh.accounts().expect("accounts").sums.len(), 3);
    mesh.reload(MESH);
    let accounts = mesh.accounts().expect("accounts");
    let keys: Vec<_> = accounts.sums.keys().collect();
    let [key] = keys[..] else { panic!("{keys:?}") };
    assert!(key.service.is_some() && key.endpoint.is_some());
    assert_eq!((key.cgroup, key.folded), (0, 1));
    assert_eq!(all(&mesh), before);
}

/// Connections that arrive at a backend's address are counted by the address of the client, if that is one of the
/// mesh as well; whoever accepts them, and however they were asked for.
#[test]
fn connections_that_arrive_are_counted_by_where_they_came_from() {
    let Some((_host, mesh)) = host() else { return };
    let listeners: Vec<_> = ["127.0.0.2:8080", "127.0.0.9:8080"]
        .map(|at| TcpListener::bind(at).expect("a listener"))
        .into();
    let from = |source: &str, to: &str| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let source: std::net::SocketAddr = format!("{source}:0").parse().expect("an address");
        socket.bind(&source.into()).expect("a source");
        socket.connect(&address(to).into()).expect("a connection");
    };
    from("127.0.0.2", "10.96.0.10:80");
    from("127.0.0.2", "127.0.0.2:8080");
    from("127.0.0.1", "127.0.0.2:8080");
    from("127.0.0.2", "127.0.0.9:8080");
    for listener in &listeners {
        listener.accept().expect("a client");
    }
    let arrivals = || {
        let arrivals = mesh.accounts().expect("accounts").arrivals.into_iter();
        let told = arrivals.map(|(key, count)| {
            let (local, source) = (IpAddr::from(key.local), IpAddr::from(key.source));
            format!("{local}:{} from {source}: {count}", key.port.get())
        });
        told.collect::<Vec<_>>()
    };
    let expected = [
        "127.0.0.2:8080 from ::: 1",
        "127.0.0.2:8080 from 127.0.0.2: 2",
    ];
    assert!(eventually(|| arrivals() == expected), "{:?}", arrivals());
}
