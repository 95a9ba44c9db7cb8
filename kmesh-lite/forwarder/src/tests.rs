//! The forwarder stands between real sockets.

use crate::counters::Count;
use crate::forwarder::{Forwarder, Handle};
use crate::header::Malformed;
use crate::*;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// A time that is never reached unless a test hangs.
const LONG: Duration = Duration::from_secs(3600);

const LIMITS: ConnectionLimits = ConnectionLimits {
    header: LONG,
    connect: LONG,
    idle: None,
    connections: 100,
    grace: LONG,
};

/// A forwarder that serves and allows loopback addresses.
struct Fixture {
    address: SocketAddr,
    handle: Handle,
    served: JoinHandle<Ended>,
}

impl Fixture {
    fn start(limits: ConnectionLimits) -> Self {
        Self::start_at(V4, limits)
    }

    fn start_at(ip: IpAddr, limits: ConnectionLimits) -> Self {
        let options = ForwarderOptions {
            listen: SocketAddr::new(ip, 0),
            accept: Accept {
                tlv: true,
                proxy_v2: true,
            },
            limits,
        };
        let networks = ["127.0.0.1/32", "::1/128"].map(|network| network.parse().unwrap());
        let allowed = Allowed {
            networks: networks.to_vec(),
            ..Allowed::default()
        };
        let forwarder = Forwarder::bind(options, allowed).unwrap();
        Self {
            address: forwarder.address(),
            handle: forwarder.handle(),
            served: tokio::spawn(forwarder.serve()),
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection that was relayed to `destination`, and its other end.
    async fn relayed(&self, destination: &TcpListener) -> (TcpStream, TcpStream) {
        let before = self.count(Count::Forwarded);
        let mut client = self.connect().await;
        let header = tlv(destination.local_addr().unwrap());
        client.write_all(&header).await.unwrap();
        let (server, _) = destination.accept().await.unwrap();
        // The kernel lets the destination accept before the forwarder knows that it is connected.
        self.handle.counted(Count::Forwarded, before + 1).await;
        (client, server)
    }

    /// Checks that `bytes` end in a reset and are counted.
    async fn check_refused(&self, bytes: &[u8], count: Count) {
        let mut client = self.connect().await;
        client.write_all(bytes).await.unwrap();
        expect_reset(&mut client).await;
        self.handle.counted(count, 1).await;
        assert_eq!(self.count(Count::Forwarded), 0);
    }

    fn count(&self, count: Count) -> u64 {
        self.handle.counters().get(&count).copied().unwrap_or(0)
    }
}

fn tlv(destination: SocketAddr) -> Vec<u8> {
    let address = match destination.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let length = u8::try_from(address.len() + 2).unwrap();
    let port = destination.port().to_be_bytes();
    [
        &[1, 0, 0, 0, length],
        &address[..],
        &port,
        &[0xfe, 0, 0, 0, 0],
    ]
    .concat()
}

fn proxy_v2(destination: SocketAddr) -> Vec<u8> {
    let (family, address) = match destination.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let length = u8::try_from(2 * address.len() + 4).unwrap();
    let port = destination.port().to_be_bytes();
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let source = [9, 9];
    [
        &signature[..],
        &[0x21, family, 0, length],
        &address,
        &address,
        &source,
        &port,
    ]
    .concat()
}

async fn listen(ip: IpAddr) -> TcpListener {
    TcpListener::bind((ip, 0)).await.unwrap()
}

async fn expect_reset(stream: &mut TcpStream) {
    let error = stream.read(&mut [0; 16]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

async fn expect(stream: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, expected);
}

async fn expect_end(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
}

/// Checks that bytes go both ways after `header`.
async fn check_relay(fixture: &Fixture, header: Vec<u8>, destination: &TcpListener) {
    let mut client = fixture.connect().await;
    client.write_all(&header).await.unwrap();
    let (mut server, _) = destination.accept().await.unwrap();
    client.write_all(b"question").await.unwrap();
    expect(&mut server, b"question").await;
    server.write_all(b"answer").await.unwrap();
    expect(&mut client, b"answer").await;
}

#[tokio::test]
async fn both_headers_lead_to_both_families() {
    for here in [V4, V6] {
        let fixture = Fixture::start_at(here, LIMITS);
        for there in [V4, V6] {
            let destination = listen(there).await;
            let address = destination.local_addr().unwrap();
            check_relay(&fixture, tlv(address), &destination).await;
            check_relay(&fixture, proxy_v2(address), &destination).await;
        }
    }
}

#[tokio::test]
async fn a_mapped_destination_is_its_ipv4_address() {
    let fixture = Fixture::start(LIMITS);
    let destination = listen(V4).await;
    let port = destination.local_addr().unwrap().port();
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    let header = tlv(SocketAddr::new(mapped.into(), port));
    check_relay(&fixture, header, &destination).await;

    let elsewhere = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
    let mut client = fixture.connect().await;
    let header = tlv(SocketAddr::new(elsewhere.into(), port));
    client.write_all(&header).await.unwrap();
    expect_reset(&mut client).await;
    fixture.handle.counted(Count::NotAllowed, 1).await;
}

#[tokio::test]
async fn a_header_may_come_with_payload_or_byte_by_byte() {
    let fixture = Fixture::start(LIMITS);
    let destination = listen(V4).await;
    for header in [tlv, proxy_v2] {
        let bytes = [&header(destination.local_addr().unwrap()), &b"payload"[..]].concat();

        let mut client = fixture.connect().await;
        client.write_all(&bytes).await.unwrap();
        let (mut server, _) = destination.accept().await.unwrap();
        expect(&mut server, b"payload").await;

        let mut client = fixture.connect().await;
        client.set_nodelay(true).unwrap();
        for byte in &bytes {
            client.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let (mut server, _) = destination.accept().await.unwrap();
        expect(&mut server, b"payload").await;
    }
}

#[tokio::test]
async fn a_server_may_speak_first() {
    let fixture = Fixture::start(LIMITS);
    let destination = listen(V4).await;
    let (mut client, mut server) = fixture.relayed(&destination).await;
    server.write_all(b"220 ready").await.unwrap();
    expect(&mut client, b"220 ready").await;
}

/// Bytes that differ by their position and by the seed.
fn stream(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let words = std::iter::repeat_with(|| {
        // This is splitmix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)).to_le_bytes()
    });
    words.take(length / 8).flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_streams_are_relayed_byte_for_byte_both_ways_at_once() {
    const LENGTH: usize = 32 << 20;
    let fixture = Fixture::start(LIMITS);
    let destination = listen(V4).await;
    let (client, server) = fixture.relayed(&destination).await;
    let ends = [(client, 1, 2), (server, 2, 1)].map(|(stream_of, says, hears)| {
        tokio::spawn(async move {
            let (mut read, mut write) = stream_of.into_split();
            let writing = tokio::spawn(async move {
                write.write_all(&stream(says, LENGTH)).await.unwrap();
                write.shutdown().await.unwrap();
            });
            let mut heard = Vec::with_capacity(LENGTH);
            read.read_to_end(&mut heard).await.unwrap();
            writing.await.unwrap();
            assert!(heard == stream(hears, LENGTH), "{} bytes came", heard.len());
        })
    });
    for end in ends {
        end.await.unwrap();
    }
    fixture.handle.counted(Count::Finished, 1).await;
}

#[tokio::test]
async fn the_end_of_one_stream_leaves_the_other_open() {
    let fixture = Fixture::start(LIMITS);
    let destination = listen(V4).await;

    let (mut client, mut server) = fixture.relayed(&destination).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    expect(&mut server, b"question").await;
    expect_end(&mut server).await;
    server.write_all(b"answer").await.unwrap();
    drop(server);
    expect(&mut client, b"answer").await;
    expect_end(&mut client).await;

    let (mut client, mut server) = fixture.relayed(&destination).await;
    server.write_all(b"that is all").await.unwrap();
    server.shutdown().await.unwrap();
    expect(&mut client, b"that is all").await;
    expect_end(&mut client).await;
    client.write_all(b"thanks").await.unwrap();
    drop(client);
    expect(&mut server, b"thanks").await;
    expect_end(&mut server).await;

    fixture.handle.counted(Count::Finished, 2).await;
    assert_eq!(fixture.count(Count::Broken), 0);
}

#[tokio::test]
async fn a_reset_is_passed_on_as_a_reset() {
    let fixture = Fixture::start(LIMITS);
    let destination = listen(V4).await;

    let (client, mut server) = fixture.relayed(&destination).await;
    client.set_zero_linger().unwrap();
    drop(client);
    expect_reset(&mut server).await;

    let (mut client, server) = fixture.relayed(&destination).await;
    server.set_zero_linger().unwrap();
    drop(server);
    expect_reset(&mut client).await;

    fixture.handle.counted(Count::Broken, 2).await;
}

#[tokio::test]
async fn what_is_malformed_is_reset_and_counted() {
    let fixture = Fixture::start(LIMITS);
    for (bytes, reason) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], Malformed::Unknown),
        (b"\x01\0\0\0\x07", Malformed::AddressLength),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c", Malformed::Udp),
    ] {
        fixture.check_refused(bytes, Count::Malformed(reason)).await;
    }
}

#[tokio::test]
async fn a_local_connection_ends_cleanly() {
    let fixture = Fixture::start(LIMITS);
    let mut client = fixture.connect().await;
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    client.write_all(local).await.unwrap();
    expect_end(&mut client).await;
    fixture.handle.counted(Count::Local, 1).await;
}

#[tokio::test]
async fn connections_without_a_whole_header_are_counted_apart() {
    let fixture = Fixture::start(LIMITS);
    drop(fixture.connect().await);
    fixture.handle.counted(Count::Empty, 1).await;
    let mut client = fixture.connect().await;
    client.write_all(b"\x01\0\0").await.unwrap();
    client.shutdown().await.unwrap();
    expect_reset(&mut client).await;
    fixture.handle.counted(Count::Truncated, 1).await;
}

#[tokio::test]
async fn a_header_that_does_not_come_in_time_is_given_up() {
    let fixture = Fixture::start(ConnectionLimits {
        header: Duration::from_millis(20),
        ..LIMITS
    });
    fixture
        .check_refused(b"\x01\0\0", Count::HeaderTimeout)
        .await;
}

#[tokio::test]
async fn an_idle_connection_is_reset_on_both_sides() {
    let fixture = Fixture::start(ConnectionLimits {
        idle: Some(Duration::from_millis(20)),
        ..LIMITS
    });
    let destination = listen(V4).await;
    let (mut client, mut server) = fixture.relayed(&destination).await;
    expect_reset(&mut client).await;
    expect_reset(&mut server).await;
    fixture.handle.counted(Count::IdleTimeout, 1).await;
}

#[tokio::test]
async fn only_allowed_destinations_are_connected_to() {
    let fixture = Fixture::start(LIMITS);
    for destination in [
        "127.0.0.2:80",
        "[2001:db8::1]:80",
        "127.0.0.1:0",
        "0.0.0.0:80",
    ] {
        let mut client = fixture.connect().await;
        let header = tlv(destination.parse().unwrap());
        client.write_all(&header).await.unwrap();
        expect_reset(&mut client).await;
    }
    fixture.handle.counted(Count::NotAllowed, 4).await;
    assert_eq!(fixture.count(Count::Forwarded), 0);
}

#[tokio::test]
async fn what_is_allowed_can_change_without_touching_connections() {
    let fixture = Fixture::start(LIMITS);
    let destination = listen(V4).await;
    let (mut client, mut server) = fixture.relayed(&destination).await;
    fixture.handle.allow(Allowed::default());

    let mut refused = fixture.connect().await;
    let header = tlv(destination.local_addr().unwrap());
    refused.write_all(&header).await.unwrap();
    expect_reset(&mut refused).await;
    fixture.handle.counted(Count::NotAllowed, 1).await;

    client.write_all(b"still here").await.unwrap();
    expect(&mut server, b"still here").await;
}

#[tokio::test]
async fn a_destination_that_refuses_is_passed_on_as_a_reset() {
    let fixture = Fixture::start(LIMITS);
    // The socket is bound and does not listen, so nobody else can take the port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(V4, 0)).unwrap();
    let closed = tlv(socket.local_addr().unwrap());
    fixture.check_refused(&closed, Count::ConnectFailed).await;
}

#[tokio::test]
async fn a_connection_to_the_forwarder_itself_is_refused() {
    let fixture = Fixture::start(LIMITS);
    let header = tlv(fixture.address);
    fixture.check_refused(&header, Count::Loop).await;
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_one_to_end() {
    let fixture = Fixture::start(ConnectionLimits {
        connections: 1,
        ..LIMITS
    });
    let destination = listen(V4).await;
    let (first, server) = fixture.relayed(&destination).await;
    // The kernel has established the connection, and nobody has accepted it.
    let mut second = fixture.connect().await;
    let header = tlv(destination.local_addr().unwrap());
    second
        .write_all(&[&header, &b"late"[..]].concat())
        .await
        .unwrap();
    fixture.handle.counted(Count::Full, 1).await;
    assert_eq!(fixture.count(Count::Accepted), 1);

    drop((first, server));
    let (mut server, _) = destination.accept().await.unwrap();
    expect(&mut server, b"late").await;
    assert_eq!(fixture.count(Count::Accepted), 2);
}

#[tokio::test]
async fn stopping_lets_connections_end() {
    let fixture = Fixture::start(LIMITS);
    let destination = listen(V4).await;
    let (mut client, mut server) = fixture.relayed(&destination).await;
    fixture.handle.stop();
    client.write_all(b"last words").await.unwrap();
    expect(&mut server, b"last words").await;
    drop((client, server));
    assert_eq!(fixture.served.await.unwrap(), Ended::Drained);
    let refused = TcpStream::connect(fixture.address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let counters = fixture.handle.counters();
    let expected = [Count::Accepted, Count::Forwarded, Count::Finished].map(|count| (count, 1));
    assert_eq!(counters, BTreeMap::from(expected));
}

#[tokio::test]
async fn what_does_not_end_in_time_is_reset() {
    let fixture = Fixture::start(ConnectionLimits {
        grace: Duration::ZERO,
        ..LIMITS
    });
    let destination = listen(V4).await;
    let (mut client, mut server) = fixture.relayed(&destination).await;
    fixture.handle.stop();
    assert_eq!(fixture.served.await.unwrap(), Ended::Cut(1));
    expect_reset(&mut client).await;
    expect_reset(&mut server).await;
    assert_eq!(fixture.handle.counters()[&Count::Cut], 1);
}

#[tokio::test]
async fn a_second_request_to_stop_does_not_wait() {
    let fixture = Fixture::start(LIMITS);
    let destination = listen(V4).await;
    let (mut client, _server) = fixture.relayed(&destination).await;
    fixture.handle.stop();
    fixture.handle.stop_now();
    assert_eq!(fixture.served.await.unwrap(), Ended::Cut(1));
    expect_reset(&mut client).await;
}
