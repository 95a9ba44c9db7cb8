//! What authorization policies say, out of the tables: as the programs would.

use super::{Tables, Whose};
use kmesh_lite_common::{Protocol, Rule, RuleKey, ServiceId};
use kmesh_lite_ebpf::{Judgement, Rules, authorize};
use std::net::{IpAddr, SocketAddr};

/// Stands for a client that is not known.
const NOBODY: u64 = 0;

/// What policies say of a client that connects to a service.
pub fn judge_client(tables: &Tables, service: ServiceId, whose: &Whose) -> Judgement {
    authorize(&Client { tables, whose }, service)
}

/// What policies say of a connection that arrives at an address of this host.
pub fn judge_source(
    _tables: &Tables,
    _protocol: Protocol,
    _local: SocketAddr,
    _from: IpAddr,
) -> Judgement {
    Judgement::default()
}

/// The rules, as a client sees them.
struct Client<'a> {
    tables: &'a Tables,
    whose: &'a Whose,
}

impl Rules for Client<'_> {
    fn rule(&self, key: &RuleKey) -> Option<&Rule> {
        let rules = &self.tables.rows.rules;
        rules.values().find(|rule| rule.key == *key)
    }

    fn cgroup(&self, level: u32) -> u64 {
        let ids = self.whose.lineage.get(level as usize);
        ids.copied().unwrap_or(NOBODY)
    }

    fn user(&self) -> u32 {
        self.whose.user.unwrap_or(u32::MAX)
    }

    fn group(&self) -> u32 {
        self.whose.group.unwrap_or(u32::MAX)
    }
}
