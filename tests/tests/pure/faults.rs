//! Passes that are interrupted: by an error, by a kill, by tables that are too small.

use kmesh_lite::maps::{Faulty, Maps, Memory};
use kmesh_lite::model::Table;
use kmesh_lite::model::{Facts, Limits, Mesh};
use kmesh_lite::plan::Op;
use kmesh_lite::reconcile::{Prepared, ReconcileError, apply, prepare};
use kmesh_lite::tables::shortages;
use kmesh_lite_tests::mesh::{Draft, connects, draft, facts, pair, tight, universe};
use kmesh_lite_tests::pass::{answers, carry_out, filled, pass, settled, watched_pass};
use proptest::prelude::*;
use proptest::sample::Index;

/// The tables after `successes` operations of a pass that then failed.
fn interrupted(maps: &Memory, prepared: &Prepared, successes: usize) -> Memory {
    let maps = maps.clone();
    let mut faulty = Faulty { maps, successes };
    match apply(&mut faulty, prepared) {
        Err(ReconcileError::Maps(_)) => faulty.maps,
        other => panic!("{other:?} after {successes} of:\n{}", prepared.plan),
    }
}

/// A plan that failed after its commit leaves rows of the old mesh beside those of the new one, and
/// there may be no room for a third: then the caller needs new tables. Before the commit there is.
fn lacks_room(maps: &Memory, mesh: &Mesh, facts: &Facts) -> bool {
    let prepared = prepare(&mut maps.clone(), mesh, facts);
    matches!(prepared, Err(ReconcileError::Capacity { .. }))
}

/// Limits that hold each of the meshes and no more. Endpoints are whole ranges, which need play.
fn tight_for(meshes: &[Mesh]) -> Limits {
    let limits = meshes.iter().map(tight).reduce(Limits::max);
    let limits = limits.expect("there is a mesh");
    Limits {
        endpoints: limits.endpoints * 2,
        ..limits
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whatever mesh comes next: the same one, the old one, or a third.
    #[test]
    fn the_next_pass_repairs_a_fault_at_any_operation(
        (before, after) in pair(),
        third in draft(),
        facts in facts(),
        watched in any::<Index>(),
    ) {
        let mut meshes = [&before, &after, &third].map(Draft::mesh);
        let limits = tight_for(&meshes);
        for mesh in &mut meshes {
            mesh.limits = limits;
        }
        let [before, after, _] = &meshes;
        let mut maps = filled(before, &facts);
        let prepared = prepare(&mut maps, after, &facts).unwrap();
        let connects = connects(universe());
        let old = answers(&maps, &connects);
        let new = answers(&{
            let mut maps = maps.clone();
            pass(&mut maps, after, &facts);
            maps
        }, &connects);
        let ops = &prepared.plan.ops;
        let commit = ops.iter().position(|op| *op == Op::Commit);
        for successes in 0..ops.len() {
            let left = interrupted(&maps, &prepared, successes);
            let committed = commit.is_some_and(|commit| successes > commit);
            prop_assert!(
                answers(&left, &connects) == *if committed { &new } else { &old },
                "a mixture after {successes} of:\n{}",
                prepared.plan
            );
            let next = &meshes[successes % meshes.len()];
            if committed && lacks_room(&left, next, &facts) {
                continue;
            }
            if successes == watched.index(ops.len()) {
                watched_pass(&mut left.clone(), next, &facts);
            } else {
                pass(&mut left.clone(), next, &facts);
            }
        }
    }

    /// Passes that fail one after the other, each at some operation of a plan to some mesh.
    #[test]
    fn any_number_of_faults_in_a_row_are_repaired(
        first in draft(),
        steps in prop::collection::vec((draft(), any::<Index>()), 1..6),
        last in draft(),
        facts in facts(),
    ) {
        let all = [&first, &last].into_iter().chain(steps.iter().map(|(draft, _)| draft));
        let limits = tight_for(&all.map(Draft::mesh).collect::<Vec<_>>());
        let mesh = |draft: &Draft| Mesh { limits, ..draft.mesh() };
        let mut maps = filled(&mesh(&first), &facts);
        let connects = connects(universe());
        let mut committed = false;
        for (draft, successes) in &steps {
            if lacks_room(&maps, &mesh(draft), &facts) {
                prop_assert!(committed);
                return Ok(());
            }
            let prepared = prepare(&mut maps, &mesh(draft), &facts).unwrap();
            if prepared.plan.is_empty() {
                continue;
            }
            let ops = &prepared.plan.ops;
            let successes = successes.index(ops.len());
            let before = answers(&maps, &connects);
            maps = interrupted(&maps, &prepared, successes);
            if ops[..successes].contains(&Op::Commit) {
                committed = true;
            } else {
                prop_assert!(answers(&maps, &connects) == before);
            }
        }
        if lacks_room(&maps, &mesh(&last), &facts) {
            prop_assert!(committed);
            return Ok(());
        }
        watched_pass(&mut maps, &mesh(&last), &facts);
    }

    /// A killed daemon does not know whether its last operation happened.
    #[test]
    fn operations_may_be_done_twice((before, after) in pair(), facts in facts()) {
        let (before, after) = (before.mesh(), after.mesh());
        let mut maps = filled(&before, &facts);
        let prepared = prepare(&mut maps, &after, &facts).unwrap();
        for op in &prepared.plan.ops {
            carry_out(&mut maps, op, &prepared.plan);
            let once = format!("{maps:?}");
            carry_out(&mut maps, op, &prepared.plan);
            prop_assert!(format!("{maps:?}") == once, "{}", op);
        }
        settled(&mut maps, &after, &facts, &prepared.desired.tables);
    }

    /// Nothing is written unless everything fits.
    #[test]
    fn capacity_is_checked_before_the_first_write((before, after) in pair(), facts in facts()) {
        let (before, after) = (before.mesh(), after.mesh());
        let mut maps = Memory::new(tight(&before));
        pass(&mut maps, &before, &facts);
        let untouched = format!("{maps:?}");
        match prepare(&mut maps, &after, &facts) {
            Ok(prepared) => apply(&mut maps, &prepared).unwrap(),
            Err(ReconcileError::Capacity { table, need, capacity }) => {
                prop_assert!(need > capacity);
                prop_assert_eq!(capacity, u64::from(maps.capacity(table)));
                prop_assert_eq!(format!("{maps:?}"), untouched);
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_mesh_beyond_its_limits_is_refused_by_the_name_of_the_limit(
        draft in draft(),
        table in 0..Table::ALL.len(),
    ) {
        let mut mesh = draft.mesh();
        let table = Table::ALL[table];
        let maps = &mut filled(&mesh, &Facts::default());
        let rows = maps.read().unwrap().tables.count(table);
        // A file cannot ask for none at all.
        prop_assume!(rows > 1);
        let limit = match table {
            Table::Waypoints => &mut mesh.limits.waypoints,
            Table::Authorizations => &mut mesh.limits.policies,
            Table::Guards => &mut mesh.limits.guards,
            Table::Rules => &mut mesh.limits.rules,
            Table::Destinations => &mut mesh.limits.destinations,
            Table::Sources => &mut mesh.limits.sources,
            Table::Backends => &mut mesh.limits.backends,
            Table::Endpoints => &mut mesh.limits.endpoints,
            Table::Services => &mut mesh.limits.services,
            Table::Frontends => &mut mesh.limits.frontends,
            Table::Addresses => &mut mesh.limits.addresses,
        };
        *limit = u32::try_from(rows - 1).unwrap();
        match prepare(maps, &mesh, &Facts::default()) {
            Err(ReconcileError::Build(error)) => {
                // What `check` says without a kernel.
                prop_assert_eq!(&error.0, &shortages(&mesh));
                let text = error.to_string();
                prop_assert!(text.contains(&format!("raise `[limits] {table}`")), "{}", text);
            }
            other => panic!("{other:?}"),
        }
    }
}
