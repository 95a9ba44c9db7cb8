//! Tables that begin small and are replaced when a mesh needs more room than they have.

use kmesh_lite::hooks::{Attached, HookOp};
use kmesh_lite::maps::{Faulty, Maps, Memory};
use kmesh_lite::model::{Cgroup, Facts, Limits, Mesh, Table};
use kmesh_lite::reconcile::{self, Extent, Left, Port, ReconcileError};
use kmesh_lite::tables::{Built, Tables};
use kmesh_lite_common::EndpointId;
use kmesh_lite_tests::mesh::{Draft, chain, connects, facts, standings, tight, universe};
use kmesh_lite_tests::pass::{Answers, answers, settled};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A kernel in memory: tables in charge, and others beside them for a while.
struct InMemory {
    maps: Faulty<Memory>,
    /// Operations on other tables that succeed.
    beside: usize,
    replaced: usize,
}

impl InMemory {
    /// Tables with hardly any room.
    fn new() -> Self {
        Self {
            maps: unfailing(Memory::new(Limits::each(|_| 1, 1, 1))),
            beside: usize::MAX,
            replaced: 0,
        }
    }

    fn memory(&mut self) -> &mut Memory {
        &mut self.maps.maps
    }

    fn pass(
        &mut self,
        (mesh, facts): &(Mesh, Facts),
        extent: Extent,
        left: &mut Option<Left>,
    ) -> Result<reconcile::Pass, ReconcileError> {
        reconcile::pass(self, mesh, facts, extent, left)
    }
}

fn unfailing(maps: Memory) -> Faulty<Memory> {
    Faulty {
        maps,
        successes: usize::MAX,
    }
}

impl Port for InMemory {
    type Maps = Faulty<Memory>;
    type Error = ReconcileError;

    fn maps(&mut self) -> &mut Faulty<Memory> {
        &mut self.maps
    }

    fn room(&self) -> Limits {
        Limits::each(|table| Table::room_of(self.maps.capacity(table)), 1, 1)
    }

    fn can_go_on(&self) -> Result<bool, ReconcileError> {
        Ok(true)
    }

    fn is_in_charge(&self) -> bool {
        true
    }

    fn mend(&mut self) -> Result<Vec<String>, ReconcileError> {
        Ok(Vec::new())
    }

    fn attached(&mut self) -> Result<Attached, ReconcileError> {
        Ok(Attached::default())
    }

    fn claim(&mut self, _: &[Cgroup]) -> Result<BTreeSet<u64>, ReconcileError> {
        Ok(BTreeSet::new())
    }

    fn make_links(&mut self, _: &[HookOp]) -> Result<(), ReconcileError> {
        Ok(())
    }

    fn drop_links(&mut self, _: &[HookOp]) {}

    fn beside(&mut self, room: Limits) -> Result<Faulty<Memory>, ReconcileError> {
        Ok(Faulty {
            maps: Memory::new(room),
            successes: self.beside,
        })
    }

    fn replace(&mut self, maps: Faulty<Memory>, _: &Built) -> Result<(), ReconcileError> {
        self.replaced += 1;
        self.maps = unfailing(maps.maps);
        Ok(())
    }

    fn keep(&mut self) {}

    fn settle(&mut self) {}
}

/// What a mesh and facts become one after the other. The limits are those of each mesh: they rise and fall.
fn steps() -> impl Strategy<Value = Vec<(Mesh, Facts)>> {
    let bits = prop::collection::vec(any::<u64>(), 6);
    (chain(), facts(), bits).prop_map(|(drafts, host, bits)| {
        let meshes = drafts.iter().map(Draft::mesh).zip(bits);
        let step = |(mesh, bits): (Mesh, u64)| {
            let limits = tight(&mesh);
            let limits = Limits::each(|table| limits.of(table).max(1), 1, 1);
            let mesh = Mesh { limits, ..mesh };
            let facts = standings(&host, &mesh, bits);
            (mesh, facts)
        };
        meshes.map(step).collect()
    })
}

/// Ids by name, and counters by endpoint.
fn kept(tables: &Tables) -> (BTreeMap<String, u32>, BTreeMap<String, EndpointId>) {
    let mut ids = BTreeMap::new();
    for table in Table::ALL {
        for index in 0..1_000 {
            if let Some(name) = tables.name(*table, index) {
                ids.insert(format!("{table} {name}"), index);
            }
        }
    }
    let counted = tables.counted();
    let counted = counted.map(|(endpoint, id)| (format!("{endpoint:?}"), id));
    (ids, counted.collect())
}

fn stays<T: PartialEq + std::fmt::Debug>(
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
) {
    for (name, value) in before {
        let now = after.get(name);
        assert!(
            now.is_none_or(|now| now == value),
            "{name}: {value:?}, {now:?}"
        );
    }
}

fn all_answers(maps: &Memory) -> Answers {
    answers(maps, &connects(universe()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    /// Small passes and full ones, in place and into larger tables, in any order.
    #[test]
    fn tables_that_grow_hold_every_mesh_of_a_chain(steps in steps(), small in any::<u16>()) {
        let (mut port, mut left) = (InMemory::new(), None);
        let mut before = Tables::default();
        for (number, step) in steps.iter().enumerate() {
            let room = port.room();
            let extent = if small >> number & 1 == 1 { Extent::Changes } else { Extent::Everything };
            let pass = port.pass(step, extent, &mut left).unwrap();
            let after = port.memory().read().unwrap().tables;
            settled(port.memory(), &step.0, &step.1, &after);
            let (ids, counters) = (kept(&before), kept(&after));
            stays(&ids.0, &counters.0);
            stays(&ids.1, &counters.1);
            for table in Table::ALL {
                let (was, now) = (room.of(*table), port.room().of(*table));
                prop_assert!(now >= was && now as usize >= after.count(*table));
                prop_assert!(pass.replaced || now == was);
            }
            // What is kept for the next pass is what a look at everything would find.
            let mut fresh = None;
            prop_assert_eq!(port.pass(step, Extent::Everything, &mut fresh).unwrap().operations, 0);
            prop_assert_eq!(left.as_ref(), fresh.as_ref());
            before = after;
        }
        // One address is more than there was room for, if any mesh has two.
        let most = steps.iter().map(|(mesh, _)| mesh.services.len()).max();
        prop_assert!(port.replaced > 0 || most < Some(2));
    }

    /// Tables in charge answer as before until others are, however far those were filled.
    #[test]
    fn a_fault_while_other_tables_are_filled_changes_nothing(
        steps in steps(),
        successes in 0..40_usize,
    ) {
        let (mut port, mut left) = (InMemory::new(), None);
        for step in &steps {
            let before = all_answers(port.memory());
            let replaced = port.replaced;
            port.beside = successes;
            let pass = port.pass(step, Extent::Changes, &mut left);
            if pass.is_err() {
                prop_assert_eq!(port.replaced, replaced);
                prop_assert!(all_answers(port.memory()) == before);
                port.beside = usize::MAX;
                port.pass(step, Extent::Changes, &mut left).unwrap();
            }
            let after = port.memory().read().unwrap().tables;
            settled(port.memory(), &step.0, &step.1, &after);
        }
    }

    /// A mesh beyond its limits is refused whatever room there is.
    #[test]
    fn limits_are_kept_to_whatever_room_there_is(steps in steps()) {
        let (mut port, mut left) = (InMemory::new(), None);
        for (mesh, facts) in &steps {
            port.pass(&(mesh.clone(), facts.clone()), Extent::Changes, &mut left).unwrap();
            let untouched = format!("{:?}", port.memory());
            let most = mesh.services.len() as u32;
            if most < 2 {
                continue;
            }
            let limits = Limits { services: most - 1, ..mesh.limits };
            let beyond = Mesh { limits, ..mesh.clone() };
            let refused = port.pass(&(beyond, facts.clone()), Extent::Changes, &mut left);
            let is_refused = matches!(refused, Err(ReconcileError::Build(_)));
            prop_assert!(is_refused, "{refused:?}");
            prop_assert_eq!(format!("{:?}", port.memory()), untouched);
        }
    }
}
