//! Descriptors that outlive this process: whoever supervises it keeps them, and hands them to the
//! next one.
//!
//! Each has a name that says what it is. Names are unique, so that one can be let go of alone:
//!
//! * `kmesh-link-ID`: a link that is switched to whatever programs are current
//! * `kmesh-kept-ID`: a link whose program stays what it is, for sockets that only it understands
//! * `kmesh-tables-VERSION-SET-MAP`, `kmesh-sockets-VERSION-SET-MAP`: a map of a set; a set is
//!   named by the id of its first map, so that a later one has a higher number

use super::object::ByName;
use super::{bpf, fault};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Keeps descriptors until it is told to let go, or the service is stopped.
///
/// Calls take effect in their order, also when this process ends meanwhile.
pub trait Store: Send + Sync {
    /// Keeps a descriptor under a name. The same one under a second name may be ignored.
    fn keep(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// Lets go of everything with this name.
    fn release(&self, name: &str) -> io::Result<()>;
}

/// Keeps nothing: every link and map ends with this process.
#[derive(Clone, Copy, Debug)]
pub struct NoStore;

impl Store for NoStore {
    fn keep(&self, _: &str, _: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    fn release(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
}

/// Two groups of maps with versions of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// What the mesh is turned into.
    Tables,
    /// The maps about sockets, old ones as well.
    Sockets,
}

impl Group {
    /// Versions that this process understands.
    pub fn version(self) -> u32 {
        match self {
            Self::Tables => {
                pretended("KMESH_LITE_LAYOUT").unwrap_or(kmesh_lite_common::LAYOUT_VERSION)
            }
            Self::Sockets => {
                pretended("KMESH_LITE_SOCKETS").unwrap_or(kmesh_lite_common::SOCKETS_VERSION)
            }
        }
    }
}

/// Tests tell a process to be one of another version.
#[cfg(feature = "faults")]
fn pretended(variable: &str) -> Option<u32> {
    std::env::var(variable).ok()?.parse().ok()
}

#[cfg(not(feature = "faults"))]
fn pretended(_: &str) -> Option<u32> {
    None
}

/// What a descriptor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    Link(u32),
    Kept(u32),
    Map {
        group: Group,
        version: u32,
        set: u32,
        map: String,
    },
}

impl Name {
    /// None for what is not ours.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.strip_prefix("kmesh-")?.split_once('-')?;
        let map = |group| {
            let mut parts = rest.splitn(3, '-');
            Some(Self::Map {
                group,
                version: parts.next()?.parse().ok()?,
                set: parts.next()?.parse().ok()?,
                map: parts.next()?.to_owned(),
            })
        };
        match kind {
            "link" => Some(Self::Link(rest.parse().ok()?)),
            "kept" => Some(Self::Kept(rest.parse().ok()?)),
            "tables" => map(Group::Tables),
            "sockets" => map(Group::Sockets),
            _ => None,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(id) => write!(f, "kmesh-link-{id}"),
            Self::Kept(id) => write!(f, "kmesh-kept-{id}"),
            Self::Map {
                group,
                version,
                set,
                map,
            } => {
                let group = match group {
                    Group::Tables => "tables",
                    Group::Sockets => "sockets",
                };
                write!(f, "kmesh-{group}-{version}-{set}-{map}")
            }
        }
    }
}

/// Keeps a descriptor; a failure costs nothing now, but the next process will not have it.
pub fn keep(store: &dyn Store, name: &Name, fd: BorrowedFd<'_>) {
    if let Err(error) = store.keep(&name.to_string(), fd) {
        log::warn!(
            "cannot keep `{name}` beyond this process, a restart will interrupt routing: {error}"
        );
    }
    fault::point();
}

/// Hands a whole group of maps to the store. Gives the names.
pub fn keep_group(store: &dyn Store, group: Group, maps: &ByName) -> Vec<Name> {
    let fds = || maps.values().map(AsFd::as_fd);
    let set = fds().filter_map(|fd| bpf::map_id(fd).ok()).min();
    let name = |map: &str| Name::Map {
        group,
        version: group.version(),
        set: set.unwrap_or_default(),
        map: map.to_owned(),
    };
    let names: Vec<_> = maps.keys().map(|map| name(map)).collect();
    for (name, fd) in names.iter().zip(fds()) {
        keep(store, name, fd);
    }
    names
}

/// Lets go of a descriptor.
pub fn release(store: &dyn Store, name: &Name) {
    if let Err(error) = store.release(&name.to_string()) {
        log::warn!("cannot let go of `{name}`: {error}");
    }
    fault::point();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_as_it_was_written() {
        let map = |group, map: &str| Name::Map {
            group,
            version: 3,
            set: 41,
            map: map.to_owned(),
        };
        for name in [
            Name::Link(7),
            Name::Kept(8),
            map(Group::Tables, "ADDRESS_IDS"),
            map(Group::Sockets, "ORIGINALS"),
        ] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
    }

    #[test]
    fn what_is_not_ours_has_no_name() {
        for text in [
            "",
            "stored",
            "kmesh",
            "kmesh-link",
            "kmesh-link-x",
            "kmesh-tables-3-MAP",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
