//! From a question to addresses: aliases are followed, and the hosts that SRV records name are looked up.

use super::ask::{AskError, ask};
use super::servers::Servers;
use crate::api::{KeptRecord, RecordKind, TroubleKind};
use crate::model::Record;
use crate::names::{Answer, MOST_RECORDS};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::SRV;
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

/// What came of a question, to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub records: Vec<Record>,
    pub left_out: u32,
    /// SRV records whose hosts could not be looked up.
    pub kept: Vec<KeptRecord>,
    /// Why there are no records, or why some are kept.
    pub trouble: Option<TroubleKind>,
    pub reason: String,
}

/// What came of a question.
#[derive(Debug, Default)]
pub struct Outcome {
    pub found: Found,
    /// How long it counts; none where nobody says.
    pub ttl: Option<Duration>,
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

    fn nothing(reason: String, ttl: Option<Duration>) -> Self {
        Self {
            kind: TroubleKind::Nothing,
            reason,
            ttl,
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

    /// `ipv6`: whether hosts that SRV records name are wanted at such addresses.
    pub async fn question(&self, name: &str, kind: RecordKind, ipv6: bool) -> Outcome {
        let Some(name) = absolute(name) else {
            return failed(Trouble::failure("it is no DNS name"));
        };
        match kind {
            RecordKind::A => self.addresses(&name, RecordType::A).await,
            RecordKind::Aaaa => self.addresses(&name, RecordType::AAAA).await,
            RecordKind::Srv => self.services(&name, ipv6).await,
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
                    target: 0,
                });
                told(records.collect(), 0, ttl)
            }
            Err(trouble) => failed(trouble),
        }
    }

    async fn services(&self, name: &Name, ipv6: bool) -> Outcome {
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

    /// Follows aliases to records of one kind. There is at least one.
    async fn records(&self, name: &Name, kind: RecordType) -> Result<Records, Trouble> {
        let mut aliases = Aliases::new(name);
        loop {
            let wanted = aliases.last().clone();
            let answer = self.answer(&wanted, kind).await?;
            while let Some((to, ttl)) = alias(&answer, aliases.last()) {
                aliases.follow(to, ttl)?;
            }
            let owner = aliases.last();
            let records = answer.answers.iter();
            let records = records.filter(|it| it.name == *owner && it.record_type() == kind);
            let mut ttl = aliases.ttl;
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
            if is_none || *owner == wanted {
                let nothing = nothing(&answer, is_none, kind);
                return Err(aliases.told(nothing));
            }
        }
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

/// The names that one name leads to, one after the other.
struct Aliases {
    names: Vec<Name>,
    ttl: u32,
}

impl Aliases {
    fn new(name: &Name) -> Self {
        Self {
            names: vec![name.clone()],
            ttl: u32::MAX,
        }
    }

    fn last(&self) -> &Name {
        &self.names[self.names.len() - 1]
    }

    /// Goes on to the next name, unless that is a circle or there are too many.
    fn follow(&mut self, to: &Name, ttl: u32) -> Result<(), Trouble> {
        let is_circle = self.names.contains(to);
        self.names.push(to.clone());
        self.ttl = self.ttl.min(ttl);
        if is_circle {
            let circle = self.shown().join(" -> ");
            return Err(Trouble::failure(format!(
                "its aliases (CNAME) lead in a circle: {circle}"
            )));
        }
        if self.names.len() > MOST_ALIASES + 1 {
            return Err(Trouble::failure(format!(
                "it leads through more than {MOST_ALIASES} aliases (CNAME)"
            )));
        }
        Ok(())
    }

    /// A trouble of the last name, as one of the first.
    fn told(&self, trouble: Trouble) -> Trouble {
        if self.names.len() == 1 {
            return trouble;
        }
        let last = self.last().to_ascii();
        let last = last.trim_end_matches('.');
        Trouble {
            reason: format!("its alias (CNAME) {last}: {}", trouble.reason),
            ..trouble
        }
    }

    fn shown(&self) -> Vec<String> {
        let names = self.names.iter().map(Name::to_ascii);
        names
            .map(|name| name.trim_end_matches('.').to_owned())
            .collect()
    }
}

/// Where a name leads by an answer, and for how long.
fn alias<'a>(answer: &'a Message, owner: &Name) -> Option<(&'a Name, u32)> {
    let mut records = answer.answers.iter();
    records.find_map(|record| match &record.data {
        RData::CNAME(to) if record.name == *owner => Some((&to.0, record.ttl)),
        _ => None,
    })
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
    let reason = match is_none {
        true => "there is no such name (NXDOMAIN)".to_owned(),
        false => format!("it has no {kind} record"),
    };
    Trouble::nothing(reason, ttl.map(|ttl| Duration::from_secs(ttl.into())))
}

fn failed(trouble: Trouble) -> Outcome {
    Outcome {
        ttl: trouble.ttl,
        found: trouble.found(),
    }
}

fn told(records: Vec<Record>, left_out: u32, ttl: Duration) -> Outcome {
    let Some(answer) = Answer::new(records, left_out, 0) else {
        return failed(Trouble::nothing(
            "it leads to no address".to_owned(),
            Some(ttl),
        ));
    };
    Outcome {
        found: Found {
            records: answer.records.into_vec(),
            left_out: answer.left_out,
            ..Found::default()
        },
        ttl: Some(ttl),
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
