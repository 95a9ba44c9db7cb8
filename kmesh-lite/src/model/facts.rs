//! Facts: true of this host at the moment, and the desired tables depend on them.

use super::{CgroupRef, Endpoint, Name, PortMapping, Protocol, Service};
use imbl::OrdMap;
use kmesh_lite_common::EndpointId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Run-time input of a pass, beside the mesh. Facts are gathered once a pass, in `host`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Addresses of this host's interfaces. A service may take one over: undeclared ports pass.
    pub own_addresses: BTreeSet<IpAddr>,
    /// Cgroups by the names that the mesh has for them. A unit may have none, or several.
    pub cgroups: BTreeMap<CgroupRef, Vec<Cgroup>>,
    /// How endpoints stand that are not as the mesh says, by service. One that no mesh has may be named.
    pub standings: OrdMap<Name, Arc<Standings>>,
    /// Numbers of users and groups by name.
    pub users: BTreeMap<String, u32>,
    pub groups: BTreeMap<String, u32>,
    /// Network namespaces in which connections arrive that policies may be about, this process's own first.
    pub namespaces: Vec<Namespace>,
    /// Endpoints that have departed. Their ids stand for nobody else, and for them where they come back.
    pub departed: DepartedIds,
}

/// Ids of departed endpoints. They are kept in order that whoever comes back is counted on, and not anew.
pub type DepartedIds = BTreeMap<DepartedKey, EndpointId>;

/// What a departed endpoint is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DepartedKey {
    pub service: String,
    /// The backend's address.
    pub address: IpAddr,
    pub ports: OwnPorts,
}

/// Ports of the service behind which an endpoint has its own, with that port.
pub type OwnPorts = BTreeMap<(u16, Protocol), u16>;

/// Of one service.
pub type Standings = BTreeMap<Membership, Standing>;

/// How an endpoint stands at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Why it takes no new connections, if it takes none.
    pub down: Option<Down>,
    /// In place of the weight that the mesh says.
    pub weight: Option<u32>,
    /// Of its weight, in percent, from 1 to [`Standing::WHOLE`]: less while it comes back slowly.
    pub share: u8,
}

/// Why an endpoint takes no new connections. What the operator says goes before what probes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Down {
    /// By the operator.
    Drain,
    /// By the operator.
    Maintenance,
    /// Probes fail.
    Unhealthy,
    /// Connections fail.
    Ejected,
}

impl Down {
    /// Whether the operator wants it so.
    pub const fn is_meant(self) -> bool {
        matches!(self, Self::Drain | Self::Maintenance)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "draining",
            Self::Maintenance => "maintenance",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
        }
    }
}

impl Standing {
    /// A share that is all of a weight.
    pub const WHOLE: u8 = 100;

    /// Whether an endpoint takes new connections that has this weight in the mesh.
    pub fn takes(&self, weight: u32) -> bool {
        self.down.is_none() && self.weight.unwrap_or(weight) > 0
    }

    /// Of an endpoint that is down.
    pub const fn down(why: Down) -> Self {
        Self {
            down: Some(why),
            weight: None,
            share: Self::WHOLE,
        }
    }
}

impl Default for Standing {
    /// As the mesh says.
    fn default() -> Self {
        Self {
            down: None,
            weight: None,
            share: Self::WHOLE,
        }
    }
}

/// What tells an endpoint from the others of its service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Membership {
    /// The backend's address.
    pub address: IpAddr,
    /// As [`Endpoint::ports`].
    pub ports: Vec<PortMapping>,
}

/// A fact about one endpoint, as it comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointFact {
    pub service: Name,
    pub endpoint: Membership,
    pub standing: Standing,
}

impl Membership {
    /// As [`Endpoint::title`]. Of a service that is not known, no port is known but the own ones.
    pub fn title(&self, service: Option<&Service>) -> String {
        let of_service = service.map_or(&self.ports, |service| &service.ports);
        super::endpoint::title(self.address, &self.ports, of_service)
    }
}

impl From<&Endpoint> for Membership {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            address: endpoint.address,
            ports: endpoint.ports.clone(),
        }
    }
}

/// A cgroup of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Below the mount of cgroup v2, beginning with `/`.
    pub path: PathBuf,
    /// The number of the cgroup in the kernel, which is the inode of its folder.
    pub id: u64,
    /// Depth below the root, which is 0; `None` where a namespace hides it.
    pub level: Option<u32>,
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Namespace {
    /// The number of the namespace in the kernel, which is the inode of its file.
    pub id: u64,
    /// A file that stands for it.
    pub path: PathBuf,
    /// Whether it is that of the daemon.
    pub is_own: bool,
}

impl Facts {
    /// The cgroups that `reference` names at the moment.
    pub fn cgroups(&self, reference: &CgroupRef) -> &[Cgroup] {
        self.cgroups.get(reference).map_or(&[], Vec::as_slice)
    }

    /// Takes a fact in.
    pub fn learn(&mut self, fact: EndpointFact) {
        let of_service = self.standings.entry(fact.service.clone()).or_default();
        let members = Arc::make_mut(of_service);
        if fact.standing == Standing::default() {
            members.remove(&fact.endpoint);
        } else {
            members.insert(fact.endpoint, fact.standing);
        }
        if members.is_empty() {
            self.standings.remove(&fact.service);
        }
    }
}
