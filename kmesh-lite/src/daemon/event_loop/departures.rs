//! What becomes of connections to endpoints that a pass removes.

use super::Daemon;
use crate::daemon::datapath::Datapath;
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::model::{Mesh, OnRemove};
use crate::tables::{Tables, departing};
use imbl::ordmap::DiffItem;
use log::warn;
use std::collections::BTreeMap;

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    /// Before a pass: writes down the endpoints that `mesh` removes and whose connections are not simply kept.
    pub(super) fn announce_departures(&mut self, mesh: &Mesh) {
        let Some(on_remove) = self.policies(mesh) else {
            return;
        };
        if let Some(tables) = self.tables() {
            self.departures
                .announce(departing(&tables, mesh, on_remove));
        }
    }

    /// The tables as they are; none where they cannot be read, which a pass tells.
    fn tables(&mut self) -> Option<Tables> {
        let left = self.datapath.left();
        left.or_else(|| Some(self.datapath.read().ok()?.tables))
    }

    /// What is to become of the connections of each service that loses endpoints; none if nothing has to be done.
    fn policies(&self, mesh: &Mesh) -> Option<Box<dyn Fn(&str) -> Option<OnRemove>>> {
        let Some(before) = &self.state.applied else {
            // What an earlier process left, of which the tables know.
            if !self.datapath.has_inherited() {
                return None;
            }
            let of_services = mesh.services.iter();
            let of_services: BTreeMap<_, _> = of_services
                .map(|(name, service)| (name.to_string(), service.on_remove))
                .collect();
            let of_others = mesh.on_remove;
            return Some(Box::new(move |name| {
                let on_remove = of_services.get(name).copied().unwrap_or(of_others);
                (on_remove != OnRemove::Keep).then_some(on_remove)
            }));
        };
        let changed = before.services.diff(&mesh.services);
        let changed: BTreeMap<_, _> = changed
            .filter_map(|change| match change {
                DiffItem::Add(..) => None,
                DiffItem::Update {
                    old: (name, _),
                    new: (_, service),
                }
                | DiffItem::Remove(name, service) => Some((name.to_string(), service.on_remove)),
            })
            .filter(|(_, on_remove)| *on_remove != OnRemove::Keep)
            .collect();
        if changed.is_empty() {
            return None;
        }
        Some(Box::new(move |name| changed.get(name).copied()))
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
