//! Sockets of the daemon's own network namespace, as the kernel lists and ends them (NETLINK_SOCK_DIAG).

use kmesh_lite_common::Protocol;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// From linux/sock_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
/// The lengths of `struct nlmsghdr`, and of the parts of `struct inet_diag_req_v2` and `struct inet_diag_msg` before
/// the identity of the socket, which both have. What follows it in the latter is for who asks.
const HEADER: usize = 16;
const BEFORE_IDENTITY: [usize; 2] = [8, 4];
/// `struct inet_diag_sockid`: ports, addresses, interface, and the cookie at its end.
const IDENTITY: usize = 48;
const OWN: usize = 4;
const PEER: usize = 20;
const COOKIE: usize = 40;
const EVERY_STATE: u32 = u32::MAX;
/// States of linux/tcp_states.h, as bits.
const ESTABLISHED: u32 = 1 << 1;

/// A socket as the kernel lists it: its addresses, its interface and its cookie. A socket that has another address
/// by now, or another cookie, is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    family: u8,
    protocol: Protocol,
    identity: [u8; IDENTITY],
}

impl Listed {
    pub fn cookie(&self) -> u64 {
        // Two words, the lower one first.
        let word = |at: usize| u32::from_ne_bytes(self.identity[at..at + 4].try_into().expect("4"));
        u64::from(word(COOKIE)) | u64::from(word(COOKIE + 4)) << 32
    }
}

impl Listed {
    /// The address that it is connected to.
    pub fn peer(&self) -> IpAddr {
        self.address(PEER)
    }

    /// Its own address and port.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.address(OWN), self.port(0))
    }

    /// Those that it is connected to.
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.peer(), self.port(2))
    }

    fn port(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.identity[at], self.identity[at + 1]])
    }

    fn address(&self, at: usize) -> IpAddr {
        let bytes = &self.identity[at..at + 16];
        if i32::from(self.family) == libc::AF_INET {
            let v4: [u8; 4] = bytes[..4].try_into().expect("4");
            return v4.into();
        }
        let v6: [u8; 16] = bytes.try_into().expect("16");
        IpAddr::from(v6).to_canonical()
    }
}

/// Asks the kernel about sockets.
pub struct SockDiag {
    netlink: OwnedFd,
    buffer: Vec<u8>,
}

impl SockDiag {
    pub fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            // SAFETY: a new descriptor that nobody else owns.
            netlink: unsafe { OwnedFd::from_raw_fd(fd) },
            buffer: vec![0; 64 * 1024],
        })
    }

    /// The sockets with these cookies, of one protocol and both families. A socket that neither connects nor is
    /// connected is not among them.
    pub fn find(&mut self, protocol: Protocol, cookies: &BTreeSet<u64>) -> io::Result<Vec<Listed>> {
        let mut found = Vec::new();
        self.dump(protocol, EVERY_STATE, None, |listed, _| {
            found.extend(cookies.contains(&listed.cookie()).then_some(listed));
        })?;
        Ok(found)
    }

    /// Hands on the sockets of a protocol that are in one of these states, at one port of this host or at all, each with
    /// what the kernel says of it behind its identity.
    pub(super) fn dump(
        &mut self,
        protocol: Protocol,
        states: u32,
        port: Option<u16>,
        mut hand_on: impl FnMut(Listed, &[u8]),
    ) -> io::Result<()> {
        let mut identity = [0; IDENTITY];
        // The kernel compares it, where it is not 0.
        identity[..2].copy_from_slice(&port.unwrap_or(0).to_be_bytes());
        for family in [libc::AF_INET, libc::AF_INET6] {
            let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
            let asked = Listed {
                family: family as u8,
                protocol,
                identity,
            };
            self.send(SOCK_DIAG_BY_FAMILY, flags, &asked, states)?;
            let mut take = |kind, body: &[u8]| {
                if kind == SOCK_DIAG_BY_FAMILY
                    && let Some(rest) = body.get(BEFORE_IDENTITY[1]..)
                    && let Some((identity, rest)) = rest.split_first_chunk()
                {
                    let listed = Listed {
                        family: body[0],
                        identity: *identity,
                        ..asked
                    };
                    hand_on(listed, rest);
                }
            };
            loop {
                match self.receive(&mut take) {
                    Ok(true) => {}
                    Ok(false) => break,
                    // A kernel without udp_diag has no list of datagram sockets.
                    Err(error) if protocol == Protocol::Udp && is_none(&error) => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Connections over TCP that stand, of both families, and have this port here: their own address, and that of the peer.
    pub fn established(&mut self, port: u16) -> io::Result<Vec<(SocketAddr, SocketAddr)>> {
        let mut found = Vec::new();
        self.dump(Protocol::Tcp, ESTABLISHED, Some(port), |listed, _| {
            found.push((listed.local(), listed.remote()));
        })?;
        Ok(found)
    }

    /// Ends a socket: TCP with a reset, and whoever waits for it gets ECONNABORTED. False if it is not there any
    /// more with these addresses and this cookie.
    pub fn destroy(&mut self, socket: &Listed) -> io::Result<bool> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
        self.send(SOCK_DESTROY, flags, socket, EVERY_STATE)?;
        match self.receive(|_, _| {}) {
            Ok(_) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT | libc::ESTALE) => Ok(false),
                _ => Err(error),
            },
        }
    }

    fn send(&self, kind: u16, flags: libc::c_int, socket: &Listed, states: u32) -> io::Result<()> {
        const LENGTH: usize = HEADER + BEFORE_IDENTITY[0] + IDENTITY;
        let protocol = match socket.protocol {
            Protocol::Udp => libc::IPPROTO_UDP,
            _ => libc::IPPROTO_TCP,
        };
        let mut message = Vec::with_capacity(LENGTH);
        message.extend((LENGTH as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((flags as u16).to_ne_bytes());
        // Sequence number and sender, which nobody asks for.
        message.extend([0; 8]);
        message.extend([socket.family, protocol as u8, 0, 0]);
        message.extend(states.to_ne_bytes());
        message.extend(socket.identity);
        // SAFETY: the message is as long as we say.
        let sent = unsafe {
            libc::send(
                self.netlink.as_raw_fd(),
                message.as_ptr().cast(),
                message.len(),
                0,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Hands on the messages that come together. Whether more are to follow.
    fn receive(&mut self, mut message: impl FnMut(u16, &[u8])) -> io::Result<bool> {
        // SAFETY: the buffer is as long as we say.
        let length = unsafe {
            libc::recv(
                self.netlink.as_raw_fd(),
                self.buffer.as_mut_ptr().cast(),
                self.buffer.len(),
                0,
            )
        };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        let mut rest = &self.buffer[..length];
        while let Some((kind, body, after)) = split(rest) {
            match i32::from(kind) {
                // Both begin with what went wrong: a list also ends where it could not begin.
                libc::NLMSG_DONE | libc::NLMSG_ERROR => {
                    let code = body
                        .first_chunk()
                        .map_or(0, |code| i32::from_ne_bytes(*code));
                    return match code {
                        0 => Ok(false),
                        code => Err(io::Error::from_raw_os_error(-code)),
                    };
                }
                _ => message(kind, body),
            }
            rest = after;
        }
        Ok(true)
    }
}

fn is_none(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOENT)
}

/// The first message: its kind and its body, and what follows it.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    let next = length.next_multiple_of(4).min(bytes.len());
    Some((kind, body, &bytes[next..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn connections_that_stand_are_listed_by_their_port_on_this_host() {
        for listen in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(listen).unwrap();
            let port = listener.local_addr().unwrap().port();
            let mut kernel = SockDiag::open().unwrap();
            // One that listens does not count.
            assert_eq!(kernel.established(port).unwrap(), []);
            let to = match listen {
                "[::1]:0" => SocketAddr::new(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), port),
                _ => SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port),
            };
            let client = TcpStream::connect(to).unwrap();
            let _accepted = listener.accept().unwrap();
            let ends = (to, client.local_addr().unwrap());
            assert_eq!(kernel.established(port).unwrap(), [ends], "{listen}");
            let other = ends.1.port();
            assert_eq!(kernel.established(other).unwrap(), [(ends.1, to)]);
        }
    }
}
