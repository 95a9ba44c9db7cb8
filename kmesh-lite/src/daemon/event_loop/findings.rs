//! What follows from what the agent found.

use super::{Daemon, Trigger};
use crate::daemon::datapath::Datapath;
use crate::daemon::event::Found;
use crate::daemon::hearsay::{self, Heard};
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::health::{EjectionChange, Turn};
use crate::host::monotonic;
use crate::model::{Membership, Service};
use crate::report::{FEW, first_few};
use kmesh_lite_common::{EndpointId, Port};
use log::{debug, info, warn};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    /// Takes in what was found, and makes one pass for all of it. Whoever found it is answered when that is over.
    pub(super) fn find(&mut self, found: Vec<Found>) {
        let now = monotonic();
        let mut heard = Heard::default();
        let mut answers = Vec::with_capacity(found.len());
        for Found { report, reply } in found {
            let asked = self.state.roster.asked();
            let health = &mut self.state.health;
            let outcome = hearsay::take_in(report, asked, now, health, &mut heard);
            answers.push((reply, outcome));
        }
        let Heard { facts, turns } = heard;
        let before = self.state.facts.standings.clone();
        for fact in facts {
            self.state.facts.learn(fact);
        }
        log_turns(&turns);
        for turn in turns.iter().filter(|turn| turn.lasted.is_some()) {
            self.state.history.turns[usize::from(!turn.condition.healthy)] += 1;
        }
        // Ahead of the pass: the next process must not know less than the tables.
        if !turns.is_empty()
            && let Some(last) = &mut self.last_findings
        {
            last.keep(&self.state.health, self.state.base);
        }
        if self.state.facts.standings != before {
            drop(self.pass_with_facts(Trigger::Fact));
        }
        if !turns.is_empty() {
            self.tell_status();
        }
        for (reply, outcome) in answers {
            drop(reply.send(outcome));
        }
    }

    /// Gives endpoints that came back what time gives them, and ejects those that connects fail at.
    pub(super) fn tick(&mut self) {
        let before = self.state.facts.standings.clone();
        let now = monotonic();
        let standings = &mut self.state.facts.standings;
        self.state.health.tick(now, standings);
        self.eject(now);
        if self.state.facts.standings != before {
            drop(self.pass_with_facts(Trigger::Fact));
            self.tell_status();
        }
    }

    /// Looks at what became of connects to the endpoints of services that eject them.
    fn eject(&mut self, now: u64) {
        let Some(services) = self.state.health.due(now).cloned() else {
            return;
        };
        let (Some(mesh), Some(tables)) = (self.state.applied.clone(), self.datapath.left()) else {
            return;
        };
        let fates = match self.datapath.fates() {
            Ok(fates) => fates,
            Err(error) => {
                debug!(
                    "cannot see what became of connects: {}",
                    crate::log::chain(&error)
                );
                return;
            }
        };
        for row in tables.rows.services.values() {
            let name = row.name.to_string();
            let Some((name, service)) = mesh
                .services
                .get_key_value(name.as_str())
                .filter(|(name, _)| services.contains(*name))
            else {
                continue;
            };
            let known = members(service, tables.counters_of(row));
            let of_service = known.into_iter().map(|(member, id)| {
                let fates = fates.get(&id).copied();
                (member, fates.unwrap_or_default())
            });
            let of_service: Vec<_> = of_service.collect();
            let standings = &mut self.state.facts.standings;
            let health = &mut self.state.health;
            for change in health.look(name, &of_service, now, standings) {
                log_ejection(&change);
            }
        }
    }
}

/// The endpoints of a service by their counters.
fn members(
    service: &Service,
    counters: Vec<(IpAddr, Vec<Port>, EndpointId)>,
) -> Vec<(Membership, EndpointId)> {
    let columns = service.columns();
    let mut known = BTreeMap::new();
    for endpoint in &service.endpoints {
        let ports = service.own_ports(&columns, endpoint).into_iter();
        let ports: Vec<_> = ports.map(|port| port.unwrap_or(0)).collect();
        known.insert((endpoint.address, ports), Membership::from(endpoint));
    }
    let counters = counters.into_iter();
    counters
        .filter_map(|(address, ports, id)| {
            let ports = ports.iter().map(|port| port.get()).collect();
            Some((known.remove(&(address, ports))?, id))
        })
        .collect()
}

fn log_ejection(change: &EjectionChange) {
    let (service, address) = (&change.service, change.endpoint.address);
    match &change.ejected {
        Some(ejected) => warn!(
            "{service}: {address} is ejected for {} s: {} connects in a row failed",
            Duration::from_nanos(ejected.until - ejected.since).as_secs(),
            ejected.run
        ),
        None => info!("{service}: {address} is tried again"),
    }
}

/// Says what became of sockets. A host that fails may have thousands.
fn log_turns(turns: &[Turn]) {
    for healthy in [false, true] {
        let turned = turns.iter().filter(|it| it.condition.healthy == healthy);
        let lines: Vec<_> = turned.map(line).collect();
        for line in first_few(&lines) {
            match healthy {
                true => info!("{line}"),
                false => warn!("{line}"),
            }
        }
        for line in lines.iter().skip(FEW) {
            debug!("{line}");
        }
    }
}

fn line(turn: &Turn) -> String {
    let services: Vec<_> = turn.services.iter().map(ToString::to_string).collect();
    let services = first_few(&services).join(", ");
    let state = if turn.condition.healthy {
        "healthy"
    } else {
        "unhealthy"
    };
    let reason = &turn.condition.reason;
    let address = turn.target.address;
    match turn.lasted.map(Duration::from_nanos) {
        Some(lasted) => format!(
            "{services}: {address} is {state} after {} s: {reason}",
            lasted.as_secs()
        ),
        None => format!("{services}: {address} is {state}: {reason}"),
    }
}
