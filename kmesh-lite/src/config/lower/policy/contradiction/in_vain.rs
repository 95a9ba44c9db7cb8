//! What is allowed, and lies in what is denied.

use crate::model::{CgroupRef, Principal, Source};
use imbl::OrdSet;
use ipnetwork::IpNetwork;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What of an allow policy is denied.
pub struct InVain<T> {
    /// The first, and what denies it.
    pub first: (T, T),
    pub count: usize,
    /// Whether nothing else is allowed.
    pub all: bool,
}

pub fn clients<'a>(
    allowed: &'a BTreeSet<Principal>,
    denied: &'a BTreeSet<Principal>,
) -> Option<InVain<&'a Principal>> {
    // Few are more than one program by themselves.
    let wide = |it: &&Principal| {
        matches!(
            it,
            Principal::Anyone | Principal::Cgroup(CgroupRef::Path(_) | CgroupRef::Units(_))
        )
    };
    let wide: Vec<_> = denied.iter().filter(wide).take(100).collect();
    let holds = |wide: &Principal, allowed: &Principal| match (wide, allowed) {
        (Principal::Anyone, _) => true,
        (Principal::Cgroup(wide), Principal::Cgroup(CgroupRef::Unit(unit))) => {
            wide.names_unit(unit)
        }
        (Principal::Cgroup(CgroupRef::Path(wide)), Principal::Cgroup(CgroupRef::Path(path))) => {
            path.starts_with(wide)
        }
        _ => false,
    };
    find(allowed.iter(), allowed.len(), |allowed| {
        denied.get(allowed).or_else(|| {
            let mut wide = wide.iter().copied();
            wide.find(|wide| holds(wide, allowed))
        })
    })
}

pub fn sources<'a>(
    allowed: &'a OrdSet<Source>,
    denied: &'a OrdSet<Source>,
) -> Option<InVain<&'a Source>> {
    // The same group.
    if allowed.ptr_eq(denied) {
        let first = allowed.get_min()?;
        return Some(InVain {
            first: (first, first),
            count: allowed.len(),
            all: true,
        });
    }
    let localities = denied.iter().filter(|it| matches!(it, Source::Locality(_)));
    let localities: Vec<_> = localities.take(100).collect();
    let mut networks = denied.iter().peekable();
    // Of those that begin before, the one that ends last.
    let mut widest: Option<(&Source, IpNetwork)> = None;
    find(allowed.iter(), allowed.len(), |allowed| match allowed {
        Source::Network(network) => {
            // Both are in order.
            while let Some(source) = networks
                .next_if(|it| matches!(it, Source::Network(it) if begin(*it) <= begin(*network)))
            {
                let Source::Network(next) = source else { break };
                if widest.is_none_or(|(_, widest)| end(widest) < end(*next)) {
                    widest = Some((source, *next));
                }
            }
            let (source, widest) = widest?;
            (end(*network) <= end(widest) && begin(widest) <= begin(*network)).then_some(source)
        }
        Source::Service(_) => denied.get(allowed),
        Source::Locality(here) => {
            let mut localities = localities.iter().copied();
            localities.find(|it| matches!(it, Source::Locality(wide) if wide.holds(here)))
        }
    })
}

/// With the family, because they are ordered by it first.
fn begin(network: IpNetwork) -> (bool, IpAddr) {
    (network.is_ipv6(), network.network())
}

fn end(network: IpNetwork) -> (bool, IpAddr) {
    (network.is_ipv6(), network.broadcast())
}

fn find<'a, T: 'a>(
    allowed: impl Iterator<Item = &'a T>,
    len: usize,
    mut denies: impl FnMut(&'a T) -> Option<&'a T>,
) -> Option<InVain<&'a T>> {
    let mut found: Option<InVain<&T>> = None;
    for allowed in allowed {
        if let Some(denied) = denies(allowed) {
            found
                .get_or_insert(InVain {
                    first: (allowed, denied),
                    count: 0,
                    all: false,
                })
                .count += 1;
        }
    }
    let found = found?;
    Some(InVain {
        all: found.count == len,
        ..found
    })
}
