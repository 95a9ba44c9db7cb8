//! What the agent found of names.
//!
//! In: a report, and what was asked. Out: other answers to questions that were asked, within bounds, and nothing else.

use super::REASON;
use crate::api::{Failure, FailureKind, KeptRecord, NameFinding, NamesReport};
use crate::model::{Question, Record, RecordKind};
use crate::names::{Answer, Answers, Change, MOST_RECORDS, Trouble, TroubleKind};
use crate::printable::printable;
use log::debug;
use std::collections::BTreeMap;

/// What an agent was asked to look up.
#[derive(Clone, Copy, Debug)]
pub struct AskedNames<'a> {
    pub revision: u64,
    /// What the numbers of questions stand for.
    pub questions: &'a [Question],
}

/// What a stranger sends, from its bytes on. No more than [`NamesReport::BYTES`] of them arrive.
pub fn hear_names(
    body: &[u8],
    asked: AskedNames<'_>,
    now: u64,
    names: &mut Answers,
) -> Result<Vec<Change>, Failure> {
    take_in_names(NamesReport::read(body)?, asked, now, names)
}

/// Takes a report in. Of what it says of a question, the last counts.
pub fn take_in_names(
    report: NamesReport,
    asked: AskedNames<'_>,
    now: u64,
    names: &mut Answers,
) -> Result<Vec<Change>, Failure> {
    if report.revision != asked.revision {
        let error = "other duties have been given since that revision";
        return Err(Failure::new(FailureKind::Conflict, error));
    }
    let findings = report.findings.into_iter();
    let last: BTreeMap<_, _> = findings.map(|it| (it.question, it)).collect();
    let mut changes = Vec::new();
    for (number, finding) in last {
        let Some(question) = asked.questions.get(number as usize) else {
            debug!("the agent found something of a name that nobody asks for");
            continue;
        };
        let before = names.known().get(question);
        let before = before.and_then(|known| known.answer.as_deref());
        let Understood { answer, trouble } = understood(finding, question.kind, before, now);
        changes.extend(match (answer, trouble) {
            (Some(answer), None) => names.find(question, Ok(answer)),
            (Some(answer), Some(trouble)) => names.find_in_part(question, answer, trouble),
            (None, Some(trouble)) => names.find(question, Err(trouble)),
            (None, None) => None,
        });
    }
    Ok(changes)
}

struct Understood {
    answer: Option<Answer>,
    trouble: Option<Trouble>,
}

/// What a finding says, within bounds. `before` is the last answer.
fn understood(
    finding: NameFinding,
    kind: RecordKind,
    before: Option<&Answer>,
    now: u64,
) -> Understood {
    let records = finding.records.into_iter().map(Record::from);
    let records = records.filter_map(|record| as_asked(record, kind));
    let mut records: Vec<_> = records.collect();
    if kind == RecordKind::Srv {
        records.extend(kept(&finding.kept, before));
    }
    let answer = Answer::new(records, finding.left_out, now);
    let trouble = |kind, reason| Trouble {
        kind,
        reason: printable(reason, REASON),
        since: now,
    };
    let said = finding
        .trouble
        .map(|it| trouble(it.into(), &finding.reason));
    let is_void = answer.is_none() && said.is_none();
    let void = || trouble(TroubleKind::Nothing, "it has no addresses");
    Understood {
        answer,
        trouble: said.or_else(|| is_void.then(void)),
    }
}

/// A record of the kind that was asked for.
fn as_asked(record: Record, kind: RecordKind) -> Option<Record> {
    let address = record.address.to_canonical();
    let is_meant = match kind {
        // A port that nobody can connect to is none.
        RecordKind::Srv => record.port.is_some_and(|port| port > 0),
        RecordKind::A => address.is_ipv4(),
        // An IPv4-mapped address is one of IPv4 by now.
        RecordKind::Aaaa => true,
    };
    let as_asked = match kind {
        RecordKind::Srv => Record { address, ..record },
        _ => Record {
            rank: 0,
            address,
            port: None,
            weight: 1,
            target: 0,
        },
    };
    is_meant.then_some(as_asked)
}

/// What stays of the last answer: addresses of hosts that could not be looked up, as SRV records have them now.
fn kept(kept: &[KeptRecord], before: Option<&Answer>) -> impl Iterator<Item = Record> {
    let records = before.map_or(&[][..], |answer| &answer.records);
    let kept = kept.iter().take(MOST_RECORDS).filter(|it| it.port > 0);
    let kept = kept.flat_map(|kept| {
        let is_meant = |it: &&Record| {
            it.port.is_some() && it.target == kept.target && it.address.is_ipv6() == kept.ipv6
        };
        records.iter().filter(is_meant).map(|record| Record {
            rank: kept.priority,
            address: record.address,
            port: Some(kept.port),
            weight: kept.weight,
            target: kept.target,
        })
    });
    kept.take(MOST_RECORDS)
}
