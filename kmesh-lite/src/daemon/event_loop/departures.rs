//! What becomes of connections to endpoints that a pass removes.

use super::Daemon;
use crate::daemon::datapath::Datapath;
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::model::{Mesh, OnRemove};
use crate::tables::{Tables, departing};
use imbl::ordmap::DiffItem;
use kmesh_lite_common::Service;
use log::warn;
use std::collections::BTreeMap;

/// What is to become of the connections to endpoints, by the name of their service.
struct Consequences {
    of_services: BTreeMap<String, OnRemove>,
    /// None where they need not be looked at.
    of_others: Option<OnRemove>,
}

impl Consequences {
    /// None where there is nothing to do. Counted connections go on to count where their endpoint comes back.
    fn of(&self, service: &Service) -> Option<OnRemove> {
        let said = self.of_services.get(service.name.as_str());
        let said = said.copied().or(self.of_others);
        said.filter(|it| *it != OnRemove::Keep || service.picking.counts())
    }
}

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    /// Before a pass: writes down the endpoints that `mesh` removes and whose connections are not simply kept, or are
    /// counted.
    pub(super) fn announce_departures(&mut self, mesh: &Mesh) {
        if let Some(consequences) = self.consequences(mesh)
            && let Some(tables) = self.tables()
        {
            let departing = departing(&tables, mesh, |service| consequences.of(service));
            self.departures.announce(departing);
        }
        self.state.facts.departed = self.departures.ids();
    }

    /// The tables as they are; none where they cannot be read, which a pass tells.
    pub(super) fn tables(&mut self) -> Option<Tables> {
        let left = self.datapath.left();
        left.or_else(|| Some(self.datapath.read().ok()?.tables))
    }

    /// What services want that lose endpoints; none if nothing has to be done.
    fn consequences(&self, mesh: &Mesh) -> Option<Consequences> {
        let Some(before) = &self.state.applied else {
            // What an earlier process left, of which the tables know.
            let of_services = mesh.services.iter();
            return self.datapath.has_inherited().then(|| Consequences {
                of_services: of_services
                    .map(|(name, service)| (name.to_string(), service.on_remove))
                    .collect(),
                of_others: Some(mesh.on_remove),
            });
        };
        let changed = before.services.diff(&mesh.services);
        let changed: BTreeMap<_, _> = changed
            .filter_map(|change| {
                let (name, before, on_remove) = match change {
                    DiffItem::Add(..) => return None,
                    DiffItem::Update {
                        old: (name, before),
                        new: (_, service),
                    } => (name, before, service.on_remove),
                    DiffItem::Remove(name, service) => (name, service, service.on_remove),
                };
                let concerns = on_remove != OnRemove::Keep || before.picking().counts();
                concerns.then(|| (name.to_string(), on_remove))
            })
            .collect();
        (!changed.is_empty()).then_some(Consequences {
            of_services: changed,
            of_others: None,
        })
    }

    /// After a pass: no new connection goes to endpoints that it removed.
    pub(super) fn settle_departures(&mut self) {
        if self.departures.is_empty() {
            return;
        }
        if let Some(tables) = self.tables() {
            self.departures.settle(&tables);
            self.look_after_departures();
        }
    }

    /// Ends the connections that are to end, and counts those that go on.
    pub(super) fn look_after_departures(&mut self) {
        let to_end = self.departures.to_end();
        if !to_end.is_empty() {
            match self.datapath.end(&to_end) {
                Ok(ended) => {
                    self.state.history.killed += self.departures.ended(&to_end, &ended);
                }
                Err(error) => warn!("{}", crate::log::chain(&error)),
            }
        }
        match self.datapath.connections() {
            Ok(living) => self.departures.count(&living),
            Err(error) => warn!("{}", crate::log::chain(&error)),
        }
    }
}
