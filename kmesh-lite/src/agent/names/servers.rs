//! Who is asked.

use log::{info, warn};
use nix::net::if_::if_nametoindex;
use resolv_conf::{Config, ScopedIp};
use std::fs::Metadata;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const PORT: u16 = 53;
/// For an answer of a server that the file names.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often all servers are asked, one after the other.
const ATTEMPTS: u32 = 2;
/// No more of a file is read.
const LONGEST: u64 = 64 * 1024;
/// As many servers as glibc asks.
const MOST: usize = 3;
/// For so long one that was silent is asked after the others.
const REST: Duration = Duration::from_secs(10);

/// Servers in the order in which they are asked.
#[derive(Debug)]
pub struct Servers {
    pub all: Vec<SocketAddr>,
    pub patience: Duration,
    pub attempts: u32,
    /// Until when each is asked last, because it was silent.
    resting: Mutex<Vec<Option<Instant>>>,
}

impl PartialEq for Servers {
    /// Whether the same are asked in the same way.
    fn eq(&self, other: &Self) -> bool {
        (&self.all, self.patience, self.attempts) == (&other.all, other.patience, other.attempts)
    }
}

impl Servers {
    pub fn of(all: &[SocketAddr]) -> Self {
        Self {
            all: all.to_vec(),
            patience: PATIENCE,
            attempts: ATTEMPTS,
            resting: Mutex::default(),
        }
    }

    /// Those that answer in the order of the file, because they may not all know the same names; then those that were
    /// silent a moment ago. Each with its place.
    pub fn in_order(&self) -> Vec<(usize, SocketAddr)> {
        let (now, resting) = (Instant::now(), self.resting());
        let rests = |place: usize| resting.get(place).copied().flatten();
        let mut servers: Vec<_> = self.all.iter().copied().enumerate().collect();
        servers.sort_by_key(|(place, _)| rests(*place).is_some_and(|until| now < until));
        servers
    }

    /// The server at this place said something, or nothing.
    pub fn heard(&self, place: usize, something: bool) {
        let mut resting = self.resting();
        resting.resize(self.all.len(), None);
        resting[place] = (!something).then(|| Instant::now() + REST);
    }

    fn resting(&self) -> MutexGuard<'_, Vec<Option<Instant>>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a file was when it was read.
type Seen = (u64, u64, u64, i64, i64);

/// The host's resolv.conf, which is read anew when it changes.
pub struct ResolvConf {
    path: PathBuf,
    seen: Option<Seen>,
    known: Option<Arc<Servers>>,
    /// Why it could not be read, as was said.
    said: Option<String>,
}

impl ResolvConf {
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            seen: None,
            known: None,
            said: None,
        }
    }

    /// The servers that the file of the mesh names, or else those of the host.
    pub fn servers(&mut self, named: &[SocketAddr]) -> Arc<Servers> {
        if !named.is_empty() {
            let known = self.known.take_if(|known| known.all == named);
            let servers = known.unwrap_or_else(|| Arc::new(Servers::of(named)));
            (self.seen, self.known) = (None, Some(Arc::clone(&servers)));
            return servers;
        }
        let seen = std::fs::metadata(&self.path).ok().map(|it| seen(&it));
        if let Some(known) = &self.known
            && seen.is_some()
            && seen == self.seen
        {
            return Arc::clone(known);
        }
        let servers = match read(&self.path) {
            Ok(servers) => {
                self.said = None;
                servers
            }
            Err(error) => {
                let error = error.to_string();
                if self.said.as_ref() != Some(&error) {
                    let path = self.path.display();
                    warn!("cannot read {path}, so a resolver on this host is asked: {error}");
                    self.said = Some(error);
                }
                local()
            }
        };
        if self.known.as_deref() != Some(&servers) {
            let all: Vec<_> = servers.all.iter().map(ToString::to_string).collect();
            info!("names are asked of {}", all.join(", "));
        }
        let servers = Arc::new(servers);
        (self.seen, self.known) = (seen, Some(Arc::clone(&servers)));
        servers
    }
}

fn seen(file: &Metadata) -> Seen {
    (
        file.dev(),
        file.ino(),
        file.size(),
        file.mtime(),
        file.mtime_nsec(),
    )
}

/// As the C library has it where nothing is said.
fn local() -> Servers {
    Servers::of(&[(Ipv4Addr::LOCALHOST, PORT).into()])
}

fn read(path: &std::path::Path) -> io::Result<Servers> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open(path)?
        .take(LONGEST)
        .read_to_end(&mut text)?;
    Ok(parse(&text))
}

/// What is wrong in it is left out, as the C library does.
fn parse(text: &[u8]) -> Servers {
    let (config, _) = Config::parse_with_errors(text);
    let all: Vec<_> = config
        .nameservers
        .iter()
        .filter_map(socket)
        .take(MOST)
        .collect();
    if all.is_empty() {
        return local();
    }
    Servers {
        all,
        patience: Duration::from_secs(u64::from(config.timeout.clamp(1, 30))),
        attempts: config.attempts.clamp(1, 5),
        resting: Mutex::default(),
    }
}

fn socket(ip: &ScopedIp) -> Option<SocketAddr> {
    match ip {
        ScopedIp::V4(ip) => Some((IpAddr::from(*ip), PORT).into()),
        ScopedIp::V6(ip, None) => Some((IpAddr::from(*ip), PORT).into()),
        ScopedIp::V6(ip, Some(scope)) => {
            let number = scope.parse().ok();
            let scope = number.or_else(|| if_nametoindex(scope.as_str()).ok())?;
            Some(SocketAddrV6::new(*ip, PORT, 0, scope).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let servers = parse(text.as_bytes());
        servers.all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn servers_are_those_of_the_file_and_a_local_one_without_any() {
        assert_eq!(
            all("search a b\nnameserver 10.0.0.1\n# no\nnameserver fd00::1\nnonsense here\n"),
            ["10.0.0.1:53", "[fd00::1]:53"]
        );
        assert_eq!(all("nameserver fe80::1%1\n"), ["[fe80::1%1]:53"]);
        for text in ["", "nameserver\n", "nameserver x\n", "\u{0}\u{1}\n"] {
            assert_eq!(all(text), ["127.0.0.1:53"], "{text:?}");
        }
        let slow = parse(b"nameserver 10.0.0.1\noptions timeout:3 attempts:1\n");
        assert_eq!((slow.patience.as_secs(), slow.attempts), (3, 1));
    }

    #[test]
    fn a_file_that_changes_is_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let mut conf = ResolvConf::new(path.clone());
        assert_eq!(*conf.servers(&[]), local());
        std::fs::write(&path, "nameserver 10.0.0.1\n").unwrap();
        assert_eq!(conf.servers(&[]).all[0].to_string(), "10.0.0.1:53");
        let next = folder.path().join("next");
        std::fs::write(&next, "nameserver 10.0.0.2\n").unwrap();
        std::fs::rename(&next, &path).unwrap();
        assert_eq!(conf.servers(&[]).all[0].to_string(), "10.0.0.2:53");
        let named = "10.0.0.9:5353".parse().unwrap();
        assert_eq!(conf.servers(&[named]).all, [named]);
    }
}
