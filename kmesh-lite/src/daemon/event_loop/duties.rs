//! Subjects in the words of the control socket.

use crate::api;
use crate::health::Subject;
use crate::model::Check;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Targets with the numbers of subjects, and their checks, each once.
pub fn of(subjects: &[Subject]) -> (Vec<api::Check>, Vec<api::Target>) {
    let mut numbers: BTreeMap<&Arc<Check>, u32> = BTreeMap::new();
    let mut checks = Vec::new();
    let targets = subjects.iter().map(|subject| {
        let number = *numbers.entry(&subject.check).or_insert_with(|| {
            checks.push(subject.check.as_ref().into());
            checks.len() as u32 - 1
        });
        api::Target {
            address: subject.address,
            check: number,
            healthy: None,
        }
    });
    let targets = targets.collect();
    (checks, targets)
}
