//! How an endpoint of a service is picked, and how many connections there may be.

use super::One;
use crate::config::endpoint::EndpointText;
use crate::config::lower::Diagnostics;
use crate::model::{Balance, ClientsBy, Name};
use std::num::NonZeroU32;
use std::time::Duration;

impl One<'_, '_> {
    pub(super) fn balance(&self, waypoint: Option<&Name>, report: &mut Diagnostics) -> Balance {
        let Some(written) = &self.text.balance else {
            return Balance::default();
        };
        if waypoint.is_some() && written.value.0 != Balance::default() {
            let message = "`balance` has no effect on clients: the waypoint of the service picks";
            report.push(self.at(written).note(message));
        }
        written.value.0
    }

    /// Says where limits of endpoints limit no client.
    pub(super) fn limits_of_endpoints(&self, waypoint: Option<&Name>, report: &mut Diagnostics) {
        let endpoints = self.text.endpoints.iter().flat_map(|list| &list.items);
        let mut limited = endpoints.filter(|it| match &it.value {
            EndpointText::Table(table) => table.max_connections.is_some(),
            _ => false,
        });
        if waypoint.is_some()
            && let Some(first) = limited.next()
        {
            let message = "`max_connections` of an endpoint has no effect on clients: the waypoint of the service picks";
            let problem = self.at(first).note(message);
            report.push(
                problem.help("`max_connections` of the service counts what goes to its waypoint"),
            );
        }
    }

    fn hashes(&self) -> bool {
        let balance = self.text.balance.as_ref();
        balance.is_some_and(|it| it.value.0 == Balance::ConsistentHash)
    }

    pub(super) fn clients_by(&self, report: &mut Diagnostics) -> ClientsBy {
        let Some(written) = &self.text.clients_by else {
            return ClientsBy::default();
        };
        if !self.hashes() && self.text.affinity.is_none() && self.text.sound {
            let message = "`clients_by` has no effect: nothing depends on who connects";
            let problem = self.at(written).warning(message);
            report.push(
                problem.help(
                    "`balance = \"consistent-hash\"` or `affinity` ties clients to endpoints",
                ),
            );
        }
        written.value.0
    }

    pub(super) fn hash_slots(&self, report: &mut Diagnostics) -> Option<NonZeroU32> {
        let written = self.text.hash_slots.as_ref()?;
        if !self.hashes() && self.text.sound {
            let message = "`hash_slots` has no effect without `balance = \"consistent-hash\"`";
            report.push(self.at(written).warning(message));
        }
        NonZeroU32::new(written.value.0)
    }

    pub(super) fn affinity(
        &self,
        waypoint: Option<&Name>,
        report: &mut Diagnostics,
    ) -> Option<Duration> {
        let written = self.text.affinity.as_ref()?;
        let time = written.value.0;
        if time.is_zero() {
            let problem = self
                .at(written)
                .error("`affinity` has to be longer than zero");
            report.push(problem.help("without `affinity`, each connect is a choice of its own"));
        } else if waypoint.is_some() {
            let message = "`affinity` has no effect on clients: the waypoint of the service picks";
            report.push(self.at(written).note(message));
        }
        Some(time)
    }

    pub(super) fn client_connects_per_second(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.text.client_connects_per_second?.0)
    }

    pub(super) fn max_connections(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.text.max_connections?.0)
    }

    pub(super) fn connects_per_second(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.text.connects_per_second?.0)
    }
}
