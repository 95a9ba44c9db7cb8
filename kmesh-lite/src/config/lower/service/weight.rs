//! Weights of a service's endpoints: whether they can be added up, and whether any endpoint takes connections.

use super::One;
use crate::config::lower::endpoint::Item;
use crate::config::lower::{Diagnostics, Spot};
use crate::model::{Policy, Scope, priority};

impl One<'_, '_> {
    pub(super) fn weights(&self, items: &[Item], report: &mut Diagnostics) {
        let sum: u64 = items
            .iter()
            .map(|item| u64::from(item.endpoint.weight))
            .sum();
        if sum > u64::from(u32::MAX) {
            let list = self.text.endpoints.as_ref();
            let spot = Spot::new(self.anchor, list.map_or(self.text.span, |list| list.span));
            let problem = spot.error(format!("the weights add up to {sum}"));
            report.push(
                problem
                    .expected(format!("a sum of at most {}", u32::MAX))
                    .help("only their ratios matter: divide all of them by the same number"),
            );
        }
    }

    /// Says so if connections will be refused, which is valid and may be meant.
    pub(super) fn none_usable(
        &self,
        items: &[Item],
        policy: Policy,
        prefer: &[Scope],
        report: &mut Diagnostics,
    ) {
        let name = self.name;
        let taking = |item: &&Item| item.endpoint.weight != 0;
        if items.is_empty() {
            let message = format!("`{name}` has no endpoints: its connections are refused");
            report.push(self.spot.note(message));
        } else if !items.iter().any(|item| taking(&item)) {
            let message =
                format!("every endpoint of `{name}` has weight 0: its connections are refused");
            report.push(self.spot.note(message));
        } else if policy == Policy::Strict {
            let here = self.context.node;
            let near = |item: &Item| priority(prefer, here, &item.endpoint.place) == 0;
            if !items.iter().filter(taking).any(near) {
                let scopes: Vec<_> = prefer.iter().map(|scope| format!("`{scope}`")).collect();
                let spot = self.text.policy.as_ref().map_or(self.spot, |p| self.at(p));
                report.push(spot.note(format!(
                    "no endpoint of `{name}` matches this host in {}: its connections are refused here",
                    scopes.join(", ")
                )));
            }
        }
    }
}
