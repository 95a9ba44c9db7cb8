//! One pass: read, build, check, diff, apply, verify.
//!
//! A full pass does that with everything there is. A small one trusts what the last pass left, and does it with
//! what differs from that; where it finds something else, it becomes a full one.
//!
//! In: a mesh, facts and the kernel behind a [`Port`]. Out: a pass that says what it did, or an error
//! after which the kernel still answers for the old mesh (or already for the new one), and the next
//! pass repairs it.
//!
//! Most passes change the tables in place. Where there is no room for the mesh, or for the difference, tables
//! that have the room are filled beside them, and the links are switched over.

mod anew;
mod left;
mod prepare;

pub use anew::Anew;
pub use left::Left;
pub use prepare::{Prepared, apply, prepare, prepare_next};

use crate::hooks::{self, Attached, HookOp, HookPlan, Wanted};
use crate::maps::{Maps, MapsError};
use crate::model::{Cgroup, Facts, Limits, Mesh, Table};
use crate::plan::drift;
use crate::tables::{BuildError, Built, Dangling, larger};
use prepare::prepare_anew;
use std::collections::BTreeSet;

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error("the mesh does not fit")]
    Build(#[from] BuildError),
    #[error("the desired tables contradict themselves, which is a defect of kmesh-lite")]
    Check(#[from] Dangling),
    #[error(
        "table `{table}` has room for {capacity} rows, {need} are needed while the old mesh is replaced by the new one"
    )]
    Capacity {
        table: Table,
        need: u64,
        capacity: u64,
    },
    #[error(transparent)]
    Maps(#[from] MapsError),
    #[error("{left} operations are left after the pass: something else writes to the tables")]
    Verify { left: usize },
}

/// The kernel, as a pass needs it.
pub trait Port {
    type Maps: Maps;
    type Error: From<ReconcileError> + From<MapsError>;

    /// The tables in charge, or those that will be once they hold a mesh.
    fn maps(&mut self) -> &mut Self::Maps;
    /// The room in these tables.
    fn room(&self) -> Limits;
    /// Whether these tables can go on: their generations are not used up.
    fn can_go_on(&self) -> Result<bool, Self::Error>;
    /// Whether programs may be running on these tables.
    fn is_in_charge(&self) -> bool;
    /// Repairs what is not part of any mesh, and says what was wrong.
    fn mend(&mut self) -> Result<Vec<String>, Self::Error>;

    /// The same with what takes a look at every row.
    fn mend_rows(&mut self) -> Result<Vec<String>, Self::Error> {
        Ok(Vec::new())
    }

    /// Reads back what is attached.
    fn attached(&mut self) -> Result<Attached, Self::Error>;
    /// Keeps other daemons away from cgroups. Gives the ids of those that have gone meanwhile.
    fn claim(&mut self, cgroups: &[Cgroup]) -> Result<BTreeSet<u64>, Self::Error>;
    /// Makes links: all of them, or none.
    fn make_links(&mut self, ops: &[HookOp]) -> Result<(), Self::Error>;
    /// Lets go of links.
    fn drop_links(&mut self, ops: &[HookOp]);

    /// Empty tables with this room, beside those in charge.
    fn beside(&mut self, room: Limits) -> Result<Self::Maps, Self::Error>;
    /// Puts tables that hold what was built in charge of every link.
    fn replace(&mut self, maps: Self::Maps, built: &Built) -> Result<(), Self::Error>;
    /// The tables hold a mesh: they are handed to whoever keeps them beyond this process.
    fn keep(&mut self);
    /// The pass is over.
    fn settle(&mut self);
}

/// Everything that a pass will do.
#[derive(Clone, Debug)]
pub struct Change {
    pub tables: Prepared,
    /// The new tables, if the plan is for such.
    pub anew: Option<Anew>,
    pub hooks: HookPlan,
    attached: Attached,
    wanted: Wanted,
}

/// How much a pass looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything: whatever is not as it should be is found.
    Everything,
    /// What differs from what the last pass left, if it is known what that is.
    Changes,
}

/// What a pass did.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// Operations carried out; 0 when the kernel was as desired.
    pub operations: usize,
    /// The change in words.
    pub summary: Vec<String>,
    /// What was not as the last pass left it.
    pub drift: Vec<String>,
    /// Whether the tables were replaced by others.
    pub replaced: bool,
}

impl From<Prepared> for Change {
    /// A change of the tables alone.
    fn from(tables: Prepared) -> Self {
        Self {
            tables,
            anew: None,
            hooks: HookPlan::default(),
            attached: Attached::default(),
            wanted: Wanted::default(),
        }
    }
}

impl Change {
    /// The change in words.
    pub fn summary(&self) -> Vec<String> {
        let anew = self.anew.map(|anew| anew.to_string());
        anew.into_iter()
            .chain(self.tables.summary())
            .chain(self.hooks.summary())
            .collect()
    }

    /// Every operation as a text: those of the tables in order, then those of the hooks.
    pub fn operations(&self) -> Vec<String> {
        let tables = self.tables.plan.ops.iter().map(ToString::to_string);
        let hooks = self.hooks.writes().map(ToString::to_string);
        tables.chain(hooks).collect()
    }

    fn count(&self) -> usize {
        self.tables.plan.ops.len() + self.hooks.writes().count()
    }
}

/// Finds out what there is to do for `mesh`, and writes nothing.
pub fn change<P: Port>(port: &mut P, mesh: &Mesh, facts: &Facts) -> Result<Change, P::Error> {
    let wanted = Wanted::by(mesh, facts);
    let attached = port.attached()?;
    let in_place = if port.can_go_on()? {
        match prepare(port.maps(), mesh, facts) {
            // Too little room, or not in one piece: a fresh copy of the tables has no holes.
            Err(ReconcileError::Capacity { table, .. }) => Err(Some(table)),
            prepared => Ok(prepared?),
        }
    } else {
        Err(None)
    };
    let (tables, anew) = match in_place {
        Ok(prepared) => (prepared, None),
        Err(lacking) => {
            let prepared = prepare_anew(port.maps(), mesh, facts)?;
            let before = port.room();
            let need = |table| prepared.need(table);
            let after = larger(before, &mesh.limits, lacking, need);
            (prepared, Some(Anew { before, after }))
        }
    };
    Ok(Change {
        tables,
        anew,
        hooks: hooks::plan(&attached, &wanted),
        attached,
        wanted,
    })
}

/// The same by what differs from what the last pass left. None if everything has to be looked at.
fn next_change<P: Port>(
    port: &mut P,
    left: &Left,
    mesh: &Mesh,
    facts: &Facts,
) -> Result<Option<Change>, P::Error> {
    if !port.can_go_on()? {
        return Ok(None);
    }
    let wanted = Wanted::by(mesh, facts);
    let attached = port.attached()?;
    if !hooks::drift(&attached, &wanted).is_empty() {
        return Ok(None);
    }
    let tables = prepare_next(port.maps(), left, mesh, facts)?;
    Ok(tables.map(|tables| Change {
        tables,
        anew: None,
        hooks: hooks::plan(&attached, &wanted),
        attached,
        wanted,
    }))
}

/// Makes the kernel follow `mesh`. `left` is what the last pass left; after one that fails half way
/// nothing is known to have been left.
pub fn pass<P: Port>(
    port: &mut P,
    mesh: &Mesh,
    facts: &Facts,
    extent: Extent,
    left: &mut Option<Left>,
) -> Result<Pass, P::Error> {
    let mut found = port.mend()?;
    let small = match &*left {
        Some(left) if extent == Extent::Changes && found.is_empty() => {
            next_change(port, left, mesh, facts)?
        }
        _ => None,
    };
    let mut change = match small {
        Some(change) => change,
        None => {
            found.extend(port.mend_rows()?);
            let change = change(port, mesh, facts)?;
            if let Some(left) = &*left {
                found.extend(drift(left.tables(), &change.tables.actual));
                found.extend(hooks::drift(&change.attached, &change.wanted));
            }
            change
        }
    };
    // What can be wrong with the cgroups is found before anything is written.
    let gone = port.claim(&change.hooks.claims)?;
    change.hooks.leave_out(&gone);
    let before = left.take();

    // Until the commit new links see what the others do: the old mesh. Tables that are not in charge
    // have none to show, and links of the process before read others.
    let early = port.is_in_charge();
    if early {
        port.make_links(&change.hooks.make)?;
    }
    match change.anew {
        None => apply(port.maps(), &change.tables)?,
        Some(anew) => {
            let mut maps = port.beside(anew.after)?;
            apply(&mut maps, &change.tables)?;
            port.replace(maps, &change.tables.desired)?;
        }
    }
    if !early {
        port.keep();
        port.make_links(&change.hooks.make)?;
    }
    port.drop_links(&change.hooks.drop);
    port.settle();
    let pass = Pass {
        operations: change.count(),
        summary: change.summary(),
        drift: found,
        replaced: change.anew.is_some(),
    };
    *left = Some(Left::after(change.tables, before));
    Ok(pass)
}
