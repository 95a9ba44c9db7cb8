//! From a question to addresses: aliases are followed, and the hosts that SRV records name are looked up.

use super::aliases::{Aliases, alias};
use super::ask::{AskError, ask};
use super::servers::Servers;
use crate::api::{KeptRecord, RecordKind, TroubleKind};
use crate::model::Record;
use crate::names::Answer;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

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
pub struct Trouble {
    pub kind: TroubleKind,
    pub reason: String,
    pub ttl: Option<Duration>,
}

impl Trouble {
    pub fn failure(reason: impl Into<String>) -> Self {
        Self {
            kind: TroubleKind::Failure,
            reason: reason.into(),
            ttl: None,
        }
    }

    pub fn nothing(reason: String, ttl: Option<Duration>) -> Self {
        Self {
            kind: TroubleKind::Nothing,
            reason,
            ttl,
        }
    }

    pub fn found(self) -> Found {
        Found {
            trouble: Some(self.kind),
            reason: self.reason,
            ..Found::default()
        }
    }
}

/// Records of one kind.
pub type Records = (Vec<RData>, Duration);

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

    /// Follows aliases to records of one kind. There is at least one.
    pub async fn records(&self, name: &Name, kind: RecordType) -> Result<Records, Trouble> {
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

fn absolute(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    // No search list is added.
    name.set_fqdn(true);
    Some(name)
}

pub fn address(record: &RData) -> Option<IpAddr> {
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

pub fn failed(trouble: Trouble) -> Outcome {
    Outcome {
        ttl: trouble.ttl,
        found: trouble.found(),
    }
}

pub fn told(records: Vec<Record>, left_out: u32, ttl: Duration) -> Outcome {
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
