//! `[dns] capture`: programs ask the servers that they know, and the agent answers, while it can.

use crate::PROGRAM;
use kmesh_lite_tests::agent::Agent;
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::dig::{dig, question};
use kmesh_lite_tests::dnsmasq::Dnsmasq;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::require;
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// A server that programs know, and which is none of the mesh.
const V4: &str = "10.53.0.1:53";
const V6: &str = "[fd53::1]:53";
const MAPPED: &str = "[::ffff:10.53.0.1]:53";
/// What it says of `www.internal`.
const BY_ITSELF: &str = "192.0.2.99";
/// What the upstream of the agent says of it.
const BY_AGENT: &str = "192.0.2.1";

fn mesh(dns: &str) -> String {
    limited(&format!(
        "[dns]\nupstreams = \"{}\"\n{dns}\n\
         [services.payments]\nvips = [\"10.96.0.10\"]\nports = [80]\nendpoints = [\"127.0.0.2\"]\n",
        Dnsmasq::AT
    ))
}

/// A host with the server that programs know, and an upstream for the agent.
fn host() -> Option<(Host, Dnsmasq, Dnsmasq)> {
    let host = Host::new()?;
    if !require::programs(&["dnsmasq", "dig"]) {
        return None;
    }
    host.add(&["10.53.0.1", "fd53::1"]);
    let ips = [V4, V6].map(|at| at.parse::<SocketAddr>().unwrap().ip());
    let known = Dnsmasq::start_at(
        &ips,
        53,
        &format!("{BY_ITSELF} www.internal www.foreign\n"),
        &[],
    );
    let upstream = Dnsmasq::start(&format!("{BY_AGENT} www.internal\n"), &[]);
    Some((host, known, upstream))
}

/// The address at the end of an answer with one record.
fn answered(bytes: &[u8]) -> String {
    let last: [u8; 4] = bytes[bytes.len() - 4..].try_into().unwrap();
    assert!(bytes[7] == 1, "no answer, or many: {bytes:?}");
    std::net::Ipv4Addr::from(last).to_string()
}

fn unconnected(own: &str) -> UdpSocket {
    let socket = UdpSocket::bind(own).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket
}

/// Asks by a socket that is connected; gives the answer and who the socket says that its peer is.
fn connected(own: &str, at: &str, name: &str) -> (String, SocketAddr) {
    let socket = unconnected(own);
    socket.connect(at).unwrap();
    socket.send(&question(name)).unwrap();
    let mut buffer = [0; 512];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    let peer = socket.peer_addr().unwrap();
    assert_eq!(from, peer);
    (answered(&buffer[..length]), peer)
}

/// Asks by a datagram that names the server; gives the answer and where it seems to come from.
fn named(socket: &UdpSocket, at: &str, name: &str) -> (String, SocketAddr) {
    socket.send_to(&question(name), at).unwrap();
    let mut buffer = [0; 512];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (answered(&buffer[..length]), from)
}

/// Asks over a connection.
fn over_tcp(at: &str, name: &str) -> (String, SocketAddr) {
    let mut stream = TcpStream::connect(at).unwrap();
    let question = question(name);
    stream
        .write_all(&(question.len() as u16).to_be_bytes())
        .unwrap();
    stream.write_all(&question).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).unwrap();
    (answered(&answer), stream.peer_addr().unwrap())
}

/// Who answers a datagram to the server that programs know; none if nobody does for a short while.
fn who_answers() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    socket.connect(V4).unwrap();
    // Whoever listened there may have gone between the decision and this.
    socket.send(&question("www.internal")).ok()?;
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).ok()?;
    Some(answered(&buffer[..length]))
}

fn wait_for(daemon: &mut Daemon, who: &str) {
    daemon.wait_until(who, |_| who_answers().as_deref() == Some(who));
}

/// Asks until somebody answers, and gives how long after `since` the first question was that was answered.
fn gap(since: Instant) -> Duration {
    loop {
        let begun = since.elapsed();
        if who_answers().is_some() {
            return begun;
        }
        assert!(begun < Duration::from_secs(30), "nobody answers");
    }
}

/// After three seconds questions are answered; those that were asked just before may wait for their answer for a while.
fn is_kept(what: &str, gap: Duration) {
    println!(
        "{what}: the first question that was answered was asked after {} ms",
        gap.as_millis()
    );
    assert!(gap < Duration::from_secs(4), "{what}: {gap:?}");
}

#[test]
fn the_agent_answers_for_any_server_and_seems_to_be_it() {
    let Some((host, _known, _upstream)) = host() else {
        return;
    };
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &mesh("capture = \"all\""));
    wait_for(&mut daemon, BY_AGENT);
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let names = [("payments.mesh", "10.96.0.10"), ("www.internal", BY_AGENT)];
    let (own_v4, own_v6) = (unconnected("0.0.0.0:0"), unconnected("[::]:0"));
    for (name, address) in names {
        let said = |server| (address.to_owned(), at(server));
        for server in [V4, V6] {
            let own = if server == V4 { "0.0.0.0:0" } else { "[::]:0" };
            assert_eq!(connected(own, server, name), said(server));
            assert_eq!(over_tcp(server, name), said(server));
        }
        assert_eq!(connected("[::]:0", MAPPED, name), said(MAPPED));
        assert_eq!(over_tcp(MAPPED, name), said(MAPPED));
        // One socket asks several servers.
        assert_eq!(named(&own_v4, V4, name), said(V4));
        assert_eq!(named(&own_v4, "10.53.0.9:53", name), said("10.53.0.9:53"));
        assert_eq!(named(&own_v6, V6, name), said(V6));
        assert_eq!(named(&own_v6, MAPPED, name), said(MAPPED));
        assert_eq!(dig(V4, &[name, "A"]).answers, [address]);
        assert_eq!(dig(V6, &["+tcp", name, "A"]).answers, [address]);
    }
    let status = daemon.json(&["status"]);
    assert_eq!(status["dns"]["capture"]["on"], true, "{status}");
    let text = daemon.verb(&["status"]).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("all questions to DNS servers"), "{text}");
    let explained = daemon.verb(&["explain", V4, "--protocol", "udp"]).stdout;
    let explained = String::from_utf8(explained).unwrap();
    assert!(explained.contains("`[dns] capture`"), "{explained}");
    let listed = daemon.json(&["connections"]);
    assert_eq!(
        listed["connections"].as_array().map(Vec::len),
        Some(0),
        "{listed}"
    );

    // Without the key everything is as it was.
    daemon.save(&mesh("listen = \"127.0.0.1:15053\""));
    assert!(daemon.verb(&["reload"]).status.success());
    assert_eq!(who_answers().as_deref(), Some(BY_ITSELF));
    assert_eq!(
        named(&own_v4, V4, "www.internal"),
        (BY_ITSELF.to_owned(), at(V4))
    );
}

#[test]
fn names_resolve_whoever_dies_or_hangs() {
    let Some((host, _known, upstream)) = host() else {
        return;
    };
    let text = mesh("capture = \"all\"");
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&text));
    let mut agent = Agent::start(PROGRAM, &daemon);
    wait_for(&mut daemon, BY_AGENT);

    let since = Instant::now();
    agent.signal(Signal::SIGKILL);
    is_kept("the agent was killed", gap(since));
    drop(agent);
    agent = Agent::start(PROGRAM, &daemon);
    wait_for(&mut daemon, BY_AGENT);

    let since = Instant::now();
    agent.signal(Signal::SIGSTOP);
    is_kept("the agent was stopped", gap(since));
    assert_eq!(who_answers().as_deref(), Some(BY_ITSELF));
    daemon.wait_until("status says so", |daemon| {
        daemon.json(&["status"])["dns"]["capture"]["on"] == false
    });
    agent.signal(Signal::SIGCONT);
    wait_for(&mut daemon, BY_AGENT);

    let since = Instant::now();
    upstream.signal(Signal::SIGSTOP);
    is_kept("the upstream hung", gap_of_others(since));
    upstream.signal(Signal::SIGCONT);
    wait_for(&mut daemon, BY_AGENT);

    daemon.signal(Signal::SIGKILL);
    let since = Instant::now();
    // The agent goes on, as long as it is believed.
    is_kept("the daemon was killed", gap(since));
    daemon.wait();
    let until = Instant::now() + Duration::from_secs(30);
    while who_answers().as_deref() != Some(BY_ITSELF) {
        assert!(Instant::now() < until, "the agent is believed for ever");
    }
    daemon.start_again(&[]);
    wait_for(&mut daemon, BY_AGENT);

    daemon.signal(Signal::SIGKILL);
    agent.signal(Signal::SIGKILL);
    is_kept("both were killed", gap(Instant::now()));
    daemon.wait();
    assert_eq!(who_answers().as_deref(), Some(BY_ITSELF));
}

/// As [`gap`], with names that nobody remembers.
fn gap_of_others(since: Instant) -> Duration {
    for number in 0.. {
        let begun = since.elapsed();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        socket.connect(V4).unwrap();
        socket
            .send(&question(&format!("n{number}.internal")))
            .unwrap();
        // That there is no such name is an answer as well.
        if socket.recv(&mut [0; 512]).is_ok() {
            return begun;
        }
        assert!(begun < Duration::from_secs(30), "nobody answers");
    }
    unreachable!()
}

#[test]
fn only_questions_of_cgroups_that_are_named_are_captured() {
    let Some((host, _known, _upstream)) = host() else {
        return;
    };
    let asks = host.cgroup.child("asks").unwrap();
    let text = mesh(&format!("capture = \"{}\"", asks.path().display()));
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &text);
    daemon.wait_until("the agent answers", |_| {
        asks.run(who_answers).unwrap().as_deref() == Some(BY_AGENT)
    });
    assert_eq!(who_answers().as_deref(), Some(BY_ITSELF));
    let status = daemon.json(&["status"]);
    let path = asks.path().display().to_string();
    assert_eq!(status["dns"]["capture"]["cgroups"][0], path);
}

#[test]
fn a_resolver_of_the_host_is_asked_and_asks_others_itself() {
    let Some((host, _known, mut upstream)) = host() else {
        return;
    };
    upstream.end();
    let resolver = host.cgroup.child("resolver").unwrap();
    let server = "--server=10.53.0.1";
    let at: SocketAddr = Dnsmasq::AT.parse().unwrap();
    let _resolver = resolver
        .run(|| Dnsmasq::start_at(&[at.ip()], at.port(), "", &[server]))
        .unwrap();
    let bypass = format!(
        "capture = \"all\"\ncapture_bypass = \"{}\"",
        resolver.path().display()
    );
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &mesh(&bypass));
    daemon.wait_until("it is captured", |_| {
        dig(V4, &["+time=1", "payments.mesh", "A"]).answers == ["10.96.0.10"]
    });
    // From the program to the agent, from there to the resolver of the host, and from there to the server.
    assert_eq!(dig(V4, &["www.foreign", "A"]).answers, [BY_ITSELF]);
    let status = daemon.json(&["status"]);
    assert_eq!(status["dns"]["capture"]["on"], true, "{status}");
    assert_eq!(
        status["dns"]["upstreams"][0]["error"],
        serde_json::Value::Null
    );
}
