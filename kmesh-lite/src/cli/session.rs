//! The SSH connection that somebody who types is at the end of.

use crate::api::Session;
use std::fs;
use std::net::{IpAddr, SocketAddr};

/// What sshd tells its sessions.
const VARIABLE: &str = "SSH_CONNECTION";
/// More ancestors than that no shell has.
const GENERATIONS: usize = 64;

/// That of this process. sudo takes the variable out of the environment; then the first ancestor that has it tells.
pub fn session() -> Option<Session> {
    if let Ok(text) = std::env::var(VARIABLE) {
        return parse(&text);
    }
    let mut pid = std::process::id();
    for _ in 0..GENERATIONS {
        pid = parent(pid)?;
        // Of another user it can be read by root.
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if let Some(text) = variable(&environment) {
            return parse(&text);
        }
    }
    None
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    let parent = parent.trim().parse().ok()?;
    (parent > 1).then_some(parent)
}

fn variable(environment: &[u8]) -> Option<String> {
    let mut entries = environment.split(|byte| *byte == 0);
    let value = entries.find_map(|entry| {
        let value = entry.strip_prefix(VARIABLE.as_bytes())?;
        value.strip_prefix(b"=")
    })?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// The client's address and port, and the server's.
fn parse(text: &str) -> Option<Session> {
    let mut words = text.split_whitespace();
    let mut end = || {
        // A link-local address has its interface, which a connection to this host need not be told by.
        let address = words.next()?.split('%').next()?;
        let address: IpAddr = address.parse().ok()?;
        let port = words.next()?.parse().ok()?;
        Some(SocketAddr::new(address.to_canonical(), port))
    };
    let (peer, local) = (end()?, end()?);
    Some(Session { local, peer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_told() {
        let session = |local: &str, peer: &str| {
            Some(Session {
                local: local.parse().unwrap(),
                peer: peer.parse().unwrap(),
            })
        };
        assert_eq!(
            parse("10.0.0.7 50122 10.0.0.5 2222"),
            session("10.0.0.5:2222", "10.0.0.7:50122")
        );
        assert_eq!(
            parse("fe80::7%eth0 50122 fe80::5%eth0 22"),
            session("[fe80::5]:22", "[fe80::7]:50122")
        );
        assert_eq!(parse("10.0.0.7 50122 10.0.0.5"), None);
        assert_eq!(parse("somewhere else"), None);
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let environment = b"MY_SSH_CONNECTION=no\0SSH_CONNECTION=a b\0HOME=/\0";
        assert_eq!(variable(environment).as_deref(), Some("a b"));
        assert_eq!(variable(b"SSH_CONNECTIONS=no\0"), None);
    }
}
