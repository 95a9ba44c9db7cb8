//! Which endpoint a client gets where that depends on who it is, over tables in memory.

use kmesh_lite::maps::Memory;
use kmesh_lite::model::{Balance, Down, EndpointFact, Facts, Membership, Mesh, Service, Standing};
use kmesh_lite::reconcile::{Prepared, apply, prepare};
use kmesh_lite::tables::Tables;
use kmesh_lite_common::{Caller, Port, Protocol};
use kmesh_lite_ebpf::{Connect, decide};
use kmesh_lite_tests::answer::Answer;
use kmesh_lite_tests::mesh::{mesh_of, parse, plain};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// A service at 10.96.0.1:80 with these endpoints.
fn service(endpoints: &[(u8, u32)]) -> Service {
    let endpoints = endpoints.iter();
    plain(
        "10.96.0.1",
        endpoints.map(|(last, weight)| (IpAddr::from([10, 1, 0, *last]), *weight)),
    )
}

fn hashed(endpoints: &[(u8, u32)]) -> Mesh {
    of(Service {
        balance: Balance::ConsistentHash,
        ..service(endpoints)
    })
}

fn of(service: Service) -> Mesh {
    mesh_of([("web".to_owned(), service)])
}

/// One pass. All that may come of connects is looked at by other tests, which have fewer slots.
fn put(maps: &mut Memory, mesh: &Mesh, facts: &Facts) -> Prepared {
    let prepared = prepare(maps, mesh, facts).expect("the mesh fits");
    apply(maps, &prepared).expect("nothing fails");
    prepared
}

fn filled(mesh: &Mesh, facts: &Facts) -> Memory {
    let mut maps = Memory::new(mesh.limits);
    put(&mut maps, mesh, facts);
    maps
}

/// Where a client gets.
fn reached(maps: &Memory, client: u64) -> IpAddr {
    maps.client.set(client);
    maps.caller.set(Some(Caller::Ordinary));
    let connect = Connect {
        address: parse::<IpAddr>("10.96.0.1").into(),
        port: Port::new(80),
        protocol: Protocol::Tcp,
    };
    match Answer::new(decide(maps, &connect), maps) {
        Answer::Redirect { address, .. } => address.into(),
        other => panic!("{other:?}"),
    }
}

fn all(maps: &Memory) -> BTreeMap<u64, IpAddr> {
    (1..=500)
        .map(|client| (client, reached(maps, client)))
        .collect()
}

/// Facts by which the endpoint with this last byte is down.
fn without(mesh: &Mesh, last: u8) -> Facts {
    let mut facts = Facts::default();
    let service = &mesh.services["web"];
    let down = IpAddr::from([10, 1, 0, last]);
    for endpoint in service.endpoints.iter().filter(|it| it.address == down) {
        facts.learn(EndpointFact {
            service: parse("web"),
            endpoint: Membership::from(endpoint),
            standing: Standing::down(Down::Unhealthy),
        });
    }
    facts
}

/// The slots of each endpoint, and how many there are.
fn slots(tables: &Tables) -> (BTreeMap<IpAddr, u32>, u32) {
    let row = tables.rows.services.values().next().expect("a service");
    let range = &row.v4[0];
    let listed = tables.listed(range);
    let slots = listed.map(|it| (tables.address(&it).expect("a backend"), it.parts));
    (slots.collect(), range.total)
}

fn weights() -> impl Strategy<Value = Vec<(u8, u32)>> {
    let weights = prop::collection::vec(1..=20u32, 1..40);
    weights.prop_map(|weights| (1u8..).zip(weights).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Each endpoint is listed once, with the slots that its weight is worth.
    #[test]
    fn slots_are_shared_by_weight_to_within_one(weights in weights()) {
        let mesh = hashed(&weights);
        let mut maps = Memory::new(mesh.limits);
        let prepared = put(&mut maps, &mesh, &Facts::default());
        let (slots, total) = slots(&prepared.desired.tables);
        prop_assert_eq!(slots.len(), weights.len());
        prop_assert_eq!(slots.values().sum::<u32>(), total);
        let sum: u32 = weights.iter().map(|(_, weight)| weight).sum();
        for (last, weight) in weights {
            let exact = f64::from(weight) / f64::from(sum) * f64::from(total);
            let found = f64::from(slots[&IpAddr::from([10, 1, 0, last])]);
            prop_assert!((found - exact).abs() < 1.0, "{found} slots, not {exact}");
        }
    }

    /// What there was before does not matter.
    #[test]
    fn hosts_with_the_same_file_agree(weights in weights(), other in weights()) {
        let mesh = hashed(&weights);
        let fresh = filled(&mesh, &Facts::default());
        let mut used = filled(&hashed(&other), &Facts::default());
        put(&mut used, &mesh, &Facts::default());
        prop_assert_eq!(all(&fresh), all(&used));
    }

    /// While an endpoint is down its clients are elsewhere, and hardly any others; then all are back.
    #[test]
    fn hardly_more_clients_move_than_have_to(weights in weights().prop_filter("two", |it| it.len() > 1), gone in any::<prop::sample::Index>()) {
        let mesh = hashed(&weights);
        let (gone, _) = weights[gone.index(weights.len())];
        let address = IpAddr::from([10, 1, 0, gone]);
        let mut maps = filled(&mesh, &Facts::default());
        let before = all(&maps);
        put(&mut maps, &mesh, &without(&mesh, gone));
        let meanwhile = all(&maps);
        prop_assert!(meanwhile.values().all(|it| *it != address));
        let others = before.iter().filter(|(_, it)| **it != address);
        let moved = others.filter(|(client, it)| meanwhile[client] != **it).count();
        // Ideal is none.
        prop_assert!(moved <= before.len() / 20, "{moved} of {} clients moved that need not", before.len());
        put(&mut maps, &mesh, &Facts::default());
        prop_assert_eq!(all(&maps), before);
    }

    /// As long as it comes again in time, a client is where it was if that takes connections, whatever changes.
    #[test]
    fn a_client_keeps_its_endpoint(
        balance in prop::sample::select(Balance::ALL),
        steps in prop::collection::vec((weights(), 0..2_000u64), 1..6),
    ) {
        let affinity = Duration::from_millis(1_000);
        let mut maps = Memory::default();
        let mut kept: BTreeMap<u64, (IpAddr, u64)> = BTreeMap::new();
        for (weights, later) in steps {
            let mesh = of(Service {
                balance,
                affinity: Some(affinity),
                ..service(&weights)
            });
            if kept.is_empty() {
                maps = Memory::new(mesh.limits);
            }
            put(&mut maps, &mesh, &Facts::default());
            maps.now.set(maps.now.get() + later);
            let now = maps.now.get();
            for client in 1..=50 {
                let found = reached(&maps, client);
                if let Some((before, moment)) = kept.get(&client)
                    && now - moment <= 1_000
                    && mesh.services["web"].endpoints.iter().any(|it| it.address == *before)
                {
                    prop_assert_eq!(found, *before);
                }
                prop_assert_eq!(reached(&maps, client), found);
                kept.insert(client, (found, now));
            }
        }
    }
}

/// A pass that changes nothing writes nothing, and one endpoint is one endpoint to a plan.
#[test]
fn a_change_of_another_service_leaves_the_slots_as_they_are() {
    let endpoints = [(1, 1), (2, 1), (3, 2)];
    let with = |other: u32| {
        let other = plain("10.96.0.2", [(IpAddr::from([10, 1, 0, 9]), other)]);
        let hashed = Service {
            balance: Balance::ConsistentHash,
            ..service(&endpoints)
        };
        mesh_of([("web".to_owned(), hashed), ("other".to_owned(), other)])
    };
    let mut maps = filled(&with(1), &Facts::default());
    let prepared = put(&mut maps, &with(2), &Facts::default());
    let written = prepared.plan.ops.iter().map(|op| match op {
        kmesh_lite::plan::Op::PutRange(_, rows) => rows.len(),
        _ => 0,
    });
    assert!(written.sum::<usize>() <= 1, "{:?}", prepared.plan.ops);
}
