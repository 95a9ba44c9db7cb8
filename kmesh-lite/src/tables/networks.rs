//! From the networks of several policies to what holds in each network, smaller ones included.

use ipnetwork::IpNetwork;
use kmesh_lite_common::{Address, AuthorizationId, Closed, Judgement, Matching};
use kmesh_lite_ebpf::judged;
use std::net::{IpAddr, Ipv6Addr};

/// A network among the IPv6 addresses, with IPv4 ones in their mapped form: bits that do not count are 0.
///
/// In order, a network comes before those in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    value: u128,
    pub bits: u32,
}

/// All IPv4 addresses.
const MAPPED: Network = Network {
    value: 0xffff << 32,
    bits: 96,
};
/// All addresses.
const ALL: Network = Network { value: 0, bits: 0 };

impl Network {
    /// Every address of both families.
    pub const EVERY: [Self; 2] = [ALL, MAPPED];

    fn new(address: Ipv6Addr, bits: u32) -> Self {
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        Self {
            value: u128::from(address) & mask,
            bits,
        }
    }

    pub fn address(&self) -> Address {
        IpAddr::from(Ipv6Addr::from(self.value)).into()
    }

    /// Places those of IPv6 before those of IPv4, and a network before those in it.
    pub fn rank(&self) -> (bool, Self) {
        (self.is_v4(), *self)
    }

    fn is_v4(&self) -> bool {
        MAPPED.holds(self)
    }

    fn holds(&self, other: &Self) -> bool {
        let shift = 128 - self.bits;
        let same = (self.value ^ other.value).checked_shr(shift).unwrap_or(0) == 0;
        self.bits <= other.bits && same
    }
}

impl From<IpNetwork> for Network {
    fn from(network: IpNetwork) -> Self {
        match network {
            IpNetwork::V4(v4) => Self::new(v4.ip().to_ipv6_mapped(), 96 + u32::from(v4.prefix())),
            IpNetwork::V6(v6) => Self::new(v6.ip(), v6.prefix().into()),
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::new(v4.to_ipv6_mapped(), 128),
            IpAddr::V6(v6) => Self::new(v6, 128),
        }
    }
}

/// A sort of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Deny,
    Allow,
    AuditedDeny,
    AuditedAllow,
}

/// The first policy of each sort that matches: its number in the order of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct First([Option<u32>; 4]);

impl First {
    fn add(&mut self, sort: Sort, policy: u32) {
        let there = &mut self.0[sort as usize];
        *there = Some(there.map_or(policy, |first| first.min(policy)));
    }

    fn with(mut self, other: &Self) -> Self {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = match (*mine, *theirs) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        self
    }

    fn judged(&self, ids: &[AuthorizationId], closed: &Closed) -> Judgement {
        let [deny, allow, audited_deny, audited_allow] =
            self.0.map(|policy| ids.get(policy? as usize).copied());
        let matching = Matching {
            deny,
            allow,
            audited_deny,
            audited_allow,
        };
        judged(&matching, closed)
    }
}

/// What policies say of networks, each for itself, in no order.
#[derive(Debug, Default)]
pub struct Said(Vec<(Network, Sort, u32)>);

impl Said {
    /// The policy with this number, in the order of names, matches a network.
    pub fn add(&mut self, network: Network, sort: Sort, policy: u32) {
        self.0.push((network, sort, policy));
    }

    /// What holds in each network, where it is not what holds around it. Outside of all,
    /// `elsewhere` holds: in the order of [`Network::rank`]. `ids` are those of the policies, by number.
    pub fn judged(
        mut self,
        ids: &[AuthorizationId],
        closed: &Closed,
        elsewhere: Judgement,
    ) -> Vec<(Network, Judgement)> {
        // One that a policy names is in order already, and then this is a look at each.
        self.0.sort_by_key(|(network, ..)| *network);
        let of_v4 = self
            .0
            .iter()
            .filter(|(network, ..)| network.is_v4())
            .count();
        let mut v4 = Flattening::new(ids, closed, elsewhere, of_v4);
        let mut v6 = Flattening::new(ids, closed, elsewhere, self.0.len() - of_v4 + 1);
        for same in self.0.chunk_by(|(one, ..), (other, ..)| one == other) {
            let mut own = First::default();
            for (_, sort, policy) in same {
                own.add(*sort, *policy);
            }
            let network = same[0].0;
            match network.is_v4() {
                true => v4.add(network, own),
                false => v6.add(network, own),
            }
        }
        let (mut found, v4) = (v6.found, v4.found);
        if found.is_empty() {
            return v4;
        }
        // A network of IPv6 addresses is not about IPv4 ones, although they look as if they were in it.
        let is_covered = found.iter().any(|(network, _)| network.holds(&MAPPED));
        let has_root = v4.first().is_some_and(|(network, _)| *network == MAPPED);
        if is_covered && !has_root {
            found.push((MAPPED, elsewhere));
        }
        found.extend(v4);
        found
    }
}

/// The networks of one family, each after those around it.
struct Flattening<'a> {
    ids: &'a [AuthorizationId],
    closed: &'a Closed,
    elsewhere: Judgement,
    /// Those around the last one, the outermost first.
    around: Vec<(Network, First, Judgement)>,
    found: Vec<(Network, Judgement)>,
}

impl<'a> Flattening<'a> {
    /// For so many networks at most.
    fn new(
        ids: &'a [AuthorizationId],
        closed: &'a Closed,
        elsewhere: Judgement,
        most: usize,
    ) -> Self {
        Self {
            ids,
            closed,
            elsewhere,
            around: Vec::new(),
            found: Vec::with_capacity(most),
        }
    }

    fn add(&mut self, network: Network, own: First) {
        let around = &mut self.around;
        while around
            .pop_if(|(outer, ..)| !outer.holds(&network))
            .is_some()
        {}
        let (outer, holds_there) = match around.last() {
            Some((_, first, judgement)) => (*first, *judgement),
            None => (First::default(), self.elsewhere),
        };
        let first = outer.with(&own);
        let judgement = first.judged(self.ids, self.closed);
        if judgement != holds_there {
            self.found.push((network, judgement));
        }
        around.push((network, first, judgement));
    }
}
