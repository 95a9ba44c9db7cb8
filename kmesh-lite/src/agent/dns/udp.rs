//! Questions in datagrams. An answer leaves from the address that was asked, also where the socket is at all addresses.

use super::server::{Said, Server};
use crate::api::Transport;
use log::debug;
use nix::cmsg_space;
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo, RcvBuf};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{self, IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::spawn_local;
use tokio::time::sleep;

/// No question is longer; what is longer is cut off, and no question.
const LONGEST: usize = 4_096;
/// What may wait while an answer is made. The kernel gives as much of it as the host allows.
const WAITING: usize = 4 << 20;
/// After an error of the socket, of which there may be more.
const PAUSE: Duration = Duration::from_millis(10);

pub fn bind(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = net::UdpSocket::bind(at)?;
    socket.set_nonblocking(true)?;
    if at.ip().is_unspecified() {
        match at.ip() {
            IpAddr::V4(_) => setsockopt(&socket, Ipv4PacketInfo, &true)?,
            // Clients of IPv4 have mapped addresses there.
            IpAddr::V6(_) => setsockopt(&socket, Ipv6RecvPacketInfo, &true)?,
        }
    }
    setsockopt(&socket, RcvBuf, &WAITING)?;
    UdpSocket::from_std(socket)
}

/// Answers for ever.
pub async fn serve(socket: UdpSocket, server: Rc<Server>) {
    let socket = Rc::new(socket);
    let mut receiver = Receiver::new();
    loop {
        let received = socket.async_io(Interest::READABLE, || receiver.receive(&socket));
        let from = match received.await {
            Ok(Some(from)) => from,
            Ok(None) => continue,
            Err(error) => {
                debug!(error:%; "cannot take questions");
                sleep(PAUSE).await;
                continue;
            }
        };
        match server.answer(receiver.bytes(&from), Transport::Udp, || from.client()) {
            Said::Bytes(bytes) => from.answer(&socket, &bytes).await,
            Said::Nothing => {}
            Said::Later(later) => {
                // The address is free when its listener has ended, whatever is under way.
                let (socket, server) = (Rc::downgrade(&socket), Rc::clone(&server));
                spawn_local(async move {
                    let bytes = server.ask_others(later).await;
                    if let Some(socket) = socket.upgrade() {
                        from.answer(&socket, &bytes).await;
                    }
                });
            }
        }
    }
}

/// The last datagram.
struct Receiver {
    buffer: Box<[u8; LONGEST]>,
    control: Vec<u8>,
}

/// Where a datagram came from, and to.
struct Received {
    length: usize,
    client: SockaddrStorage,
    asked: Option<AskedAt>,
}

/// The address that was asked.
#[derive(Clone, Copy)]
enum AskedAt {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

impl Receiver {
    fn new() -> Self {
        Self {
            buffer: Box::new([0; LONGEST]),
            control: cmsg_space!(in_pktinfo, in6_pktinfo),
        }
    }

    fn bytes(&self, from: &Received) -> &[u8] {
        &self.buffer[..from.length]
    }

    /// None of a datagram of nobody.
    fn receive(&mut self, socket: &UdpSocket) -> io::Result<Option<Received>> {
        let mut parts = [IoSliceMut::new(&mut self.buffer[..])];
        let (flags, control) = (MsgFlags::empty(), Some(&mut self.control[..]));
        let received = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, control, flags)?;
        let asked = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::Ipv4PacketInfo(asked) => Some(AskedAt::V4(asked)),
            ControlMessageOwned::Ipv6PacketInfo(asked) => Some(AskedAt::V6(asked)),
            _ => None,
        });
        let from = received.address.map(|client| Received {
            length: received.bytes,
            client,
            asked,
        });
        Ok(from)
    }
}

impl Received {
    fn client(&self) -> Option<SocketAddr> {
        let v4 = self.client.as_sockaddr_in().copied();
        let v6 = self.client.as_sockaddr_in6().copied();
        let v4 = v4.map(|at| SocketAddr::V4(at.into()));
        v4.or_else(|| Some(SocketAddr::V6(v6?.into())))
    }

    async fn answer(&self, socket: &UdpSocket, bytes: &[u8]) {
        let send = || self.send(socket, bytes);
        if let Err(error) = socket.async_io(Interest::WRITABLE, send).await {
            // The client asks again.
            debug!(error:%; "cannot answer a client");
        }
    }

    fn send(&self, socket: &UdpSocket, bytes: &[u8]) -> io::Result<()> {
        let parts = [IoSlice::new(bytes)];
        let (v4, v6);
        let asked = match self.asked {
            Some(AskedAt::V4(asked)) => {
                v4 = in_pktinfo {
                    // The way back is the kernel's choice.
                    ipi_ifindex: 0,
                    ipi_spec_dst: asked.ipi_addr,
                    ..asked
                };
                Some(ControlMessage::Ipv4PacketInfo(&v4))
            }
            Some(AskedAt::V6(asked)) => {
                v6 = asked;
                Some(ControlMessage::Ipv6PacketInfo(&v6))
            }
            None => None,
        };
        let (flags, to) = (MsgFlags::empty(), Some(&self.client));
        sendmsg(socket.as_raw_fd(), &parts, asked.as_slice(), flags, to)?;
        Ok(())
    }
}
