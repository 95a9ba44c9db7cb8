//! What the operator wants of endpoints.

use super::{Daemon, Trigger};
use crate::api::{Change, Failure, FailureKind, OrderRequest, Ordered, OrderedEndpoint, now};
use crate::control::Caller;
use crate::daemon::datapath::Datapath;
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::health::Order;
use crate::host::monotonic;
use crate::model::{Endpoint, Mesh, Name, OperatorState};
use crate::report;
use log::{info, warn};
use std::collections::BTreeSet;

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    /// Takes an order in, writes it down, and makes it so.
    pub(super) fn order(
        &mut self,
        request: &OrderRequest,
        caller: Caller,
    ) -> Result<Ordered, Failure> {
        let not_found = |error: String| Failure::new(FailureKind::NotFound, error);
        let mesh = self.state.mesh.clone();
        let mesh = mesh.ok_or_else(|| not_found("there is no mesh yet".to_owned()))?;
        let meant = mesh.endpoints_named(&request.endpoint);
        let meant = meant.map_err(|error| not_found(error.to_string()))?;
        for (name, endpoint) in &meant {
            let before = self.state.health.orders.get(name, endpoint).cloned();
            let order = changed(before.unwrap_or_default(), endpoint, request.change, caller);
            info!(
                uid = caller.uid, pid = caller.pid.unwrap_or_default();
                "on request, {name}/{} {}", title(&mesh, name, endpoint), words(request.change)
            );
            let health = &mut self.state.health;
            health.order(name, endpoint, order, monotonic());
        }
        let not_kept = self.order_book.write(&self.state.health.orders);
        let not_kept = not_kept.err().map(|error| crate::log::chain(&error));
        if let Some(error) = &not_kept {
            warn!("the order is forgotten when the daemon ends: {error}");
        }
        let services: BTreeSet<_> = meant.iter().map(|(name, _)| *name).collect();
        for name in services {
            let standings = &mut self.state.facts.standings;
            self.state.health.stand(name, standings);
        }
        let (health, names) = (&self.state.health, &self.state.names);
        self.state.roster.follow(&mesh, health, names);
        self.pass_with_facts(Trigger::Fact)
            .map_err(|_| Failure::new(FailureKind::Failed, self.state.verdict()))?;
        self.tell_status();
        let known = self.known();
        let endpoints = meant.iter().map(|(name, endpoint)| OrderedEndpoint {
            service: name.to_string(),
            endpoint: title(&mesh, name, endpoint),
            health: mesh
                .services
                .get(*name)
                .and_then(|service| report::endpoint_health(&known, name, service, endpoint)),
        });
        Ok(Ordered {
            endpoints: endpoints.collect(),
            not_kept,
        })
    }
}

/// What the operator wants after a change, which is the word of `caller`.
fn changed(before: Order, endpoint: &Endpoint, change: Change, caller: Caller) -> Order {
    let (state, weight) = match change {
        Change::Drain => (Some(OperatorState::Drain), before.weight),
        Change::Maintenance => (Some(OperatorState::Maintenance), before.weight),
        // Where the file says so as well, there is nothing to be said.
        Change::Ready if endpoint.state == OperatorState::Ready => (None, before.weight),
        Change::Ready => (Some(OperatorState::Ready), before.weight),
        Change::Weight(weight) => (before.state, weight),
    };
    // Since when it is drained, and by whom, matters more than whose a weight is.
    let is_about_weight = matches!(change, Change::Weight(_)) && state.is_some();
    let (uid, at) = match is_about_weight {
        true => (before.uid, before.at),
        false => (caller.uid, now()),
    };
    Order {
        state,
        weight,
        uid,
        at,
    }
}

fn words(change: Change) -> String {
    match change {
        Change::Drain => "takes no new connections from now on".to_owned(),
        Change::Maintenance => "is in maintenance from now on".to_owned(),
        Change::Ready => "is ready again".to_owned(),
        Change::Weight(Some(weight)) => format!("has the weight {weight} from now on"),
        Change::Weight(None) => "has the weight of the file again".to_owned(),
    }
}

/// An endpoint as its status calls it.
pub(super) fn title(mesh: &Mesh, name: &Name, endpoint: &Endpoint) -> String {
    let service = mesh.services.get(name);
    service.map_or_else(
        || endpoint.address.to_string(),
        |service| endpoint.title(&service.ports),
    )
}
