//! From fragments to a mesh, and again when some of them changed.

use super::fragment::Origin;
use super::fragments::Fragments;
use super::lower::lower;
use super::parse::{Parsed, parse};
use super::problem::{Problems, Severity};
use crate::model::Mesh;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What lowering needs to know of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The hostname: what this node is called unless the file says otherwise.
    pub name: String,
    /// Addresses of its interfaces.
    pub own_addresses: BTreeSet<IpAddr>,
    /// Names of the unit files that its systemd knows; none if that is unknown.
    pub unit_files: Option<BTreeSet<String>>,
}

/// Loads what one source has. Keeps what it parsed, so that only what changed is parsed again.
#[derive(Debug, Default)]
pub struct Loader {
    parsed: BTreeMap<Origin, Arc<Parsed>>,
}

/// What loading came to.
#[derive(Debug, Default)]
pub struct Loaded {
    /// None if there is any error, or nothing to load.
    pub mesh: Option<Mesh>,
    pub problems: Problems,
    /// What was read, or was there and could not be.
    pub origins: Vec<Origin>,
    /// Whether there is any configuration, good or bad.
    pub present: bool,
}

impl Loader {
    /// What all fragments say together.
    pub fn load(&mut self, fragments: &Fragments, host: &Host) -> Loaded {
        let mut before = std::mem::take(&mut self.parsed);
        let mut parsed = Vec::with_capacity(fragments.origins().len());
        for fragment in fragments.iter() {
            let origin = fragment.origin();
            let known = before.remove(origin);
            let known = known.filter(|it| it.fragment.revision() == fragment.revision());
            let file = known.unwrap_or_else(|| Arc::new(parse(fragment)));
            self.parsed.insert(origin.clone(), Arc::clone(&file));
            parsed.push(file);
        }
        let mut problems = fragments.problems.clone();
        // A fragment that could not be read may define what others refer to.
        let whole = problems.iter().all(|p| p.severity != Severity::Error)
            && parsed.iter().all(|file| file.whole);
        let (mesh, lowered) = lower(&parsed, host, whole);
        problems.extend(parsed.iter().flat_map(|file| file.problems.iter().cloned()));
        problems.extend(lowered);
        let origins = fragments.origins().to_vec();
        let problems = Problems::in_order(problems, &origins);
        let valid = !problems.has_errors();
        if valid && fragments.incomplete {
            return Loaded::default();
        }
        Loaded {
            mesh: (valid && !origins.is_empty()).then_some(mesh),
            present: !valid || !origins.is_empty(),
            origins,
            problems,
        }
    }
}
