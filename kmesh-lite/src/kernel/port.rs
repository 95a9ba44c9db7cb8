//! What a pass asks of the kernel and does to it.

use super::object::{Object, Reuse};
use super::store::{Group, keep_group};
use super::{Kernel, KernelError};
use crate::hooks::{Attached, HookOp};
use crate::maps::{Maps, MapsError, Selection};
use crate::model::{Cgroup, Limits, Table};
use crate::plan::Op;
use crate::reconcile::Port;
use crate::tables::{Actual, Built};
use std::collections::BTreeSet;

impl Port for Kernel {
    type Maps = Object;
    type Error = KernelError;

    fn maps(&mut self) -> &mut Object {
        &mut self.object
    }

    fn room(&self) -> Limits {
        self.object.maps.room()
    }

    fn can_go_on(&self) -> Result<bool, KernelError> {
        Ok(!self.object.maps.is_worn_out()?)
    }

    fn is_in_charge(&self) -> bool {
        !self.tables_kept.is_empty()
    }

    fn mend(&mut self) -> Result<Vec<String>, KernelError> {
        let maps = &mut self.object.maps;
        let wrong = maps.mend_settings(self.options.settings())?;
        let mut drift: Vec<_> = wrong
            .iter()
            .map(|what| format!("settings: {what}"))
            .collect();
        if maps.is_worn_out()? {
            drift.push("settings: the generation is out of range".to_owned());
        }
        Ok(drift)
    }

    fn mend_rows(&mut self) -> Result<Vec<String>, KernelError> {
        if let Some(traffic) = &mut self.object.maps.traffic {
            let living =
                |ids: BTreeSet<u64>| self.cgroups.paths(ids.into_iter()).into_keys().collect();
            let folded = traffic.fold_cgroups(living);
            folded.map_err(KernelError::Connections)?;
        }
        let forgotten = self.object.maps.forget_backends();
        forgotten.map_err(KernelError::Connections)?;
        Ok(match self.object.maps.mend_address_bits()? {
            0 => Vec::new(),
            missing => vec![format!("addresses: bits of {missing} were not set")],
        })
    }

    fn attached(&mut self) -> Result<Attached, KernelError> {
        Ok(self.links.read(&self.object)?)
    }

    fn claim(&mut self, cgroups: &[Cgroup]) -> Result<BTreeSet<u64>, KernelError> {
        Ok(self.links.claim(&self.cgroups, cgroups)?)
    }

    fn make_links(&mut self, ops: &[HookOp]) -> Result<(), KernelError> {
        Ok(self.links.make(ops, &mut self.object)?)
    }

    fn drop_links(&mut self, ops: &[HookOp]) {
        self.links.drop(ops);
    }

    /// The new tables come with programs of their own; what sockets remember is shared by both.
    fn beside(&mut self, room: Limits) -> Result<Object, KernelError> {
        let reuse = Reuse {
            tables: None,
            sockets: Some(self.object.sockets()),
        };
        let options = &self.options;
        Ok(Object::load(
            &room,
            &options.limits,
            options.settings(),
            reuse,
        )?)
    }

    fn replace(&mut self, mut object: Object, built: &Built) -> Result<(), KernelError> {
        let before = self.object.maps.read()?.tables;
        let tables = [&before, &built.tables];
        let resumed = built.resumed();
        self.object
            .maps
            .hand_over(&mut object.maps, tables, &resumed)?;
        let handed = self.object.maps.hand_over_nameserver(&mut object.maps);
        handed.map_err(KernelError::Capture)?;
        // A process that takes over half way through the links finds the new tables whole, and goes on.
        let kept = keep_group(&*self.options.store, Group::Tables, object.tables());
        if let Err(error) = self.links.switch_all(&mut object) {
            // Links that have gone ahead would go on with tables that nobody writes to.
            self.links.switch_all(&mut self.object)?;
            self.superseded.extend(kept);
            return Err(error.into());
        }
        self.superseded
            .extend(std::mem::replace(&mut self.tables_kept, kept));
        self.object = object;
        Ok(())
    }

    fn keep(&mut self) {
        if self.tables_kept.is_empty() {
            self.tables_kept =
                keep_group(&*self.options.store, Group::Tables, self.object.tables());
        }
    }

    fn settle(&mut self) {
        self.release_superseded();
    }
}

/// An object is written to as its tables are.
impl Maps for Object {
    fn capacity(&self, table: Table) -> u32 {
        self.maps.capacity(table)
    }

    fn read(&mut self) -> Result<Actual, MapsError> {
        self.maps.read()
    }

    fn read_some(&mut self, selection: &Selection) -> Result<Actual, MapsError> {
        self.maps.read_some(selection)
    }

    fn apply(&mut self, op: &Op, generation: u64) -> Result<(), MapsError> {
        self.maps.apply(op, generation)
    }
}
