//! Passes that cost what they change: built upon what the last one left, and told nothing else.

use kmesh_lite::maps::{Faulty, Memory};
use kmesh_lite::model::{Facts, Limits, Mesh, Vip};
use kmesh_lite::reconcile::{Left, Prepared, apply, prepare, prepare_next};
use kmesh_lite::tables::{check, check_since};
use kmesh_lite_tests::mesh::{Draft, chain, facts, mesh_of, plain, standing, standings, tight};
use kmesh_lite_tests::pass::{filled, pass, watch};
use proptest::prelude::*;
use proptest::sample::Index;
use std::net::IpAddr;

/// What a mesh and facts become one after the other.
type Steps = Vec<(Mesh, Facts)>;

/// Meshes that have parts of the one before, and facts of which most stay. The endpoint table has play.
fn steps() -> impl Strategy<Value = Steps> {
    let change = (
        any::<u64>(),
        any::<u64>(),
        facts(),
        prop::bool::weighted(0.2),
    );
    (chain(), facts(), prop::collection::vec(change, 12)).prop_map(|(drafts, mut host, changes)| {
        let meshes: Vec<_> = drafts.iter().map(Draft::mesh).collect();
        let limits = meshes.iter().map(tight).reduce(Limits::max);
        let limits = limits.expect("there is a mesh");
        let limits = Limits {
            endpoints: limits.endpoints * 2,
            ..limits
        };
        let mut steps = Steps::new();
        for (mesh, two) in meshes.into_iter().zip(changes.chunks(2)) {
            let mesh = Mesh { limits, ..mesh };
            // First a step of the file and facts, then one of facts alone.
            for (bits, others, other_host, moves) in two {
                if *moves {
                    host = other_host.clone();
                }
                steps.push((mesh.clone(), standings(&host, &mesh, bits & others)));
            }
        }
        steps
    })
}

/// The tables of a first pass, and what it left.
fn begun((mesh, facts): &(Mesh, Facts)) -> (Memory, Left) {
    let mut maps = Memory::new(mesh.limits);
    let prepared = pass(&mut maps, mesh, facts);
    (maps, Left::after(prepared, None))
}

/// Whether a small pass may say that everything has to be looked at.
fn is_large(left: &Left, mesh: &Mesh) -> bool {
    let has_automatic = |mesh: &Mesh| {
        let mut services = mesh.services.values();
        services.any(|service| service.vips.contains(&Vip::Auto))
    };
    left.mesh().node != mesh.node || has_automatic(left.mesh()) || has_automatic(mesh)
}

/// The same as everything gives.
fn is_whole(small: &Prepared, full: &Prepared) {
    assert_eq!(small.desired, full.desired);
    assert_eq!(small.plan, full.plan);
    assert_eq!(small.actual, full.actual);
    assert_eq!(small.summary(), full.summary());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The next pass may be a small one again: all that is kept is what a look at everything would find.
    #[test]
    fn small_passes_do_and_leave_what_full_ones_do(steps in steps()) {
        let (mut maps, mut left) = begun(&steps[0]);
        for (mesh, facts) in &steps[1..] {
            let full = prepare(&mut maps, mesh, facts).unwrap();
            let small = prepare_next(&mut maps, &left, mesh, facts).unwrap();
            prop_assert!(small.is_some() || is_large(&left, mesh));
            let prepared = small.unwrap_or_else(|| full.clone());
            is_whole(&prepared, &full);
            watch(&mut maps, mesh, facts, &prepared);
            left = Left::after(prepared, Some(left));
            prop_assert_eq!(&left, &Left::after(full, None));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_refers_to_a_row_that_is_gone_is_found_by_a_look_at_what_differs(
        steps in steps(),
        table in 0..3,
        at in any::<Index>(),
    ) {
        let (maps, left) = begun(&steps[0]);
        let (mesh, facts) = &steps[1];
        let mut tables = prepare(&mut maps.clone(), mesh, facts).unwrap().desired.tables;
        let rows = &mut tables.rows;
        match table {
            0 => nth(rows.waypoints.keys(), at).and_then(|id| rows.waypoints.remove(&id)).is_some(),
            1 => nth(rows.backends.keys(), at).and_then(|id| rows.backends.remove(&id)).is_some(),
            _ => nth(rows.services.keys(), at).and_then(|id| rows.services.remove(&id)).is_some(),
        };
        prop_assert_eq!(check_since(left.tables(), &tables).is_err(), check(&tables).is_err());
    }

    #[test]
    fn a_fault_at_any_operation_of_a_small_pass_is_repaired_by_a_full_one(steps in steps()) {
        let (mut maps, mut left) = begun(&steps[0]);
        for (number, (mesh, facts)) in steps.iter().enumerate().skip(1) {
            let small = prepare_next(&mut maps, &left, mesh, facts).unwrap();
            let Some(prepared) = small else {
                left = Left::after(pass(&mut maps, mesh, facts), None);
                continue;
            };
            for successes in 0..prepared.plan.ops.len() {
                let mut faulty = Faulty { maps: maps.clone(), successes };
                prop_assert!(apply(&mut faulty, &prepared).is_err());
                let (mesh, facts) = &steps[(number + successes) % steps.len()];
                // Rows of the old mesh may be beside those of the new one, with no room for a third.
                if prepare(&mut faulty.maps, mesh, facts).is_ok() {
                    pass(&mut faulty.maps, mesh, facts);
                }
            }
            apply(&mut maps, &prepared).unwrap();
            left = Left::after(prepared, Some(left));
        }
    }
}

fn nth<'a, T: Copy + 'a>(ids: impl Iterator<Item = &'a T>, at: Index) -> Option<T> {
    let ids: Vec<_> = ids.copied().collect();
    (!ids.is_empty()).then(|| *at.get(&ids))
}

/// Four hundred services of thirty endpoints.
fn large() -> Mesh {
    let backend = |number: u32| IpAddr::from((0x0a01_0000 + number).to_be_bytes());
    mesh_of((0..400).map(|number: u32| {
        let vip = IpAddr::from((0x0a60_0000 + number).to_be_bytes());
        let endpoints = (0..30).map(|at| (backend(number * 30 + at), 1));
        (format!("s{number}"), plain(&vip.to_string(), endpoints))
    }))
}

#[test]
fn a_fact_about_an_endpoint_reads_and_writes_its_service() {
    let (mesh, facts) = (large(), Facts::default());
    let mut maps = filled(&mesh, &facts);
    let left = Left::after(prepare(&mut maps, &mesh, &facts).unwrap(), None);
    // Only the row of the service is looked at.
    maps.tables.backends.slots.clear();
    let (name, service) = mesh.services.get_min().unwrap();
    let mut facts = facts;
    facts.learn(kmesh_lite::model::EndpointFact {
        service: name.clone(),
        endpoint: (&service.endpoints[7]).into(),
        standing: standing(false),
    });
    let prepared = prepare_next(&mut maps, &left, &mesh, &facts)
        .unwrap()
        .unwrap();
    let ops: Vec<_> = prepared.plan.ops.iter().map(ToString::to_string).collect();
    let ops: Vec<_> = ops
        .iter()
        .map(|op| op.split(' ').take(3).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        ops,
        [
            "put endpoints [12000..12029]",
            "put endpoints [12029..12030]",
            "put service #1",
            "put frontend #1",
            "commit"
        ]
    );
    assert_eq!(
        prepared.summary(),
        [
            "service s0: ~ endpoint 10.1.0.7, weight 1, unusable (was: endpoint 10.1.0.7 at priority 0, weight 1)"
        ]
    );
}
