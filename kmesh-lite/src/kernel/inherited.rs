//! What an earlier process left, sorted: nothing here changes the kernel.
//!
//! In: descriptors with names, in any order, some of them missing or not ours. Out: links, and the
//! newest set of maps that is whole and of our version; the names of everything else.

use super::bpf::{self, LinkAbout};
use super::object::{ByName, SOCKETS, TABLES};
use super::store::{Group, Name};
use crate::hooks::{Anchor, HOOKS, Hook};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

/// Descriptors by the names they were kept under.
pub type Descriptors = Vec<(String, OwnedFd)>;

/// What can be used, and what cannot.
#[derive(Debug, Default)]
pub struct Inherited {
    pub links: Vec<InheritedLink>,
    pub tables: Option<Set>,
    pub sockets: Option<Set>,
    /// Tables of no use: of other versions, of sets that are not whole, older ones.
    pub superseded: Vec<Name>,
    /// Names of ours on something else.
    pub foreign: Vec<Name>,
}

/// A link to a program of an earlier process.
#[derive(Debug)]
pub struct InheritedLink {
    /// The number of the link in the kernel.
    pub id: u32,
    pub name: Name,
    pub hook: &'static Hook,
    /// Inode of the cgroup's folder or the namespace's file; 0 when it is gone.
    pub target: u64,
    pub fd: OwnedFd,
}

/// All maps of a group.
#[derive(Debug)]
pub struct Set {
    pub maps: ByName,
    pub names: Vec<Name>,
}

type Sets = BTreeMap<(Group, u32, u32), BTreeMap<String, (Name, OwnedFd)>>;

impl Inherited {
    pub fn sort(descriptors: Descriptors) -> Self {
        let mut inherited = Self::default();
        let mut sets = Sets::new();
        for (text, fd) in descriptors {
            let Some(name) = Name::parse(&text) else {
                log::warn!("descriptor `{text}` was passed to us and is not ours: left alone");
                continue;
            };
            match &name {
                Name::Link(_) | Name::Kept(_) => match bpf::attached(fd.as_fd()).map(link) {
                    Ok(Some((hook, attached))) => inherited.links.push(InheritedLink {
                        id: attached.id,
                        name,
                        hook,
                        target: attached.target,
                        fd,
                    }),
                    Ok(None) => inherited.foreign(name, &"no hook of ours"),
                    Err(error) => inherited.foreign(name, &error),
                },
                Name::Map {
                    group,
                    version,
                    set,
                    map,
                } => match bpf::expect_kind(fd.as_fd(), "bpf-map") {
                    Ok(()) => {
                        let set = sets.entry((*group, *version, *set)).or_default();
                        set.insert(map.clone(), (name, fd));
                    }
                    Err(error) => inherited.foreign(name, &error),
                },
            }
        }
        inherited.choose(sets);
        inherited
    }

    /// Leaves the maps to the programs that run on them.
    pub fn give_up_maps(&mut self) {
        let tables = self.tables.take().map(|set| set.names);
        self.superseded.extend(tables.into_iter().flatten());
        self.sockets = None;
    }

    fn foreign(&mut self, name: Name, why: &dyn std::fmt::Display) {
        log::warn!("descriptor `{name}` cannot be used: {why}");
        self.foreign.push(name);
    }

    /// Takes the newest whole set of our version of each group: it was filled before it was kept.
    fn choose(&mut self, sets: Sets) {
        for ((group, version, number), maps) in sets.into_iter().rev() {
            let (chosen, wanted) = match group {
                Group::Tables => (&mut self.tables, &TABLES[..]),
                Group::Sockets => (&mut self.sockets, &SOCKETS[..]),
            };
            let ours = version == group.version();
            let whole = wanted.iter().all(|name| maps.contains_key(*name));
            if ours && !whole {
                let missing: Vec<_> = wanted
                    .iter()
                    .filter(|name| !maps.contains_key(**name))
                    .copied()
                    .collect();
                log::warn!("set {number} of maps lacks {}", missing.join(", "));
            }
            if !ours || !whole || chosen.is_some() {
                // Maps about sockets stay, because old programs still use them: a socket map that nobody
                // holds loses the program that puts headers before what its sockets send.
                if group == Group::Tables {
                    let names = maps.into_values().map(|(name, _)| name);
                    self.superseded.extend(names);
                }
                continue;
            }
            let mut set = Set {
                maps: ByName::new(),
                names: Vec::new(),
            };
            for (map, (name, fd)) in maps {
                if let Some(known) = wanted.iter().find(|known| **known == map) {
                    set.maps.insert(known, fd);
                }
                set.names.push(name);
            }
            *chosen = Some(set);
        }
    }
}

fn link(attached: LinkAbout) -> Option<(&'static Hook, LinkAbout)> {
    let hook = HOOKS.iter().find(|hook| {
        hook.anchor != Anchor::PendingSockets && hook.attach_type == attached.attach_type
    })?;
    Some((hook, attached))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn what_is_not_a_bpf_object_is_never_used() {
        let file = || OwnedFd::from(File::open("/dev/null").unwrap());
        let names = [
            "kmesh-link-1",
            "kmesh-kept-2",
            "kmesh-tables-3-4-SETTINGS",
            "web.socket",
        ];
        let left = names.map(|name| (name.to_owned(), file()));
        let inherited = Inherited::sort(left.into());
        assert!(inherited.links.is_empty());
        assert!(inherited.tables.is_none() && inherited.sockets.is_none());
        let foreign: Vec<_> = inherited.foreign.iter().map(Name::to_string).collect();
        assert_eq!(foreign, names[..3]);
    }
}
