//! Connections that are ended for the operator: those of an endpoint, and no others.

use kmesh_lite::kernel::Ended;
use kmesh_lite_common::{Ending, EndpointId};
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::{Host, Running, routed};
use kmesh_lite_tests::require;
use kmesh_lite_tests::server::ends_with_us;
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Instant;

const MESH: &str = r#"
    [services.web]
    vips = ["10.96.0.10", "fd00:96::10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2"]

    [services.other]
    vips = ["10.96.0.11", "fd00:96::11"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.3"]

    [services.dns]
    vips = ["10.96.0.53", "fd00:96::53"]
    ports = [{ port = 53, target = 5353, protocol = "udp" }]
    endpoints = ["127.0.0.2"]
"#;

/// Connected by TCP, and greeted.
fn connected(client: Client, to: &str) -> Client {
    client
        .connect(to)
        .unwrap_or_else(|error| panic!("{to}: {error}"));
    client.greeting();
    client
}

fn end(mesh: &Running, endpoints: &BTreeSet<EndpointId>) -> Ended {
    let targets = mesh.left().expect("a mesh").targets(endpoints);
    mesh.end(&targets).expect("ended")
}

/// What a recv() says, where nothing was sent.
fn received(client: &Client) -> Result<usize, Option<Errno>> {
    let outcome = client.socket().read(&mut [0; 16]);
    outcome.map_err(|error| error.raw_os_error().map(Errno::from_raw))
}

#[test]
fn connections_of_an_endpoint_are_ended_and_no_others() {
    let Some(mesh) = routed(MESH) else { return };
    let _dns = Echo::udp("127.0.0.2:5353");
    let of_it = [
        connected(Client::tcp4(), "10.96.0.10:80"),
        connected(Client::tcp6(), "[fd00:96::10]:80"),
        connected(Client::tcp6(), "[::ffff:10.96.0.10]:80"),
    ];
    let datagrams = [Client::udp4(), Client::udp6(), Client::udp6()];
    for (client, to) in datagrams.iter().zip([
        "10.96.0.53:53",
        "[fd00:96::53]:53",
        "[::ffff:10.96.0.53]:53",
    ]) {
        assert_eq!(client.connect(to), Ok(()));
        client.ask().expect("an answer");
    }
    let others = [
        connected(Client::tcp4(), "10.96.0.11:80"),
        connected(Client::tcp6(), "[fd00:96::11]:80"),
        // To the same server, past the mesh.
        connected(Client::tcp4(), "127.0.0.2:8080"),
    ];
    // In the table once, and elsewhere by now.
    let moved = connected(Client::tcp4(), "10.96.0.10:80");
    moved.disconnect();
    assert_eq!(moved.connect("127.0.0.2:8080"), Ok(()));
    moved.greeting();
    let direct = Client::udp4();
    assert_eq!(direct.connect("127.0.0.2:5353"), Ok(()));

    let listed = mesh.listed();
    let chosen = of_it.iter().chain(&datagrams);
    let chosen: BTreeSet<EndpointId> = chosen
        .map(|client| listed[&client.cookie()].endpoint.expect("an endpoint"))
        .collect();
    // One of each service.
    assert_eq!(chosen.len(), 2);
    let ended = end(&mesh, &chosen);
    assert_eq!(ended.killed.values().sum::<u64>(), 6, "{ended:?}");
    assert_eq!(ended.out_of_reach.values().sum::<u64>(), 0, "{ended:?}");
    for client in of_it.iter().chain(&datagrams) {
        assert_eq!(received(client), Err(Some(Errno::ECONNABORTED)));
    }
    for client in others.iter().chain([&moved]) {
        client.exchange("still here\n");
    }
    assert_eq!(direct.ask(), Ok(address("127.0.0.2:5353")));
    // Again there is nothing to do, although programs still hold the sockets.
    let again = end(&mesh, &chosen);
    assert_eq!(again, Default::default());
    // A socket that was ended can be used again.
    drop(of_it);
    let client = &datagrams[0];
    assert_eq!(client.connect("10.96.0.53:53"), Ok(()));
    client.ask().expect("an answer");
    assert_eq!(end(&mesh, &chosen).killed.values().sum::<u64>(), 1);
}

#[test]
fn an_end_for_the_operator_is_told_from_others() {
    let Some(mesh) = routed(MESH) else { return };
    let client = connected(Client::tcp4(), "10.96.0.10:80");
    let endpoint = mesh.listed()[&client.cookie()]
        .endpoint
        .expect("an endpoint");
    end(&mesh, &BTreeSet::from([endpoint]));
    let killed = || {
        let accounts = mesh.accounts().expect("accounts");
        let sums = accounts.sums.values();
        let killed = sums.map(|it| it.ended[Ending::Killed.0 as usize]);
        killed.sum::<u64>()
    };
    assert!(eventually(|| killed() == 1));
}

#[test]
fn thousands_are_ended_in_one_go() {
    const COUNT: usize = 4_000;
    let Some(host) = Host::alone() else { return };
    let _servers = Echo::brief("[::]:8080");
    let mesh = host.run_with_slots(8_192, MESH);
    let clients: Vec<_> = (0..COUNT)
        .map(|_| {
            let client = Client::tcp4();
            assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
            client
        })
        .collect();
    let listed = mesh.listed();
    // Each CPU numbers sockets in batches. Where two batches meet in the same buckets, some connections have no place
    // in the table, and go on.
    assert!(listed.len() > COUNT / 4, "{}", listed.len());
    let first = clients.iter().find_map(|it| listed.get(&it.cookie()));
    let endpoint = first.and_then(|it| it.endpoint).expect("an endpoint");
    let began = Instant::now();
    let ended = end(&mesh, &BTreeSet::from([endpoint]));
    eprintln!(
        "{} connections ended in {:?}",
        listed.len(),
        began.elapsed()
    );
    assert_eq!(ended.killed[&endpoint], listed.len() as u64);
    // What the server had sent, and that it was done, comes before the error for who reads.
    let is_over = |it: &&Client| {
        let error = it.socket().take_error().expect("SO_ERROR");
        error.and_then(|it| it.raw_os_error()) == Some(Errno::ECONNABORTED as i32)
    };
    let over = clients
        .iter()
        .filter(|it| listed.contains_key(&it.cookie()));
    assert_eq!(over.filter(is_over).count(), listed.len());
}

/// A program of another user in a network namespace of its own, that connects and says what comes of it.
const ELSEWHERE: &str = "
import os, socket, subprocess, sys
subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
os.setgid(65534); os.setuid(65534)
listener = socket.socket(); listener.bind(('127.0.0.2', 8080)); listener.listen()
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sink.bind(('127.0.0.2', 5353))
tcp = socket.socket(); tcp.connect(('10.96.0.10', 80))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.connect(('10.96.0.53', 53))
direct = socket.socket(); direct.connect(('127.0.0.2', 8080))
print('connected', flush=True)
for it in tcp, udp:
    try: print(len(it.recv(1)), flush=True)
    except OSError as error: print(error.errno, flush=True)
direct.setblocking(False)
try: print(direct.recv(1), flush=True)
except BlockingIOError: print('goes on', flush=True)
";

#[test]
fn connections_in_another_network_namespace_take_a_capability_more() {
    let Some(host) = Host::alone() else { return };
    if !require::programs(&["python3", "unshare"]) {
        return;
    }
    let mesh = host.run(MESH);
    let mut command = Command::new("unshare");
    command.args(["--net", "python3", "-c", ELSEWHERE]);
    command.stdout(Stdio::piped());
    let mut program = ends_with_us(&mut command).spawn().expect("a program");
    let mut said = BufReader::new(program.stdout.take().expect("a pipe")).lines();
    let mut next = || said.next().expect("a line").expect("text");
    assert_eq!(next(), "connected");
    let listed = mesh.listed();
    let chosen: BTreeSet<_> = listed.values().filter_map(|it| it.endpoint).collect();
    assert_eq!((listed.len(), chosen.len()), (2, 2));
    // With what the unit has: no way into the namespace, and none to the descriptors.
    let before = without_ptrace();
    let ended = end(&mesh, &chosen);
    restore(before);
    assert_eq!(ended.killed.len(), 0, "{ended:?}");
    assert_eq!(ended.out_of_reach.values().sum::<u64>(), 2, "{ended:?}");
    let ended = end(&mesh, &chosen);
    assert_eq!(ended.killed.values().sum::<u64>(), 2, "{ended:?}");
    let tcp = next();
    let errors = [Errno::EPIPE, Errno::ECONNRESET].map(|it| (it as i32).to_string());
    assert!(errors.contains(&tcp), "{tcp}");
    assert_eq!(next(), "0");
    assert_eq!(next(), "goes on");
    assert!(program.wait().expect("its end").success());
}

/// Two words of effective, permitted and inheritable capabilities.
type Capabilities = [u32; 6];

/// Takes all but the unit's capabilities from the calling thread. Gives those that there were.
fn without_ptrace() -> Capabilities {
    const CAP_NET_ADMIN: u32 = 12;
    const CAP_PERFMON: u32 = 38;
    const CAP_BPF: u32 = 39;
    let mut before = Capabilities::default();
    // SAFETY: as long as version 3 says.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw const HEADER, before.as_mut_ptr()) };
    assert_eq!(got, 0);
    let mut fewer = before;
    fewer[0] = 1 << CAP_NET_ADMIN;
    fewer[3] = 1 << (CAP_PERFMON - 32) | 1 << (CAP_BPF - 32);
    restore(fewer);
    before
}

/// `_LINUX_CAPABILITY_VERSION_3`, and the calling thread.
static HEADER: [u32; 2] = [0x2008_0522, 0];

fn restore(capabilities: Capabilities) {
    // SAFETY: as long as version 3 says.
    let set = unsafe { libc::syscall(libc::SYS_capset, &raw const HEADER, capabilities.as_ptr()) };
    assert_eq!(set, 0, "{}", Errno::last());
}
