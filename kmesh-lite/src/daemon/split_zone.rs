//! Where the names of the mesh are answered, written down for units of the host that tell its resolver: a file of lines
//! `KEY=VALUE` in the runtime folder of the service, with one `domain` and a `server` for each listener. Without the
//! file, no resolver is to ask us.

use super::replace::replace;
use crate::api::Serving;
use log::{debug, error};
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const FILE: &str = "zone";

/// The file. Outside of a service there is none: a daemon that somebody tries changes nothing of the host.
#[derive(Debug, Default)]
pub struct SplitZone {
    path: Option<PathBuf>,
    /// What is written there.
    told: Option<String>,
}

impl SplitZone {
    /// What an earlier daemon wrote stays until it is known what holds now.
    pub fn new(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let told = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // What is there and cannot be read is like nothing that is wanted, so it is replaced or removed.
            text => Some(text.unwrap_or_default()),
        };
        Self {
            told,
            path: Some(path),
        }
    }

    /// Writes down where names are answered. What could not be written is tried again with the next pass.
    pub fn follow(&mut self, serving: Option<&Serving>) {
        let Some(path) = &self.path else { return };
        let wanted = serving.map(text);
        if wanted == self.told {
            return;
        }
        let written = match &wanted {
            Some(text) => replace(path, |file| {
                // No secret, and read by a unit that may not do all that root may.
                file.set_permissions(Permissions::from_mode(0o644))?;
                file.write_all(text.as_bytes())
            }),
            None => match fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            },
        };
        match written {
            Ok(()) => {
                debug!("{} says where names are answered", path.display());
                self.told = wanted;
            }
            Err(error) => error!(
                "cannot write {}, from which the host's resolver learns of the names of the mesh: {error}",
                path.display()
            ),
        }
    }
}

fn text(serving: &Serving) -> String {
    let mut text = format!("domain={}\n", serving.domain);
    for listen in &serving.listen {
        // Writing to a string does not fail.
        let _ = writeln!(text, "server={}", reached(*listen));
    }
    text
}

/// The address at which a program of this host reaches a listener.
fn reached(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::UpstreamOrder;

    fn serving(listen: &[&str]) -> Serving {
        Serving {
            listen: listen.iter().map(|at| at.parse().unwrap()).collect(),
            domain: "mesh".to_owned(),
            ttl_ms: 5_000,
            negative_ttl_ms: 5_000,
            upstreams: Vec::new(),
            order: UpstreamOrder::InOrder,
            timeout_ms: 1_000,
            attempts: 1,
            cache: 0,
            capture: false,
            trace: false,
        }
    }

    #[test]
    fn the_file_follows_what_is_served_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let read = || fs::read_to_string(folder.path().join(FILE)).ok();
        let mut zone = SplitZone::new(folder.path());
        zone.follow(None);
        assert_eq!(read(), None);
        zone.follow(Some(&serving(&["0.0.0.0:53", "[::]:53", "10.0.0.1:5353"])));
        let written = "domain=mesh\nserver=127.0.0.1:53\nserver=[::1]:53\nserver=10.0.0.1:5353\n";
        assert_eq!(read().as_deref(), Some(written));
        // The next daemon finds it, and takes it away where nothing is served any more.
        let mut next = SplitZone::new(folder.path());
        next.follow(None);
        assert_eq!(read(), None);
    }

    #[test]
    fn a_daemon_that_is_no_service_writes_nothing() {
        SplitZone::default().follow(Some(&serving(&["127.0.0.1:53"])));
    }
}
