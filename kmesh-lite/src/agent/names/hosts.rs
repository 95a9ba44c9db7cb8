//! SRV records, and the hosts that they name.
//!
//! What is not known of a host is told beside what is: the daemon has the addresses that it had.

use super::lookup::{Found, Lookup, Outcome, Trouble, address, failed, told};
use crate::api::{KeptRecord, TroubleKind};
use crate::model::Record;
use crate::names::MOST_RECORDS;
use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{Name, RData, RecordType};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::task::JoinSet;

/// Hosts of SRV records that are looked up.
const MOST_HOSTS: usize = 64;

/// What came of a host that SRV records name.
#[derive(Debug, Default)]
struct Host {
    addresses: Vec<IpAddr>,
    /// Families of which it is not known where it is: IPv6, or not.
    kept: Vec<bool>,
    /// Why.
    trouble: Option<Trouble>,
    /// How long the addresses count.
    ttl: Option<Duration>,
}

impl Lookup {
    pub async fn services(&self, name: &Name, ipv6: bool) -> Outcome {
        let (records, ttl) = match self.records(name, RecordType::SRV).await {
            Ok(found) => found,
            Err(trouble) => return failed(trouble),
        };
        let services = records.into_iter().filter_map(|record| match record {
            RData::SRV(srv) => Some((srv.target.to_lowercase().to_ascii(), srv)),
            _ => None,
        });
        // That there is no such service (RFC 2782).
        let mut services: Vec<_> = services.filter(|(_, it)| !it.target.is_root()).collect();
        if services.is_empty() {
            let reason = "its SRV record says that there is no such service (its host is `.`)";
            return failed(Trouble::nothing(reason.to_owned(), Some(ttl)));
        }
        services.sort_by_key(|(host, srv)| (srv.priority, host.clone(), srv.port));
        let mut targets: BTreeMap<&str, Name> = BTreeMap::new();
        for (host, srv) in &services {
            if targets.len() < MOST_HOSTS {
                targets.insert(host, srv.target.to_lowercase());
            }
        }
        let mut lookups = JoinSet::new();
        for (host, target) in targets {
            let (this, host) = (self.clone(), host.to_owned());
            lookups.spawn(async move { (host, this.host(&target, ipv6).await) });
        }
        let mut hosts = BTreeMap::new();
        while let Some(over) = lookups.join_next().await {
            hosts.extend(over);
        }
        of_hosts(&services, &hosts, ttl)
    }

    /// All addresses of a host, and what is not known of it.
    async fn host(&self, name: &Name, ipv6: bool) -> Host {
        let of_v6 = async {
            match ipv6 {
                true => Some(self.records(name, RecordType::AAAA).await),
                false => None,
            }
        };
        let (v4, v6) = tokio::join!(self.records(name, RecordType::A), of_v6);
        let mut host = Host::default();
        let has_some = v4.is_ok() || v6.as_ref().is_some_and(Result::is_ok);
        for (is_v6, found) in [(false, Some(v4)), (true, v6)] {
            match found {
                Some(Ok((records, ttl))) => {
                    host.addresses.extend(records.iter().filter_map(address));
                    host.ttl = host.ttl.into_iter().chain([ttl]).min();
                }
                // There is none of this family, and there is some of the other.
                Some(Err(trouble)) if trouble.kind == TroubleKind::Nothing && has_some => {
                    host.ttl = host.ttl.into_iter().chain(trouble.ttl).min();
                }
                Some(Err(trouble)) => {
                    host.kept.push(is_v6);
                    // A failure says more.
                    let is_more = |it: &mut Trouble| it.kind == TroubleKind::Failure;
                    if host.trouble.as_mut().is_none_or(|it| !is_more(it)) {
                        host.trouble = Some(trouble);
                    }
                }
                None => {}
            }
        }
        host
    }
}

/// What SRV records come to, each with the name of its host, of which everything there is to be known is known.
fn of_hosts(services: &[(String, SRV)], hosts: &BTreeMap<String, Host>, ttl: Duration) -> Outcome {
    let (mut records, mut kept, mut unasked) = (Vec::new(), Vec::new(), 0_u32);
    for (name, srv) in services {
        let Some(host) = hosts.get(name) else {
            unasked += 1;
            continue;
        };
        let target = number(name);
        records.extend(host.addresses.iter().map(|address| Record {
            rank: srv.priority,
            address: *address,
            port: Some(srv.port),
            weight: srv.weight,
            target,
        }));
        kept.extend(host.kept.iter().map(|ipv6| KeptRecord {
            target,
            ipv6: *ipv6,
            port: srv.port,
            weight: srv.weight,
            priority: srv.priority,
        }));
    }
    kept.truncate(MOST_RECORDS);
    let ttls = hosts.values().filter_map(|host| host.ttl);
    let ttl = ttls.fold(ttl, Duration::min);
    let Some(trouble) = trouble(hosts) else {
        return told(records, unasked, ttl);
    };
    // What was found beside the trouble counts for a while, and so does the trouble.
    let ttl = match trouble.kind {
        TroubleKind::Nothing => Some(trouble.ttl.unwrap_or(super::NOTHING).min(ttl)),
        TroubleKind::Failure => Some(ttl),
    };
    let found = trouble.found();
    let told = match records.is_empty() {
        true => Found::default(),
        false => told(records, unasked, Duration::ZERO).found,
    };
    Outcome {
        found: Found {
            kept,
            trouble: found.trouble,
            reason: found.reason,
            ..told
        },
        ttl,
    }
}

/// What is wrong with hosts that SRV records name, in one line: of the first one that fails, or that is gone.
fn trouble(hosts: &BTreeMap<String, Host>) -> Option<Trouble> {
    let in_trouble = hosts.iter();
    let mut in_trouble: Vec<_> = in_trouble
        .filter_map(|(name, host)| Some((name, host.trouble.as_ref()?)))
        .collect();
    in_trouble.sort_by_key(|(_, trouble)| trouble.kind != TroubleKind::Failure);
    let (name, first) = in_trouble.first()?;
    let more = match in_trouble.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more of its hosts)"),
    };
    let name = name.trim_end_matches('.');
    Some(Trouble {
        reason: format!("its host {name}{more}: {}", first.reason),
        ..(*first).clone()
    })
}

/// By which the daemon knows a host again: FNV-1a of its name.
fn number(host: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    host.bytes().fold(0x811c_9dc5, step)
}
