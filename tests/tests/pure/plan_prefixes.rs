//! What holds after every prefix of every plan.

use kmesh_lite::maps::Memory;
use kmesh_lite::model::{Facts, Mesh, Service, Vip};
use kmesh_lite::reconcile::{Prepared, prepare};
use kmesh_lite::tables::Tables;
use kmesh_lite::{plan::Op, tables::Row};
use kmesh_lite_tests::mesh::{Draft, draft, facts, mesh_of, pair, plain, tight};
use kmesh_lite_tests::pass::{filled, pass, watched_pass};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

/// Things that both tables have keep their ids.
fn keeps_ids(prepared: &Prepared) {
    let keys = |tables: &Tables| {
        let waypoints = tables.rows.waypoints.iter();
        let backends = tables.rows.backends.iter();
        let services = tables.rows.services.iter();
        let frontends = tables.rows.frontends.iter();
        let addresses = tables.rows.addresses.iter();
        BTreeMap::<String, u32>::new()
            .into_iter()
            .chain(waypoints.map(|(id, row)| (format!("waypoint {}", row.name), id.index())))
            .chain(backends.map(|(id, row)| (format!("backend {}", row.address), id.index())))
            .chain(services.map(|(id, row)| (format!("service {}", row.name), id.index())))
            .chain(frontends.map(|(id, row)| (format!("frontend {:?}", row.key), id.index())))
            .chain(addresses.map(|(id, row)| (format!("address {}", row.address), id.index())))
            .collect::<BTreeMap<_, _>>()
    };
    let (before, after) = (
        keys(&prepared.actual.tables),
        keys(&prepared.desired.tables),
    );
    for (key, id) in &after {
        assert!(
            before.get(key).is_none_or(|old| old == id),
            "{key} gets another id"
        );
    }
}

/// What is the same in both meshes gets no operation.
fn leaves_the_rest_alone(plan: &[Op], before: &Mesh, after: &Mesh) {
    if before.node != after.node {
        return;
    }
    // Rows of endpoints say whether the backend has a waypoint.
    let behind = |mesh: &Mesh, ip| {
        mesh.backends
            .get(&ip)
            .is_some_and(|it| it.waypoint.is_some())
    };
    let moved = |service: &Arc<Service>| {
        let mut backends = service.endpoints.iter().map(|it| it.address);
        backends.any(|ip| behind(before, ip) != behind(after, ip))
    };
    let same = |name: &str| {
        let (old, new) = (before.services.get(name), after.services.get(name));
        let stays = |service: &Arc<Service>| !service.vips.contains(&Vip::Auto) && !moved(service);
        let is_guarded = |mesh: &Mesh| {
            mesh.guarded_against_clients()
                .iter()
                .any(|it| it.as_str() == name)
        };
        old == new && new.is_some_and(stays) && is_guarded(before) == is_guarded(after)
    };
    for op in plan {
        let (Op::Put(row) | Op::Retire(row) | Op::Free(row)) = op else {
            continue;
        };
        match row {
            Row::Service(_, row) => assert!(!same(row.name.as_str()), "{op}"),
            Row::Backend(_, row) => {
                let ip = IpAddr::from(row.address);
                assert_ne!(before.backends.get(&ip), after.backends.get(&ip), "{op}");
            }
            Row::Waypoint(_, row) => {
                let name = row.name.as_str();
                assert_ne!(
                    before.waypoints.get(name),
                    after.waypoints.get(name),
                    "{op}"
                );
            }
            Row::Authorization(_, row) => {
                let name = row.name.as_str();
                assert_ne!(before.policies.get(name), after.policies.get(name), "{op}");
            }
            Row::Guard(..) | Row::Rule(..) | Row::Destination(..) | Row::Source(..) => {
                // Facts may have changed as well.
                assert!(
                    !(before.policies.is_empty() && after.policies.is_empty()),
                    "{op}"
                );
            }
            Row::Frontend(..) | Row::Address(..) => {}
        }
    }
    if before.services == after.services && !after.services.values().any(moved) {
        let ranges = plan.iter().any(|op| matches!(op, Op::PutRange(..)));
        assert!(!ranges, "no service changed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Before the commit the old mesh answers everything, after it the new one does.
    #[test]
    fn a_plan_replaces_one_mesh_by_another_at_once(
        (before, after) in pair(),
        facts in (facts(), facts()),
    ) {
        let (before, after) = (before.mesh(), after.mesh());
        let mut maps = Memory::new(before.limits);
        pass(&mut maps, &before, &facts.0);
        let prepared = watched_pass(&mut maps, &after, &facts.1);
        keeps_ids(&prepared);
        leaves_the_rest_alone(&prepared.plan.ops, &before, &after);
        let commits = prepared.plan.ops.iter().filter(|op| **op == Op::Commit).count();
        prop_assert!(commits <= 1);
        prop_assert_eq!(
            prepared.plan.is_empty(),
            prepared.desired.tables == prepared.actual.tables
        );
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    /// Ids and ranges that one plan frees are used again by later ones.
    #[test]
    fn chains_of_plans_reuse_what_was_freed(
        drafts in prop::collection::vec(draft(), 3..6),
        facts in facts(),
    ) {
        let meshes: Vec<_> = drafts.iter().map(Draft::mesh).collect();
        let limits = meshes.iter().map(tight).reduce(|one, other| one.max(other)).unwrap();
        // Ranges are whole stretches, and stretches need some play.
        let limits = kmesh_lite::model::Limits { endpoints: limits.endpoints * 2, ..limits };
        let mut maps = Memory::new(limits);
        for mesh in meshes {
            let mesh = Mesh { limits, ..mesh };
            let prepared = watched_pass(&mut maps, &mesh, &facts);
            keeps_ids(&prepared);
        }
    }
}

/// Four hundred services of thirty endpoints, of which one service gets one more.
#[test]
fn one_more_endpoint_writes_one_range_one_service_and_its_frontend() {
    let backend = |number: u32| IpAddr::from((0x0a01_0000 + number).to_be_bytes());
    let service = |number: u32, endpoints: Range<u32>| {
        let vip = IpAddr::from((0x0a60_0000 + number).to_be_bytes());
        let endpoints = endpoints.map(|at| (backend(number * 30 + at), 1));
        (format!("s{number}"), plain(&vip.to_string(), endpoints))
    };
    let before = mesh_of((0..400).map(|number| service(number, 0..30)));
    let after = mesh_of((0..400).map(|number| {
        // The additional one is a backend that others have already.
        service(number, if number == 200 { 0..31 } else { 0..30 })
    }));
    let mut maps = filled(&before, &Facts::default());
    let plan = prepare(&mut maps, &after, &Facts::default()).unwrap().plan;
    match plan.ops.as_slice() {
        [
            Op::Count(new),
            Op::PutRange(12_000, rows),
            Op::Put(Row::Service(_, service)),
            Op::Put(Row::Frontend(_, frontend)),
            Op::Commit,
        ] => {
            let counts = (new.len(), rows.len());
            assert_eq!((counts, service.name.as_str()), ((1, 31), "s200"));
            assert_eq!(frontend.in_use.first, 12_000);
        }
        _ => panic!("{plan}"),
    }
}
