//! Connections that stand in the daemon's own network namespace, as the kernel lists its sockets: those that have
//! arrived, and those that programs of this host made.

use super::sock_diag::SockDiag;
use kmesh_lite_common::Protocol;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

/// States of linux/tcp_states.h, as bits. A connection of which one side has ended still carries what the other sends.
const ESTABLISHED: u32 = 1 << 1;
const SYN_SENT: u32 = 1 << 2;
const FIN_WAIT: u32 = 1 << 4 | 1 << 5;
const CLOSE_WAIT: u32 = 1 << 8;
const LISTEN: u32 = 1 << 10;
const OPEN: u32 = ESTABLISHED | FIN_WAIT | CLOSE_WAIT;

/// Words of `struct inet_diag_msg` behind the identity: expires, rqueue, wqueue, uid and inode. Attributes follow.
const USER: usize = 12;
const INODE: usize = 16;
const ATTRIBUTES: usize = 20;
/// From linux/inet_diag.h, since Linux 5.8: 64 bits.
const INET_DIAG_CGROUP_ID: u16 = 21;
/// From linux/netlink.h: length and type, and the bits of the type that are none.
const ATTRIBUTE: usize = 4;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// A connection that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub local: SocketAddr,
    /// Where it came from.
    pub remote: SocketAddr,
    /// SO_COOKIE of the socket.
    pub cookie: u64,
}

/// A connection that a program of this host made, or begins to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    pub protocol: Protocol,
    /// What its socket is connected to.
    pub remote: SocketAddr,
    /// SO_COOKIE of the socket.
    pub cookie: u64,
    /// The cgroup of the program that made the socket. None where the kernel does not say.
    pub cgroup: Option<u64>,
    /// Its user.
    pub user: u32,
}

impl SockDiag {
    /// Connections over TCP that stand, of both families, at ports at which somebody listens: they have arrived.
    pub fn accepted(&mut self) -> io::Result<Vec<Accepted>> {
        let listening = self.listening()?;
        let mut found = Vec::new();
        if listening.is_empty() {
            return Ok(found);
        }
        self.dump(Protocol::Tcp, OPEN, None, |listed, rest| {
            let local = listed.local();
            let is_meant = listening.contains(&local.port()) && is_held(rest);
            found.extend(is_meant.then(|| Accepted {
                local,
                remote: listed.remote(),
                cookie: listed.cookie(),
            }));
        })?;
        Ok(found)
    }

    /// Connections over TCP that stand or begin, of both families, at ports at which nobody listens, and datagram sockets
    /// that are connected: programs of this host made them.
    pub fn made(&mut self) -> io::Result<Vec<Made>> {
        let listening = self.listening()?;
        let mut found = Vec::new();
        for (protocol, states) in [
            (Protocol::Tcp, OPEN | SYN_SENT),
            (Protocol::Udp, ESTABLISHED),
        ] {
            self.dump(protocol, states, None, |listed, rest| {
                let has_arrived =
                    protocol == Protocol::Tcp && listening.contains(&listed.local().port());
                let user = word(rest, USER).filter(|_| is_held(rest) && !has_arrived);
                found.extend(user.map(|user| Made {
                    protocol,
                    remote: listed.remote(),
                    cookie: listed.cookie(),
                    cgroup: cgroup(rest),
                    user,
                }));
            })?;
        }
        Ok(found)
    }

    /// Ports at which somebody listens.
    fn listening(&mut self) -> io::Result<BTreeSet<u16>> {
        let mut listening = BTreeSet::new();
        self.dump(Protocol::Tcp, LISTEN, None, |listed, _| {
            listening.insert(listed.local().port());
        })?;
        Ok(listening)
    }
}

/// Whether a program holds the socket: it is a file then.
fn is_held(rest: &[u8]) -> bool {
    word(rest, INODE).is_some_and(|inode| inode != 0)
}

fn word(rest: &[u8], at: usize) -> Option<u32> {
    let bytes = rest.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

/// What the attribute with the id of the cgroup says.
fn cgroup(rest: &[u8]) -> Option<u64> {
    let mut attributes = rest.get(ATTRIBUTES..)?;
    loop {
        let (head, _) = attributes.split_first_chunk::<ATTRIBUTE>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & NLA_TYPE_MASK;
        let value = attributes.get(ATTRIBUTE..length)?;
        if kind == INET_DIAG_CGROUP_ID {
            return Some(u64::from_ne_bytes(*value.first_chunk()?));
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn what_was_accepted_is_told_and_not_what_was_made_from_here() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                eprintln!("skipped: no {address} on this host");
                continue;
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, remote) = listener.accept().unwrap();
            let local = server.local_addr().unwrap();
            let accepted = SockDiag::open().unwrap().accepted().unwrap();
            let here = accepted.iter().filter(|it| it.local == local);
            let here: Vec<_> = here.map(|it| it.remote).collect();
            assert_eq!(here, [remote]);
            let made = client.local_addr().unwrap();
            assert!(accepted.iter().all(|it| it.local != made), "{accepted:?}");
        }
    }

    #[test]
    fn what_was_made_from_here_is_told_with_its_cgroup_and_user() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let stream = TcpStream::connect(to).unwrap();
        // One side has ended, and the other may go on.
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _server = listener.accept().unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        datagrams.connect(to).unwrap();
        let made = SockDiag::open().unwrap().made().unwrap();
        let there: Vec<_> = made.iter().filter(|it| it.remote == to).collect();
        let protocols: Vec<_> = there.iter().map(|it| it.protocol).collect();
        assert_eq!(protocols, [Protocol::Tcp, Protocol::Udp]);
        for it in there {
            assert_eq!(it.user, nix::unistd::getuid().as_raw());
            // Kernels before 5.8 do not tell.
            assert_ne!(it.cgroup, Some(0), "{it:?}");
        }
    }
}
