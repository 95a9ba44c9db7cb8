//! What the operator wants of endpoints.

use super::{Daemon, Trigger};
use crate::api::{Change, Failure, FailureKind, OrderRequest, Ordered, OrderedEndpoint, now};
use crate::control::Caller;
use crate::daemon::datapath::Datapath;
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::health::Order;
use crate::host::monotonic;
use crate::model::{Endpoint, Membership, Mesh, Name, OperatorState};
use crate::report;
use log::{info, warn};
use std::collections::BTreeSet;

/// Endpoints that are meant.
struct Meant<'a> {
    /// Those of the mesh.
    present: Vec<(&'a Name, &'a Endpoint)>,
    /// Those that it does not have, where an order of theirs is to be taken back.
    left: Vec<(Name, Membership)>,
}

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    /// Takes an order in, writes it down, and makes it so.
    pub(super) fn order(
        &mut self,
        request: &OrderRequest,
        caller: Caller,
    ) -> Result<Ordered, Failure> {
        let mesh = self.state.mesh.clone();
        let held = mesh.unwrap_or_default();
        let Meant {
            present: meant,
            left,
        } = self.meant(&held, request)?;
        for (name, endpoint) in &meant {
            let before = self.state.health.orders.get(name, endpoint).cloned();
            let order = changed(
                before.unwrap_or_default(),
                endpoint.state,
                request.change,
                caller,
            );
            told(name, &title(&held, name, endpoint), request.change, caller);
            let health = &mut self.state.health;
            health.order(name, endpoint, order, monotonic());
        }
        for (name, endpoint) in &left {
            let orders = &mut self.state.health.orders;
            let before = orders.of(name, endpoint).cloned().unwrap_or_default();
            let order = changed(before, OperatorState::Ready, request.change, caller);
            let title = endpoint.title(held.services.get(name).map(|it| &**it));
            told(name, &title, request.change, caller);
            orders.set(name.clone(), endpoint.clone(), order);
        }
        let not_kept = self.order_book.write(&self.state.health.orders);
        let not_kept = not_kept.err().map(|error| crate::log::chain(&error));
        if let Some(error) = &not_kept {
            warn!("the order is forgotten when the daemon ends: {error}");
        }
        if !meant.is_empty() {
            self.make_it_so(&held, &meant)?;
        }
        let known = self.known();
        let ordered = meant.iter().map(|(name, endpoint)| OrderedEndpoint {
            service: name.to_string(),
            endpoint: title(&held, name, endpoint),
            health: held
                .services
                .get(*name)
                .and_then(|service| report::endpoint_health(&known, name, service, endpoint)),
            absent: false,
            order: None,
        });
        let taken_back = left.iter().map(|(name, endpoint)| OrderedEndpoint {
            service: name.to_string(),
            endpoint: endpoint.title(held.services.get(name).map(|it| &**it)),
            health: None,
            absent: true,
            order: known
                .health
                .orders
                .of(name, endpoint)
                .map(report::order_status),
        });
        Ok(Ordered {
            endpoints: ordered.chain(taken_back).collect(),
            not_kept,
        })
    }

    /// What a request is about.
    fn meant<'a>(&self, mesh: &'a Mesh, request: &OrderRequest) -> Result<Meant<'a>, Failure> {
        let orders = &self.state.health.orders;
        let left = match request.change {
            Change::Ready | Change::Weight(None) => orders.left_named(&request.endpoint, mesh),
            _ => Vec::new(),
        };
        let error = match mesh.endpoints_named(&request.endpoint) {
            Ok(present) => return Ok(Meant { present, left }),
            Err(_) if !left.is_empty() => {
                return Ok(Meant {
                    present: Vec::new(),
                    left,
                });
            }
            Err(_) if self.state.mesh.is_none() => "there is no mesh yet".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(Failure::new(FailureKind::NotFound, error))
    }

    /// Brings the kernel up to what is wanted of some endpoints.
    fn make_it_so(&mut self, mesh: &Mesh, meant: &[(&Name, &Endpoint)]) -> Result<(), Failure> {
        let services: BTreeSet<_> = meant.iter().map(|(name, _)| *name).collect();
        for name in services {
            let standings = &mut self.state.facts.standings;
            self.state.health.stand(name, standings);
        }
        let (health, names) = (&self.state.health, &self.state.names);
        self.state.roster.follow(mesh, health, names);
        self.pass_with_facts(Trigger::Fact)
            .map_err(|_| Failure::new(FailureKind::Failed, self.state.verdict()))?;
        self.tell_status();
        Ok(())
    }
}

fn told(service: &Name, endpoint: &str, change: Change, caller: Caller) {
    info!(
        uid = caller.uid, pid = caller.pid.unwrap_or_default();
        "on request, {service}/{endpoint} {}", words(change)
    );
}

/// What the operator wants after a change, which is the word of `caller`.
/// `in_file` is what the file says.
fn changed(before: Order, in_file: OperatorState, change: Change, caller: Caller) -> Order {
    let (state, weight) = match change {
        Change::Drain => (Some(OperatorState::Drain), before.weight),
        Change::Maintenance => (Some(OperatorState::Maintenance), before.weight),
        // Where the file says so as well, there is nothing to be said.
        Change::Ready if in_file == OperatorState::Ready => (None, before.weight),
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
