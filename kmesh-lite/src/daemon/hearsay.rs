//! What the agent found, as the word of a stranger.
//!
//! In: a report, and what was asked for. Out: conditions of what was asked for, which may be healthy or not, and nothing
//! else. However a report is made, no more follows from it than there are targets and endpoints.

mod names;

pub use names::{AskedNames, hear_names, take_in_names};

use crate::api::{Failure, FailureKind, HealthReport};
use crate::health::{Condition, Health, Target, Turn};
use crate::model::EndpointFact;
use crate::printable::printable;
use log::debug;
use std::collections::BTreeMap;

/// Of a reason that the agent gives, in bytes.
pub const REASON: usize = 200;

/// What an agent was asked to probe.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub revision: u64,
    /// What the numbers of targets stand for.
    pub targets: &'a [Target],
}

/// What follows from reports.
#[derive(Debug, Default)]
pub struct Heard {
    pub facts: Vec<EndpointFact>,
    pub turns: Vec<Turn>,
}

/// What a stranger sends, from its bytes on. No more than [`HealthReport::BYTES`] of them arrive.
pub fn hear(
    body: &[u8],
    asked: Asked<'_>,
    now: u64,
    health: &mut Health,
    heard: &mut Heard,
) -> Result<(), Failure> {
    take_in(HealthReport::read(body)?, asked, now, health, heard)
}

/// Takes a report in. Of what it says of a target, the last counts.
pub fn take_in(
    report: HealthReport,
    asked: Asked<'_>,
    now: u64,
    health: &mut Health,
    heard: &mut Heard,
) -> Result<(), Failure> {
    if report.revision != asked.revision {
        let error = "other duties have been given since that revision";
        return Err(Failure::new(FailureKind::Conflict, error));
    }
    let findings = report.findings.into_iter();
    let last: BTreeMap<_, _> = findings.map(|finding| (finding.target, finding)).collect();
    for (number, finding) in last {
        let Some(target) = asked.targets.get(number as usize) else {
            debug!("the agent found something of a target that there is not");
            continue;
        };
        let condition = Condition {
            healthy: finding.healthy,
            since: now,
            reason: printable(&finding.reason, REASON),
        };
        let turn = health.find(target, condition, &mut heard.facts);
        heard.turns.extend(turn);
    }
    Ok(())
}
