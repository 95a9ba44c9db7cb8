//! From a question to addresses: aliases are followed, and the hosts that SRV records name are looked up.

use super::ask::{AskError, ask};
use super::servers::Servers;
use crate::api::{RecordKind, TroubleKind};
use crate::model::Record;
use crate::names::Answer;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Names that one name leads to, one after the other.
const MOST_ALIASES: usize = 8;
/// Hosts of SRV records that are looked up.
const MOST_HOSTS: usize = 64;

/// Addresses of the hosts that SRV records name, as they were found last.
pub type Hosts = BTreeMap<String, Vec<IpAddr>>;

/// What came of a question, to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub records: Vec<Record>,
    pub left_out: u32,
    /// Why there are no records.
    pub trouble: Option<TroubleKind>,
    pub reason: String,
}

/// What came of a question.
#[derive(Debug, Default)]
pub struct Outcome {
    pub found: Found,
    /// What it is if records are not believed while some may be missing.
    pub missing: Option<Found>,
    /// How long it counts; none where nobody says.
    pub ttl: Option<Duration>,
    pub hosts: Hosts,
}

impl Outcome {
    /// Of a question that ended by itself.
    pub fn broken() -> Self {
        failed(Trouble::failure("the look-up itself failed"))
    }
}

/// Why there are no records.
#[derive(Clone, Debug)]
struct Trouble {
    kind: TroubleKind,
    reason: String,
    ttl: Option<Duration>,
}

impl Trouble {
    fn failure(reason: impl Into<String>) -> Self {
        Self {
            kind: TroubleKind::Failure,
            reason: reason.into(),
            ttl: None,
        }
    }

    fn found(self) -> Found {
        Found {
            trouble: Some(self.kind),
            reason: self.reason,
            ..Found::default()
        }
    }
}

/// Records of one kind.
type Records = (Vec<RData>, Duration);

#[derive(Clone)]
pub struct Lookup {
    servers: Arc<Servers>,
    /// For exchanges under way, of all questions together.
    places: Arc<Semaphore>,
}

impl Lookup {
    pub fn new(servers: Arc<Servers>, places: Arc<Semaphore>) -> Self {
        Self { servers, places }
    }

    /// `known`: hosts that were found before.
    pub async fn question(&self, name: &str, kind: RecordKind, known: &Hosts) -> Outcome {
        let Some(name) = absolute(name) else {
            return failed(Trouble::failure("it is no DNS name"));
        };
        match kind {
            RecordKind::A => self.addresses(&name, RecordType::A).await,
            RecordKind::Aaaa => self.addresses(&name, RecordType::AAAA).await,
            RecordKind::Srv => self.services(&name, known).await,
        }
    }

    async fn addresses(&self, name: &Name, kind: RecordType) -> Outcome {
        match self.records(name, kind).await {
            Ok((records, ttl)) => {
                let records = records.iter().filter_map(address).map(|address| Record {
                    rank: 0,
                    address,
                    port: None,
                    weight: 1,
                });
                told(records.collect(), ttl)
            }
            Err(trouble) => failed(trouble),
        }
    }

    async fn services(&self, name: &Name, known: &Hosts) -> Outcome {
        let (records, mut ttl) = match self.records(name, RecordType::SRV).await {
            Ok(found) => found,
            Err(trouble) => return failed(trouble),
        };
        let mut services: Vec<_> = records
            .into_iter()
            .filter_map(|record| match record {
                RData::SRV(srv) => Some(srv),
                _ => None,
            })
            // That there is no such service (RFC 2782).
            .filter(|srv| !srv.target.is_root())
            .collect();
        services.sort_by_key(|srv| (srv.priority, srv.target.to_lowercase().to_ascii(), srv.port));
        let mut targets: BTreeMap<String, Name> = BTreeMap::new();
        for srv in &services {
            if targets.len() < MOST_HOSTS {
                let target = srv.target.to_lowercase();
                targets.insert(target.to_ascii(), target);
            }
        }
        let mut lookups = JoinSet::new();
        for (text, target) in targets {
            let this = self.clone();
            lookups.spawn(async move { (text, this.host(&target).await) });
        }
        let (mut hosts, mut missing) = (Hosts::new(), None);
        while let Some(over) = lookups.join_next().await {
            let Ok((host, found)) = over else { continue };
            let addresses = match found {
                Ok((addresses, host_ttl)) => {
                    ttl = ttl.min(host_ttl);
                    addresses
                }
                // It is where it was, until somebody knows.
                Err(trouble) if trouble.kind == TroubleKind::Failure => {
                    match known.get(&host).filter(|addresses| !addresses.is_empty()) {
                        Some(addresses) => addresses.clone(),
                        None => {
                            let reason =
                                format!("{}: {}", host.trim_end_matches('.'), trouble.reason);
                            missing.get_or_insert(Trouble { reason, ..trouble });
                            Vec::new()
                        }
                    }
                }
                Err(_) => Vec::new(),
            };
            hosts.insert(host, addresses);
        }
        let mut records = Vec::new();
        for srv in services {
            let host = srv.target.to_lowercase().to_ascii();
            let addresses = hosts.get(&host).into_iter().flatten();
            records.extend(addresses.map(|address| Record {
                rank: srv.priority,
                address: *address,
                port: Some(srv.port),
                weight: srv.weight,
            }));
        }
        let mut outcome = match (records.is_empty(), &missing) {
            (true, Some(missing)) => failed(missing.clone()),
            _ => told(records, ttl),
        };
        outcome.missing = missing.map(Trouble::found);
        outcome.hosts = hosts;
        outcome
    }

    /// All addresses of a host. Those of IPv6 may be missing.
    async fn host(&self, name: &Name) -> Result<(Vec<IpAddr>, Duration), Trouble> {
        let v4 = self.records(name, RecordType::A);
        let v6 = self.records(name, RecordType::AAAA);
        let (records, ttl) = match tokio::join!(v4, v6) {
            (Ok((mut v4, v4_ttl)), Ok((v6, v6_ttl))) => {
                v4.extend(v6);
                (v4, v4_ttl.min(v6_ttl))
            }
            (Err(v4), Ok(_)) if v4.kind == TroubleKind::Failure => return Err(v4),
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => found,
            (Err(v4), Err(v6)) if v4.kind == TroubleKind::Nothing => return Err(v6),
            (Err(v4), Err(_)) => return Err(v4),
        };
        Ok((records.iter().filter_map(address).collect(), ttl))
    }

    /// Follows aliases to records of one kind. There is at least one.
    async fn records(&self, name: &Name, kind: RecordType) -> Result<Records, Trouble> {
        let mut wanted = name.clone();
        let mut ttl = u32::MAX;
        for _ in 0..=MOST_ALIASES {
            let answer = self.answer(&wanted, kind).await?;
            let mut owner = wanted.clone();
            // A circle ends after so many steps, too.
            for _ in 0..=MOST_ALIASES {
                let mut records = answer.answers.iter();
                let alias = records.find_map(|record| match &record.data {
                    RData::CNAME(to) if record.name == owner => Some((&to.0, record.ttl)),
                    _ => None,
                });
                let Some((to, of_alias)) = alias else { break };
                (owner, ttl) = (to.clone(), ttl.min(of_alias));
            }
            let records = answer.answers.iter();
            let records = records.filter(|it| it.name == owner && it.record_type() == kind);
            let found: Vec<_> = records
                .map(|record| {
                    ttl = ttl.min(record.ttl);
                    record.data.clone()
                })
                .collect();
            if !found.is_empty() {
                return Ok((found, Duration::from_secs(ttl.into())));
            }
            let is_none = answer.metadata.response_code == ResponseCode::NXDomain;
            if is_none || owner == wanted {
                return Err(nothing(&answer, is_none, kind));
            }
            wanted = owner;
        }
        let reason =
            format!("it leads to more than {MOST_ALIASES} other names (CNAME), or in a circle");
        Err(Trouble::failure(reason))
    }

    /// What the first server says that answers. One that was silent rests for a while, so that one that is gone holds up
    /// a question now and then.
    async fn answer(&self, name: &Name, kind: RecordType) -> Result<Message, Trouble> {
        let mut why = None;
        for _ in 0..self.servers.attempts {
            for (place, server) in self.servers.in_order() {
                let _place = self.places.acquire().await;
                let answer = ask(server, name, kind, self.servers.patience).await;
                let is_silent = matches!(answer, Err(AskError::Silent(_)));
                self.servers.heard(place, !is_silent);
                match answer {
                    Ok(answer) => return Ok(answer),
                    Err(error) => why = Some(error.to_string()),
                }
            }
        }
        let why = why.unwrap_or_else(|| "there is nobody to ask".to_owned());
        Err(Trouble::failure(why))
    }
}

fn absolute(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    // No search list is added.
    name.set_fqdn(true);
    Some(name)
}

fn address(record: &RData) -> Option<IpAddr> {
    match record {
        RData::A(a) => Some(a.0.into()),
        RData::AAAA(aaaa) => Some(aaaa.0.into()),
        _ => None,
    }
}

/// That there is none, and for how long (RFC 2308).
fn nothing(answer: &Message, is_none: bool, kind: RecordType) -> Trouble {
    let mut authorities = answer.authorities.iter();
    let ttl = authorities.find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    Trouble {
        kind: TroubleKind::Nothing,
        reason: match is_none {
            true => "there is no such name (NXDOMAIN)".to_owned(),
            false => format!("it has no {kind} record"),
        },
        ttl: ttl.map(|ttl| Duration::from_secs(ttl.into())),
    }
}

fn failed(trouble: Trouble) -> Outcome {
    Outcome {
        ttl: trouble.ttl,
        found: trouble.found(),
        ..Outcome::default()
    }
}

fn told(records: Vec<Record>, ttl: Duration) -> Outcome {
    let Some(answer) = Answer::new(records, 0, 0) else {
        return failed(Trouble {
            kind: TroubleKind::Nothing,
            reason: "it leads to no address".to_owned(),
            ttl: Some(ttl),
        });
    };
    Outcome {
        found: Found {
            records: answer.records,
            left_out: answer.left_out,
            ..Found::default()
        },
        ttl: Some(ttl),
        ..Outcome::default()
    }
}
