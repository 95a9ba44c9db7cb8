//! What an earlier process kept for this one, beside the kernel's objects.

use super::departures::Departures;
use super::last_answers::{LastAnswers, RecalledNames};
use super::last_findings::{LastFindings, Recalled};
use super::last_good::LastGood;
use super::last_seen::LastSeen;
use crate::config::Fragments;
use crate::kernel::{Descriptors, Store};
use crate::report::Seen;
use std::sync::Arc;

/// Each with the place where this process keeps it for the next one.
pub struct Remembered {
    pub last_good: LastGood,
    /// The last good configuration.
    pub fragments: Option<Fragments>,
    pub last_findings: LastFindings,
    /// What was known of endpoints.
    pub findings: Recalled,
    pub last_answers: LastAnswers,
    /// What was known of names.
    pub answers: RecalledNames,
    pub last_seen: LastSeen,
    /// Who had connected to what.
    pub seen: Seen,
    /// The endpoints that it had removed.
    pub departures: Departures,
}

impl Remembered {
    /// Takes it out of everything that the process left.
    pub fn take_over(left: &mut Descriptors, store: &Arc<dyn Store>) -> Self {
        let (last_good, fragments) = LastGood::take_over(left, Arc::clone(store));
        let (last_findings, findings) = LastFindings::take_over(left, Arc::clone(store));
        let (last_answers, answers) = LastAnswers::take_over(left, Arc::clone(store));
        let (last_seen, seen) = LastSeen::take_over(left, Arc::clone(store));
        Self {
            last_good,
            fragments,
            last_findings,
            findings,
            last_answers,
            answers,
            last_seen,
            seen,
            departures: Departures::take_over(left, Arc::clone(store)),
        }
    }
}
