//! The names of the mesh, as they are searched.

use super::key;
use crate::api::{Zone, ZoneRecords};
use hickory_proto::rr::Name;
use std::collections::HashMap;
use std::net::IpAddr;

/// Every name that there is, and the names above it.
pub struct Tree {
    revision: u64,
    /// Everything below it is ours.
    domain: Vec<u8>,
    nodes: HashMap<Box<[u8]>, Node>,
    /// How many names of the zone are no names of DNS.
    left_out: usize,
}

#[derive(Default)]
struct Node {
    /// None of a name that is only above others.
    held: Option<Held>,
    /// How many names with records are below it.
    below: u32,
}

/// What a name has.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Lists of equally good ones, the nearest first.
    pub addresses: Vec<Vec<IpAddr>>,
    pub services: Vec<Srv>,
    pub pointer: Option<Box<Name>>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: Name,
}

/// What is known of a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    Held(&'a Held),
    /// The top of the domain, and what it has besides.
    Apex(Option<&'a Held>),
    /// It is above others, and has nothing.
    Empty,
    /// It is ours, and there is none.
    Nothing,
    /// Others know.
    Foreign,
}

impl Tree {
    pub(super) fn empty(domain: &str) -> Self {
        let mut tree = Self {
            revision: 0,
            domain: Vec::new(),
            nodes: HashMap::new(),
            left_out: 0,
        };
        tree.belong_to(domain);
        tree
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn be_at(&mut self, revision: u64) {
        self.revision = revision;
    }

    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The memory of it, at least, in bytes.
    pub fn bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<(Box<[u8]>, Node)>()
    }

    /// From now on everything below `domain` is ours, whether there is one or not.
    pub fn belong_to(&mut self, domain: &str) {
        self.domain = key::read(domain).unwrap_or_default();
    }

    /// Takes over names that are other than before.
    pub fn change(&mut self, zone: Zone) {
        self.be_at(zone.revision);
        for (name, records) in zone.names {
            self.take(&name, records);
        }
    }

    /// Takes over one name.
    pub(super) fn take(&mut self, name: &str, records: Option<ZoneRecords>) {
        let key = key::read(name);
        let held = records.map(Held::new).transpose();
        match (key, held) {
            (Some(key), Ok(Some(held))) => self.put(key, held),
            (Some(key), Ok(None)) => self.remove(&key),
            (None, _) | (_, Err(())) => self.left_out += 1,
        }
    }

    fn put(&mut self, key: Vec<u8>, held: Held) {
        if let Some(node) = self.nodes.get_mut(&*key)
            && node.held.is_some()
        {
            node.held = Some(held);
            return;
        }
        for parent in key::parents(&key) {
            match self.nodes.get_mut(parent) {
                Some(node) => node.below += 1,
                None => {
                    let node = Node {
                        held: None,
                        below: 1,
                    };
                    self.nodes.insert(parent.into(), node);
                }
            }
        }
        self.nodes.entry(key.into()).or_default().held = Some(held);
    }

    fn remove(&mut self, key: &[u8]) {
        let Some(node) = self.nodes.get_mut(key) else {
            return;
        };
        if node.held.take().is_none() {
            return;
        }
        if node.below == 0 {
            self.nodes.remove(key);
        }
        for parent in key::parents(key) {
            let Some(node) = self.nodes.get_mut(parent) else {
                continue;
            };
            node.below -= 1;
            if node.below == 0 && node.held.is_none() {
                self.nodes.remove(parent);
            }
        }
    }

    /// As RFC 4592 has it: a wildcard counts for what is below the nearest name that there is.
    pub fn find(&self, key: &[u8]) -> Found<'_> {
        let node = self.nodes.get(key);
        let held = node.and_then(|node| node.held.as_ref());
        if key == self.domain {
            return Found::Apex(held);
        }
        if let Some(held) = held {
            return Found::Held(held);
        }
        if node.is_none() {
            let mut parents = key::parents(key);
            let encloser = parents.find(|parent| self.nodes.contains_key(*parent));
            if let Some(held) = encloser.and_then(|encloser| self.wildcard(encloser)) {
                return Found::Held(held);
            }
        }
        match (self.is_below(key), node) {
            (false, _) => Found::Foreign,
            (true, Some(_)) => Found::Empty,
            (true, None) => Found::Nothing,
        }
    }

    /// Whether only we say what a name is.
    pub fn is_ours(&self, key: &[u8]) -> bool {
        self.find(key) != Found::Foreign
    }

    pub fn is_in_domain(&self, key: &[u8]) -> bool {
        key::is_in(key, &self.domain)
    }

    /// Whether everything below a name above this one is ours.
    fn is_below(&self, key: &[u8]) -> bool {
        self.is_in_domain(key) || key::parents(key).any(|parent| self.wildcard(parent).is_some())
    }

    fn wildcard(&self, above: &[u8]) -> Option<&Held> {
        // Most names have nothing below them.
        self.nodes.get(above).filter(|node| node.below > 0)?;
        let mut key = Vec::with_capacity(above.len() + 2);
        key.extend_from_slice(b"\x01*");
        key.extend_from_slice(above);
        self.nodes.get(&*key)?.held.as_ref()
    }

    /// The name of the domain.
    pub fn apex(&self) -> Name {
        let mut labels = Vec::new();
        let mut rest = &self.domain[..];
        while let Some((length, more)) = rest.split_first() {
            let (label, more) = more.split_at(usize::from(*length).min(more.len()));
            labels.push(label);
            rest = more;
        }
        Name::from_labels(labels).unwrap_or_else(|_| Name::root())
    }
}

impl Held {
    fn new(records: ZoneRecords) -> Result<Self, ()> {
        let services = records.services.into_iter().map(|srv| {
            Ok(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: name(&srv.target)?,
            })
        });
        let pointer = records.pointer.as_deref().map(name).transpose()?;
        let mut addresses = records.addresses;
        // There may be a million of them.
        addresses.iter_mut().for_each(Vec::shrink_to_fit);
        addresses.shrink_to_fit();
        Ok(Self {
            addresses,
            services: services.collect::<Result<_, _>>()?,
            pointer: pointer.map(Box::new),
        })
    }
}

fn name(text: &str) -> Result<Name, ()> {
    key::read(text).ok_or(())?;
    Name::from_labels(text.split('.').map(str::as_bytes)).map_err(drop)
}
