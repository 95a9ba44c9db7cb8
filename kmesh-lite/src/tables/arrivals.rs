//! What policies say of those who arrive, network by network: kept from one pass to the next, so that of many
//! networks only the rows of those that differ are looked at.

use super::build::{Builder, ID};
use super::declared::{Declared, Sources};
use super::networks::Network;
use kmesh_lite_common::{GuardId, Judgement, Name, Source, SourceKey};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// By the name of the guard.
pub type Arrivals = BTreeMap<Name, Arc<Arriving>>;

/// What a guard says of networks.
#[derive(Clone, Debug, PartialEq)]
pub struct Arriving {
    pub guard: GuardId,
    /// In the order of [`Network::rank`].
    pub networks: Vec<(Network, Judgement)>,
}

impl Builder<'_> {
    /// Makes the rows of sources what holds now. Those of networks of which the same held before are as they should be.
    pub(super) fn sources(&mut self, now: Arrivals) {
        let before = std::mem::take(&mut self.arrivals);
        let same = |one: &Arrivals, name, other: &Arriving| {
            let there = one.get(name).filter(|there| there.guard == other.guard);
            there.cloned()
        };
        for (name, was) in before.iter() {
            if same(&now, name, was).is_none() {
                for (network, _) in &was.networks {
                    self.source(was.guard, *network, None);
                }
            }
        }
        for (name, is) in &now {
            let was = same(&before, name, is);
            let was = was.as_ref().map_or(&[][..], |was| &was.networks);
            differences(was, &is.networks, |network, judgement| {
                self.source(is.guard, network, judgement);
            });
        }
        self.arrivals = Arc::new(now);
    }

    fn source(&mut self, guard: GuardId, network: Network, judgement: Option<Judgement>) {
        let key = SourceKey::new(guard, network.address(), network.bits);
        match judgement {
            Some(judgement) => {
                let id = Sources::id(self.ids.sources.index(key)).expect(ID);
                self.rows.sources.insert(id, Source { key, judgement });
            }
            None => {
                let id = self.ids.sources.get(&key).and_then(Sources::id);
                id.map(|id| self.rows.sources.remove(&id));
            }
        }
    }
}

/// Tells what holds in each network where it is not what held before: nothing of its own, where there is none.
fn differences(
    was: &[(Network, Judgement)],
    is: &[(Network, Judgement)],
    mut tell: impl FnMut(Network, Option<Judgement>),
) {
    let (mut was, mut is) = (was.iter().peekable(), is.iter().peekable());
    loop {
        let order = match (was.peek(), is.peek()) {
            (Some((gone, _)), Some((new, _))) => gone.rank().cmp(&new.rank()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        let before = was.next_if(|_| order.is_le());
        let now = is.next_if(|_| order.is_ge());
        match (before, now) {
            (Some((network, _)), None) => tell(*network, None),
            (before, Some((network, judgement))) if before != now => {
                tell(*network, Some(*judgement))
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipnetwork::IpNetwork;

    fn list(texts: &[(&str, bool)]) -> Vec<(Network, Judgement)> {
        let judgement = |is_denied: bool| Judgement {
            denied: is_denied.then(|| kmesh_lite_common::AuthorizationId::from_index(0).unwrap()),
            audited: None,
        };
        let networks = texts.iter().map(|(text, is_denied)| {
            let network: IpNetwork = text.parse().unwrap();
            (Network::from(network), judgement(*is_denied))
        });
        networks.collect()
    }

    #[test]
    fn only_networks_that_differ_are_told() {
        let was = list(&[
            ("fd00::/8", true),
            ("10.0.0.0/8", true),
            ("10.1.0.0/16", false),
            ("192.0.2.0/24", true),
        ]);
        let is = list(&[
            ("fd00::/8", true),
            ("9.0.0.0/8", true),
            ("10.0.0.0/8", false),
            ("192.0.2.0/24", true),
        ]);
        let mut told = Vec::new();
        differences(&was, &is, |network, judgement| {
            told.push((network, judgement))
        });
        let new = [is[1], is[2]].map(|(network, judgement)| (network, Some(judgement)));
        assert_eq!(told, [new[0], new[1], (was[2].0, None)]);
        differences(&is, &is, |network, _| {
            panic!("{network:?} differs from itself")
        });
    }
}
