//! What the operator wants of endpoints.

use super::{Daemon, Trigger};
use crate::api::{Change, Failure, FailureKind, OrderRequest, Ordered, OrderedEndpoint, now};
use crate::control::Caller;
use crate::daemon::datapath::Datapath;
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::health::{Addressee, Order};
use crate::host::monotonic;
use crate::model::{Endpoint, Membership, Mesh, Name, NamedEndpoints, OperatorState};
use crate::report;
use log::{info, warn};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a request is about.
struct Meant<'a> {
    /// Endpoints of the mesh.
    present: Vec<(&'a Name, &'a Endpoint)>,
    /// Names whose endpoints those are, if the request is about a name.
    named: Vec<(&'a Name, &'a NamedEndpoints)>,
    /// What the mesh does not have, where an order of it is to be taken back.
    left: Vec<(Name, Addressee)>,
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
        let meant = self.meant(&held, request)?;
        self.take_in(&held, &meant, request.change, caller);
        let not_kept = self.order_book.write(&self.state.health.orders);
        let not_kept = not_kept.err().map(|error| crate::log::chain(&error));
        if let Some(error) = &not_kept {
            warn!("the order is forgotten when the daemon ends: {error}");
        }
        if !meant.present.is_empty() {
            self.make_it_so(&held, &meant.present)?;
        }
        Ok(Ordered {
            endpoints: self.ordered(&held, &meant),
            not_kept,
        })
    }

    fn take_in(&mut self, mesh: &Mesh, meant: &Meant<'_>, change: Change, caller: Caller) {
        let now = monotonic();
        let health = &mut self.state.health;
        for (name, named) in &meant.named {
            let addressee = Addressee::Name(Arc::clone(&named.name));
            let before = health.orders.of(name, &addressee).cloned();
            let order = changed(before.unwrap_or_default(), named.like.state, change, caller);
            told(name, &named.name, change, caller);
            let of_service = meant.present.iter().filter(|(of, _)| of == name);
            let concerned: Vec<_> = of_service.map(|(_, endpoint)| *endpoint).collect();
            // What was said of single ones before is over.
            let own = concerned.iter().filter_map(|endpoint| {
                let own = Addressee::from(Membership::from(*endpoint));
                let before = health.orders.of(name, &own)?.clone();
                Some((own, without(before, change)))
            });
            let orders = own.chain([(addressee, order)]).collect();
            health.order(name, orders, &concerned, now);
        }
        let single = meant.present.iter().filter(|_| meant.named.is_empty());
        for (name, endpoint) in single {
            let own = Addressee::from(Membership::from(*endpoint));
            let before = health.orders.of(name, &own).cloned().unwrap_or_default();
            let beneath = health.orders.state_beneath(name, endpoint);
            let order = changed(before, beneath, change, caller);
            told(name, &title(mesh, name, endpoint), change, caller);
            health.order(name, vec![(own, order)], &[endpoint], now);
        }
        for (name, addressee) in &meant.left {
            let orders = &mut health.orders;
            let before = orders.of(name, addressee).cloned().unwrap_or_default();
            let order = changed(before, OperatorState::Ready, change, caller);
            let title = addressee.title(mesh.services.get(name).map(|it| &**it));
            told(name, &title, change, caller);
            orders.set(name.clone(), addressee.clone(), order);
        }
    }

    /// How what was meant stands now.
    fn ordered(&mut self, mesh: &Mesh, meant: &Meant<'_>) -> Vec<OrderedEndpoint> {
        let known = self.known();
        let present = meant.present.iter();
        let present = present.map(|(name, endpoint)| OrderedEndpoint {
            service: name.to_string(),
            endpoint: title(mesh, name, endpoint),
            health: mesh
                .services
                .get(*name)
                .and_then(|service| report::endpoint_health(&known, name, service, endpoint)),
            absent: false,
            order: None,
        });
        let has_endpoints = |service: &Name| meant.present.iter().any(|(of, _)| *of == service);
        let empty = meant.named.iter();
        let empty = empty.filter(|(name, _)| !has_endpoints(name));
        let empty = empty.map(|(name, named)| {
            let addressee = Addressee::Name(Arc::clone(&named.name));
            ((*name).clone(), addressee, false)
        });
        let left = meant.left.iter();
        let left = left.map(|(name, addressee)| (name.clone(), addressee.clone(), true));
        let others = empty.chain(left).map(|(name, addressee, absent)| {
            let order = known.health.orders.of(&name, &addressee);
            OrderedEndpoint {
                service: name.to_string(),
                endpoint: addressee.title(mesh.services.get(&name).map(|it| &**it)),
                health: None,
                absent,
                order: order.map(report::order_status),
            }
        });
        present.chain(others).collect()
    }

    /// What a request is about.
    fn meant<'a>(&self, mesh: &'a Mesh, request: &OrderRequest) -> Result<Meant<'a>, Failure> {
        let orders = &self.state.health.orders;
        let left = match request.change {
            Change::Ready | Change::Weight(None) => orders.left_named(&request.endpoint, mesh),
            _ => Vec::new(),
        };
        let named = mesh.names_meant(&request.endpoint);
        let error = match mesh.endpoints_named(&request.endpoint) {
            Ok(present) => {
                return Ok(Meant {
                    present,
                    named,
                    left,
                });
            }
            // A name may have no address yet.
            Err(_) if !left.is_empty() || !named.is_empty() => {
                return Ok(Meant {
                    present: Vec::new(),
                    named,
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
/// `in_file` is what the file says, or an order of the name.
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

/// An order after another one about the same was given of all endpoints of a name.
fn without(before: Order, change: Change) -> Order {
    match change {
        Change::Weight(_) => Order {
            weight: None,
            ..before
        },
        _ => Order {
            state: None,
            ..before
        },
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
