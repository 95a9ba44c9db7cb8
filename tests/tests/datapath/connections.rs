//! The connection table: which sockets are in it, for how long, and what they remember.

use kmesh_lite_common::{Connection, Protocol};
use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::cgroup;
use kmesh_lite_tests::client::{Client, address, mapped};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::{Host, Running, alone, more, routed};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;

const MESH: &str = r#"
    [services.web]
    vips = ["10.96.0.10", "fd00:96::10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2"]

    [services.deaf]
    vips = ["10.96.0.13"]
    ports = ["80:9"]
    endpoints = ["127.0.0.2"]

    [services.nowhere]
    vips = ["10.96.0.14"]
    ports = ["80:8080"]
    endpoints = ["203.0.113.9"]

    [services.nobody]
    vips = ["10.96.0.12"]
    ports = ["80:8080"]
    endpoints = []

    [services.dns]
    vips = ["10.96.0.53", "fd00:96::53"]
    ports = [{ port = 53, target = 5353, protocol = "udp" }]
    endpoints = ["127.0.0.2"]
"#;

/// An address that no service has.
const FOREIGN: &str = "127.0.0.2:8080";

fn asked(connection: &Connection) -> SocketAddr {
    SocketAddr::new(connection.address.into(), connection.port.get())
}

#[test]
fn a_connection_is_listed_from_connect_until_it_is_closed() {
    let Some(mesh) = routed(MESH) else { return };
    let began = monotonic();
    for (client, to, protocol) in [
        (Client::tcp4(), "10.96.0.10:80", Protocol::Tcp),
        (Client::tcp6(), "[fd00:96::10]:80", Protocol::Tcp),
        (Client::tcp6(), "[::ffff:10.96.0.10]:80", Protocol::Tcp),
        (Client::udp4(), "10.96.0.53:53", Protocol::Udp),
        (Client::udp6(), "[fd00:96::53]:53", Protocol::Udp),
    ] {
        assert_eq!(client.connect(to), Ok(()), "{to}");
        let listed = mesh.listed();
        let connection = &listed[&client.cookie()];
        assert_eq!(listed.len(), 1);
        assert_eq!(asked(connection), canonical(address(to)));
        assert_eq!(connection.protocol, protocol);
        assert_eq!(connection.process, std::process::id());
        assert_eq!(connection.user, nix::unistd::getuid().as_raw());
        assert_eq!(connection.cgroup, mesh.host.cgroup_id());
        assert!(connection.service.is_some() && connection.endpoint.is_some());
        assert!(connection.backend.is_some() && connection.waypoint.is_none());
        // The clock of rows is as coarse as a tick.
        assert!(connection.since + 20_000_000 >= began);
        assert!(connection.since <= monotonic());
        drop(client);
        holds(&mesh, []);
    }
}

#[test]
fn a_connection_that_comes_to_nothing_is_listed_until_its_socket_ends() {
    let Some(mesh) = routed(MESH) else { return };
    let outcomes = [
        ("10.96.0.13:80", Errno::ECONNREFUSED),
        // This host has no route there.
        ("10.96.0.14:80", Errno::ENETUNREACH),
    ];
    for (to, error) in outcomes {
        let client = Client::tcp4();
        assert_eq!(client.connect(to), Err(error));
        assert!(mesh.listed().contains_key(&client.cookie()), "{to}");
        drop(client);
        holds(&mesh, []);
    }
    // One that is refused was never sent anywhere.
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.12:80"), Err(Errno::EHOSTUNREACH));
    holds(&mesh, []);
}

#[test]
fn a_connection_that_no_local_port_is_left_for_leaves_nothing() {
    let Some(mesh) = routed(MESH) else { return };
    // All ports that there are to pick from are one, and it is taken for the same peer.
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "50000 50000").expect("one port");
    let first = Client::tcp4();
    assert_eq!(first.connect("10.96.0.10:80"), Ok(()));
    let second = Client::tcp4();
    assert_eq!(second.connect("10.96.0.10:80"), Err(Errno::EADDRNOTAVAIL));
    drop(second);
    holds(&mesh, [first.cookie()]);
}

#[test]
fn a_socket_that_connects_again_has_one_slot_or_none() {
    let Some(mesh) = routed(MESH) else { return };
    let client = Client::tcp4();
    for (to, is_listed) in [
        ("10.96.0.10:80", true),
        (FOREIGN, false),
        ("10.96.0.10:80", true),
        ("10.96.0.10:80", true),
    ] {
        assert_eq!(client.connect(to), Ok(()), "{to}");
        let listed = mesh.listed().contains_key(&client.cookie());
        assert_eq!(
            (listed, mesh.listed().len()),
            (is_listed, usize::from(is_listed))
        );
        client.disconnect();
    }
    let client = Client::udp4();
    for (to, is_listed) in [
        ("10.96.0.53:53", true),
        (FOREIGN, false),
        ("10.96.0.53:53", true),
    ] {
        assert_eq!(client.connect(to), Ok(()), "{to}");
        let listed = mesh.listed().contains_key(&client.cookie());
        assert_eq!(listed, is_listed, "{to}");
    }
}

#[test]
fn a_socket_that_two_processes_have_ends_with_the_last_of_them() {
    let Some(mesh) = alone(MESH) else { return };
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    let (mut here, mut there) = UnixStream::pair().expect("a pair");
    let child = forked(|| {
        let _ = there.read(&mut [0]);
    });
    let cookie = client.cookie();
    drop(client);
    holds(&mesh, [cookie]);
    here.write_all(b"x").expect("the child reads");
    waitpid(child, None).expect("the child ends");
    holds(&mesh, []);
}

#[test]
fn a_process_that_is_killed_leaves_nothing() {
    let Some(mesh) = alone(MESH) else { return };
    let (mut here, mut there) = UnixStream::pair().expect("a pair");
    let child = forked(|| {
        let clients = [Client::tcp4(), Client::tcp4()];
        for client in &clients {
            let _ = client.connect("10.96.0.10:80");
        }
        let _ = there.write_all(b"x");
        let _ = there.read(&mut [0]);
    });
    here.read_exact(&mut [0]).expect("the child is connected");
    let listed = mesh.listed();
    assert_eq!(listed.len(), 2);
    assert!(
        listed
            .values()
            .all(|it| it.process == child.as_raw() as u32)
    );
    kill(child, Signal::SIGKILL).expect("the child lives");
    waitpid(child, None).expect("the child ends");
    holds(&mesh, []);
}

/// Programs follow the cgroup in which a socket was made, whoever closes it.
#[test]
fn a_socket_that_went_to_a_process_outside_of_the_cgroup_is_seen_to_end_there() {
    let Some(mesh) = routed(MESH) else { return };
    let (here, there) = UnixStream::pair().expect("a pair");
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    let cookie = client.cookie();
    let fds = [client.socket().as_raw_fd()];
    let message = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(
        here.as_raw_fd(),
        &[IoSlice::new(b"x")],
        &message,
        MsgFlags::empty(),
        None,
    )
    .expect("passed on");
    drop(client);
    let outside = std::thread::scope(|scope| {
        let outside = scope.spawn(|| {
            cgroup::leave().expect("outside");
            received(&there)
        });
        outside.join().expect("no panic")
    });
    holds(&mesh, [cookie]);
    drop(outside);
    holds(&mesh, []);
}

#[test]
fn a_socket_outlives_its_cgroup_and_is_seen_to_end() {
    let Some(mesh) = routed(MESH) else { return };
    let child = mesh.host.cgroup.child("brief").expect("a cgroup");
    let client = child.run(Client::tcp4).expect("inside");
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    drop(child);
    assert_eq!(client.peer(), Ok(address("10.96.0.10:80")));
    holds(&mesh, [client.cookie()]);
    drop(client);
    holds(&mesh, []);
}

#[test]
fn connections_stay_listed_through_other_tables() {
    let Some(mut mesh) = routed(MESH) else { return };
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    let larger = format!("{MESH}\n[limits]\nservices = 500\n{}", more(100));
    assert!(mesh.reload(&larger).replaced);
    holds(&mesh, [client.cookie()]);
    assert_eq!(client.peer(), Ok(address("10.96.0.10:80")));
    let another = Client::tcp4();
    assert_eq!(another.connect("10.96.0.10:80"), Ok(()));
    assert_eq!(mesh.listed().len(), 2);
    drop((client, another));
    holds(&mesh, []);
}

#[test]
fn what_is_captured_no_more_is_seen_to_end() {
    let Some(mut mesh) = routed(MESH) else { return };
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    let elsewhere = mesh.host.cgroup.child("elsewhere").expect("a cgroup");
    mesh.capture_instead(elsewhere.path());
    mesh.reload(MESH);
    // New connects of the first cgroup are not routed, and those that are open are not forgotten.
    assert_eq!(
        Client::tcp4().connect("10.96.0.10:80"),
        Err(Errno::ENETUNREACH)
    );
    assert_eq!(client.peer(), Ok(address("10.96.0.10:80")));
    assert_eq!(mesh.reload(MESH).operations, 0);
    holds(&mesh, [client.cookie()]);
    drop(client);
    holds(&mesh, []);
    // Nobody needs the links any more: those of names of peers, of datagrams, and of ends.
    assert_eq!(mesh.reload(MESH).operations, 5);
    assert_eq!(mesh.reload(MESH).operations, 0);
}

#[test]
fn a_connection_forgets_what_is_gone_before_something_else_has_its_number() {
    let Some(mut mesh) = routed(MESH) else { return };
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    let row = |mesh: &Running| mesh.listed()[&client.cookie()];
    let (service, endpoint) = (row(&mesh).service, row(&mesh).endpoint);
    // The endpoint is gone, and the connection still says which it was: nothing else has its number.
    mesh.reload(&MESH.replace("endpoints = [\"127.0.0.2\"]", "endpoints = []"));
    assert_eq!(
        (row(&mesh).service, row(&mesh).endpoint),
        (service, endpoint)
    );
    // Another one gets it.
    mesh.reload(&MESH.replace("127.0.0.2", "127.0.0.7"));
    assert_eq!((row(&mesh).service, row(&mesh).endpoint), (service, None));
    mesh.reload("");
    mesh.quiesce();
    assert_eq!((row(&mesh).service, row(&mesh).backend), (None, None));
    assert_eq!(client.peer(), Ok(address("10.96.0.10:80")));
}

/// Four slots, and ten sockets.
#[test]
fn sockets_that_find_no_slot_remember_by_themselves() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let mut mesh = host.run_with_slots(1, MESH);
    let mut clients = Vec::new();
    for number in 0..10 {
        let client = Client::tcp6();
        let to = ["[fd00:96::10]:80", "[::ffff:10.96.0.10]:80"][number % 2];
        assert_eq!(client.connect(to), Ok(()));
        clients.push((client, to));
    }
    assert_eq!(mesh.listed().len(), 4);
    assert_eq!(mesh.outcomes()[&Outcome::Unlisted], 6);
    for (client, to) in &clients {
        assert_eq!(client.peer(), Ok(address(to)));
    }
    // Those that have slots let go of them, and the others take them when they connect again.
    clients.drain(..4);
    holds(&mesh, []);
    for (client, _) in &clients {
        client.disconnect();
        assert_eq!(client.connect("[fd00:96::10]:80"), Ok(()));
        assert_eq!(client.peer(), Ok(address("[fd00:96::10]:80")));
    }
    assert_eq!(mesh.listed().len(), 4);
    for (client, _) in &clients {
        client.disconnect();
        let foreign = mapped(FOREIGN).to_string();
        assert_eq!(client.connect(&foreign), Ok(()));
        assert_eq!(client.peer(), Ok(address(&foreign)));
    }
    holds(&mesh, []);
}

/// Sockets of four threads, a hundred thousand in all, through everything that a socket can go through.
/// The table wraps around some fifty times below those that stay.
#[test]
fn the_table_holds_what_lives_after_any_storm() {
    storm(|host| host.run(MESH), 25_000);
}

/// The same where nearly every socket finds its bucket full.
#[test]
fn peer_names_are_right_in_a_table_that_is_too_small() {
    storm(|host| host.run_with_slots(16, MESH), 2_500);
}

const THREADS: usize = 4;
/// Sockets that a thread holds at a time.
const HELD: usize = 48;

fn storm(run: impl FnOnce(&Host) -> Running, sockets: usize) {
    let Some(host) = Host::new() else { return };
    // Closing waits for nobody, and hardly any connection is accepted before it is gone.
    let _servers = [Echo::brief("[::]:8080"), Echo::udp("127.0.0.2:5353")];
    let mesh = run(&host);
    let held: Vec<Held> = std::thread::scope(|scope| {
        let work = |seed| move || at_random(seed, sockets);
        let threads: Vec<_> = (0..THREADS).map(|seed| scope.spawn(work(seed))).collect();
        let held = threads.into_iter().map(|it| it.join().expect("no panic"));
        held.flatten().collect()
    });
    let mut mesh = mesh;
    let expected = held.iter().filter(|it| it.asked.is_some());
    let expected: BTreeMap<_, _> = expected.map(|it| (it.client.cookie(), it.asked)).collect();
    // Other tests of this process may be starting programs, which hold sockets that are closed here.
    let ours = |mesh: &Running| mesh.listed().keys().all(|it| expected.contains_key(it));
    assert!(eventually(|| ours(&mesh)), "{:?}", keys(&mesh.listed()));
    let listed = mesh.listed();
    if mesh.outcomes()[&Outcome::Unlisted] == 0 {
        assert_eq!(keys(&listed), keys(&expected));
    }
    for (cookie, connection) in &listed {
        assert_eq!(expected.get(cookie), Some(&Some(asked(connection))));
    }
    // The kernel has the same list of those that are connected.
    let living = sockets_of_the_kernel();
    for held in held.iter().filter(|it| it.client.peer().is_ok()) {
        assert!(living.contains(&held.client.cookie()));
        if let Some(to) = held.asked {
            assert_eq!(held.client.peer().map(canonical), Ok(to));
        }
    }
    assert!(!listed.is_empty());
    drop(held);
    holds(&mesh, []);
}

struct Held {
    client: Client,
    /// What the table should have of it.
    asked: Option<SocketAddr>,
}

/// One thread of a storm. Gives the sockets that it still holds.
fn at_random(seed: usize, sockets: usize) -> Vec<Held> {
    let mut random = fastrand::Rng::with_seed(seed as u64);
    let mut held: Vec<Held> = Vec::new();
    for _ in 0..sockets {
        let client = match random.u8(0..4) {
            0 => Client::udp4(),
            1 => Client::tcp6(),
            _ => Client::tcp4(),
        };
        let mut new = Held {
            client,
            asked: None,
        };
        for _ in 0..random.usize(1..4) {
            new.connect(&mut random);
        }
        match random.u8(0..16) {
            // Some stay for long, and so stand in the way of others.
            0 => held.push(new),
            1 if !held.is_empty() => {
                let place = random.usize(0..held.len());
                held[place].connect(&mut random);
            }
            _ => {}
        }
        while held.len() > HELD {
            held.swap_remove(random.usize(0..held.len()));
        }
    }
    held
}

impl Held {
    /// Connects somewhere, and checks the name of the peer.
    fn connect(&mut self, random: &mut fastrand::Rng) {
        const TCP: [&str; 5] = [
            "10.96.0.10:80",
            "10.96.0.13:80",
            "10.96.0.14:80",
            "10.96.0.12:80",
            FOREIGN,
        ];
        const UDP: [&str; 3] = ["10.96.0.53:53", "10.96.0.53:54", FOREIGN];
        let socket = self.client.socket();
        let is_stream = socket.r#type().expect("a type") == socket2::Type::STREAM;
        let is_v6 = socket.domain().expect("a domain") == socket2::Domain::IPV6;
        if is_stream || random.bool() {
            self.client.disconnect();
        }
        let to = match is_stream {
            true => TCP[random.usize(0..TCP.len())],
            false => UDP[random.usize(0..UDP.len())],
        };
        let to = match is_v6 {
            true if to == "10.96.0.10:80" && random.bool() => address("[fd00:96::10]:80"),
            true => mapped(to),
            false => address(to),
        };
        let outcome = self.client.connect(&to.to_string());
        let is_refused = matches!(
            (canonical(to).to_string().as_str(), outcome),
            ("10.96.0.12:80" | "10.96.0.53:54", Err(_))
        );
        if is_refused {
            // The socket remembers what it did.
        } else if canonical(to) == address(FOREIGN) {
            self.asked = None;
        } else {
            self.asked = Some(canonical(to));
        }
        if outcome.is_ok() {
            assert_eq!(self.client.peer(), Ok(to));
        }
    }
}

/// Cookies of the sockets of this network namespace.
fn sockets_of_the_kernel() -> BTreeSet<u64> {
    let output = Command::new("ss").args(["-tuaneH"]).output();
    let output = output.expect("ss, of iproute2");
    let text = String::from_utf8(output.stdout).expect("text");
    let cookies = text
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("sk:"));
    cookies
        .map(|it| u64::from_str_radix(it, 16).expect("a number"))
        .collect()
}

/// The table comes to hold the sockets with these cookies, and no others. Other tests of this process may
/// be starting programs, which have copies of all its descriptors for a moment.
fn holds<const N: usize>(mesh: &Running, cookies: [u64; N]) {
    let cookies = BTreeSet::from(cookies);
    let holds = eventually(|| keys(&mesh.listed()) == cookies);
    assert!(holds, "{:?}, not {cookies:?}", keys(&mesh.listed()));
}

fn keys<T>(map: &BTreeMap<u64, T>) -> BTreeSet<u64> {
    map.keys().copied().collect()
}

/// Mapped addresses as what they are.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn monotonic() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    std::time::Duration::from(now.expect("a clock")).as_nanos() as u64
}

/// Runs `work` in a child of this process, which ends with it.
fn forked(work: impl FnOnce()) -> Pid {
    // SAFETY: the child makes system calls on what it has, and ends without unwinding.
    match unsafe { fork() }.expect("a child") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            work();
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) }
        }
    }
}

/// The descriptor that was passed.
fn received(from: &UnixStream) -> OwnedFd {
    let mut byte = [0];
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(
        from.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )
    .expect("a message");
    let fd = message
        .cmsgs()
        .expect("its parts")
        .find_map(|part| match part {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
    // SAFETY: it was just made for us.
    unsafe { OwnedFd::from_raw_fd(fd.expect("a descriptor")) }
}
