//! Ways to send datagrams without a connection: many in a call, many in a buffer, with control messages, by asyncio.

use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::require;
use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6,
    SockaddrStorage, recvmsg, sendmmsg, sendmsg, setsockopt, sockopt,
};
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::Duration;

const MESH: &str = r#"
    [services.names]
    vips = ["10.96.0.53"]
    ports = ["53:5353/udp"]
    endpoints = ["127.0.0.2"]

    [services.time]
    vips = ["10.96.0.123"]
    ports = ["53:5353/udp"]
    endpoints = ["127.0.0.3"]

    [services.six]
    vips = ["fd00:96::54"]
    ports = ["53:5353/udp"]
    endpoints = ["::1"]
"#;

const NAMES: &str = "10.96.0.53:53";
const TIME: &str = "10.96.0.123:53";
const SIX: &str = "[fd00:96::54]:53";

fn v4(text: &str) -> SockaddrIn {
    match address(text) {
        SocketAddr::V4(it) => it.into(),
        SocketAddr::V6(_) => panic!("{text} is of IPv4"),
    }
}

fn v6(text: &str) -> SockaddrIn6 {
    match address(text) {
        SocketAddr::V6(it) => it.into(),
        SocketAddr::V4(_) => panic!("{text} is of IPv6"),
    }
}

/// Who has sent what waits in a socket, by recvmsg().
fn sender(client: &Client) -> SocketAddr {
    let mut bytes = [0; 64];
    let mut into = [IoSliceMut::new(&mut bytes)];
    let fd = client.socket().as_raw_fd();
    let message = recvmsg::<SockaddrStorage>(fd, &mut into, None, MsgFlags::empty());
    let from = message.expect("an answer").address.expect("a sender");
    let four = from.as_sockaddr_in().map(|it| SocketAddr::V4((*it).into()));
    let six = || {
        from.as_sockaddr_in6()
            .map(|it| SocketAddr::V6((*it).into()))
    };
    four.or_else(six).expect("an IP address")
}

#[test]
fn one_call_sends_to_several_services_and_to_others() {
    let Some(host) = Host::new() else { return };
    let _mesh = host.run(MESH);
    let _backends = ["127.0.0.2:5353", "127.0.0.3:5353", "127.0.0.4:5353"].map(Echo::udp);
    let client = Client::udp4();
    let to = [NAMES, "127.0.0.4:5353", TIME, NAMES].map(|it| Some(v4(it)));
    let bytes = [IoSlice::new(b"who?")];
    let messages = [[bytes[0]]; 4];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(4, None);
    let flags = MsgFlags::from_bits_retain(libc::MSG_CONFIRM);
    let sent = sendmmsg(
        client.socket().as_raw_fd(),
        &mut headers,
        &messages,
        to,
        [],
        flags,
    );
    assert_eq!(sent.expect("sendmmsg").count(), 4);
    let mut from: Vec<_> = (0..4).map(|_| sender(&client)).collect();
    from.sort();
    let mut expected = [NAMES, NAMES, TIME, "127.0.0.4:5353"].map(address);
    expected.sort();
    assert_eq!(from, expected);
}

/// One send of a large buffer, which the kernel cuts (UDP_SEGMENT), as programs that speak QUIC do.
#[test]
fn a_buffer_that_the_kernel_cuts_goes_to_one_endpoint() {
    let Some(host) = Host::new() else { return };
    let _mesh = host.run(MESH);
    let servers = ["127.0.0.2:5353", "[::1]:5353"].map(|at| {
        let server = UdpSocket::bind(at).unwrap();
        let patience = Some(Duration::from_secs(10));
        server.set_read_timeout(patience).unwrap();
        server
    });
    let bytes = [7; 5 * 200];
    let pieces = [IoSlice::new(&bytes)];
    let size = 200;
    let segments = [ControlMessage::UdpGsoSegments(&size)];
    let (none, flags) = ([], MsgFlags::empty());
    let (four, six) = (Client::udp4(), Client::udp6());
    for by_option in [false, true] {
        let control: &[_] = if by_option { &none } else { &segments };
        if by_option {
            for client in [&four, &six] {
                setsockopt(client.socket(), sockopt::UdpGsoSegment, &200).unwrap();
            }
        }
        let fd = four.socket().as_raw_fd();
        let sent = sendmsg(fd, &pieces, control, flags, Some(&v4(NAMES)));
        assert_eq!(sent, Ok(1000));
        let fd = six.socket().as_raw_fd();
        let sent = sendmsg(fd, &pieces, control, flags, Some(&v6(SIX)));
        assert_eq!(sent, Ok(1000));
        for server in &servers {
            for _ in 0..5 {
                assert_eq!(server.recv_from(&mut [0; 1500]).unwrap().0, 200);
            }
        }
    }
    // A connected socket names no address, and has no less control messages.
    let client = Client::udp4();
    assert_eq!(client.connect(NAMES), Ok(()));
    let fd = client.socket().as_raw_fd();
    let sent = sendmsg::<()>(fd, &pieces, &segments, flags, None);
    assert_eq!(sent, Ok(1000));
    for _ in 0..5 {
        assert_eq!(servers[0].recv_from(&mut [0; 1500]).unwrap().0, 200);
    }
}

/// A server with several addresses says which of them answers (IP_PKTINFO), and a client which one it asks from.
#[test]
fn the_source_that_a_control_message_names_stays() {
    let Some(host) = Host::new() else { return };
    let _mesh = host.run(MESH);
    let server = UdpSocket::bind("127.0.0.2:5353").unwrap();
    let patience = Some(Duration::from_secs(10));
    server.set_read_timeout(patience).unwrap();
    let client = Client::udp4();
    setsockopt(client.socket(), sockopt::Ipv4PacketInfo, &true).unwrap();
    let from = Ipv4Addr::new(127, 0, 0, 77);
    let information = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr {
            s_addr: u32::from(from).to_be(),
        },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let fd = client.socket().as_raw_fd();
    let control = [ControlMessage::Ipv4PacketInfo(&information)];
    let bytes = [IoSlice::new(b"who?")];
    let sent = sendmsg(
        fd,
        &bytes,
        &control,
        MsgFlags::from_bits_retain(libc::MSG_CONFIRM),
        Some(&v4(NAMES)),
    );
    assert_eq!(sent, Ok(4));
    let (_, source) = server.recv_from(&mut [0; 64]).unwrap();
    assert_eq!(source.ip(), from);
    server.send_to(b"me", source).unwrap();
    let mut bytes = [0; 64];
    let mut into = [IoSliceMut::new(&mut bytes)];
    let mut space = cmsg_space!(libc::in_pktinfo);
    let message = recvmsg::<SockaddrIn>(fd, &mut into, Some(&mut space), MsgFlags::empty());
    let message = message.unwrap();
    let sender = message.address.expect("a sender");
    assert_eq!(SocketAddr::V4(SocketAddrV4::from(sender)), address(NAMES));
    let arrived = message.cmsgs().unwrap().find_map(|it| match it {
        ControlMessageOwned::Ipv4PacketInfo(it) => Some(it.ipi_addr.s_addr),
        _ => None,
    });
    assert_eq!(arrived, Some(u32::from(from).to_be()));
}

#[test]
fn asyncio_gets_answers_from_the_addresses_that_it_asked() {
    let Some(host) = Host::new() else { return };
    if !require::programs(&["python3"]) {
        return;
    }
    let _mesh = host.run(MESH);
    let _backends = ["127.0.0.2:5353", "127.0.0.3:5353"].map(Echo::udp);
    let script = r#"
import asyncio

class Answers(asyncio.DatagramProtocol):
    def __init__(self):
        self.answers = asyncio.Queue()
    def datagram_received(self, data, sender):
        self.answers.put_nowait((sender[0], sender[1], data.decode()))
    def error_received(self, error):
        self.answers.put_nowait(error)

async def main():
    loop = asyncio.get_running_loop()
    transport, answers = await loop.create_datagram_endpoint(Answers, local_addr=("0.0.0.0", 0))
    for to in ("10.96.0.53", "10.96.0.123", "10.96.0.53"):
        transport.sendto(b"who?", (to, 53))
        print(*await asyncio.wait_for(answers.answers.get(), 10))
    transport.sendto(b"who?", ("10.96.0.53", 54))
    print(await asyncio.wait_for(answers.answers.get(), 10))

asyncio.run(main())
"#;
    let output = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::null())
        .output()
        .expect("python3");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "10.96.0.53 53 127.0.0.2:5353",
            "10.96.0.123 53 127.0.0.3:5353",
            "10.96.0.53 53 127.0.0.2:5353",
            "[Errno 111] Connection refused",
        ]
    );
}
