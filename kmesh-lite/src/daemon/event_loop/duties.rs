//! Targets in the words of the control socket.

use crate::api;
use crate::health::Target;
use crate::model::Check;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Targets with the numbers of targets, and their checks, each once.
pub fn of(targets: &[Target]) -> (Vec<api::Check>, Vec<api::Target>) {
    let mut numbers: BTreeMap<&Arc<Check>, u32> = BTreeMap::new();
    let mut checks = Vec::new();
    let targets = targets.iter().map(|target| {
        let number = *numbers.entry(&target.check).or_insert_with(|| {
            checks.push(target.check.as_ref().into());
            checks.len() as u32 - 1
        });
        api::Target {
            address: target.address,
            check: number,
            healthy: None,
        }
    });
    let targets = targets.collect();
    (checks, targets)
}
