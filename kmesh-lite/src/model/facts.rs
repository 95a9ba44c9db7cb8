//! Facts: true of this host at the moment, and the desired tables depend on them.

use super::{CgroupRef, Endpoint, Name, PortMapping};
use imbl::OrdMap;
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
    /// Endpoints that take no new connections for now, whatever their weight, by service. An endpoint that is not
    /// named here is usable, and one that no mesh has may be named.
    pub unusable: OrdMap<Name, Arc<BTreeSet<Membership>>>,
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
    /// Whether it may take new connections.
    pub usable: bool,
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

impl Facts {
    /// The cgroups that `reference` names at the moment.
    pub fn cgroups(&self, reference: &CgroupRef) -> &[Cgroup] {
        self.cgroups.get(reference).map_or(&[], Vec::as_slice)
    }

    /// Takes a fact in.
    pub fn learn(&mut self, fact: EndpointFact) {
        let of_service = self.unusable.entry(fact.service.clone()).or_default();
        let members = Arc::make_mut(of_service);
        if fact.usable {
            members.remove(&fact.endpoint);
        } else {
            members.insert(fact.endpoint);
        }
        if members.is_empty() {
            self.unusable.remove(&fact.service);
        }
    }
}
