//! The decision over tables against the reference over the mesh, and the odds of its choices.

use kmesh_lite::maps::{Maps, Memory};
use kmesh_lite::model::{Balance, Caller, Facts, Mesh, Vip};
use kmesh_lite::tables::{OpenConnections, Remembered, Tables, Whose, replay};
use kmesh_lite_common::{Address, Nameserver, Port, Protocol};
use kmesh_lite_ebpf::{Connect, Outcome, PassReason, Taken, Verdict, decide, give_back};
use kmesh_lite_tests::answer::{Answer, CLIENT, answers, odds};
use kmesh_lite_tests::chi::{chi_squared, critical};
use kmesh_lite_tests::mesh::{connects, draft, facts, mesh_of, parse, plain, universe};
use kmesh_lite_tests::{pass, reference};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The tables of a mesh, and the mesh with its automatic addresses filled in.
fn filled(mesh: &Mesh, facts: &Facts) -> (Memory, Mesh) {
    let mut maps = Memory::new(mesh.limits);
    let prepared = pass::pass(&mut maps, mesh, facts);
    CLIENT.connects(&maps);
    (maps, reference::resolve(mesh, &prepared.desired.tables))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_connect_gets_what_the_mesh_allows(draft in draft(), facts in facts()) {
        let (maps, mesh) = filled(&draft.mesh(), &facts);
        for connect in connects(universe()) {
            for caller in Caller::ALL {
                let got = answers(&maps, *caller, &connect);
                let allowed = reference::answers((&mesh, &mesh), &facts, *caller, &connect);
                prop_assert!(
                    got.iter().eq(allowed.keys()),
                    "{caller} to {connect:?}\ngets    {got:?}\ninstead {:?}",
                    allowed.keys()
                );
            }
        }
    }

    /// What `explain` goes by decides as the programs do.
    #[test]
    fn a_replay_over_a_copy_of_the_tables_gives_what_the_mesh_allows(
        draft in draft(),
        facts in facts(),
        draw in prop_oneof![Just(0), Just(u32::MAX), any::<u32>()],
    ) {
        let (mut maps, mesh) = filled(&draft.mesh(), &facts);
        let tables = maps.read().unwrap().tables;
        for connect in connects(universe()) {
            for caller in Caller::ALL {
                let (verdict, _) = replay(&tables, &connect, CLIENT.whose(*caller), draw, &OpenConnections::default(), &Remembered::default());
                let allowed = reference::answers((&mesh, &mesh), &facts, *caller, &connect);
                let got = Answer::new(verdict, &maps);
                prop_assert!(allowed.contains_key(&got), "{caller} to {connect:?}: {got:?}");
            }
        }
    }

    /// Questions with which the mesh has nothing to do go to the agent while it answers them; all else is decided as without
    /// it.
    #[test]
    fn questions_go_to_who_answers_where_the_mesh_has_no_part(
        draft in draft(),
        facts in facts(),
        (listens_v4, listens_v6, answers, at) in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
    ) {
        let (mut maps, mesh) = filled(&draft.mesh(), &facts);
        let without_capture = maps.clone();
        // A server that programs know, and an address that they ask anyway.
        let own = ["198.51.100.1", "fd00:5::53"].map(|text| Address::from(parse::<IpAddr>(text)));
        let port = if at { Port::new(53) } else { Port::new(15_053) };
        let given = |listens: bool| if listens { port } else { Port::EVERY };
        maps.nameserver = Some(Nameserver {
            v4: own[0],
            v6: own[1],
            v4_port: given(listens_v4),
            v6_port: given(listens_v6),
            ..Nameserver::default()
        });
        maps.answers_instead.set(answers);
        let known = connects(universe());
        let questions = known.iter().map(|connect| Connect { port: Port::new(53), ..*connect });
        let questions: Vec<_> = questions.chain(known.iter().copied()).collect();
        for connect in questions {
            for caller in Caller::ALL {
                maps.caller.set(Some(*caller));
                without_capture.caller.set(Some(*caller));
                let verdict = decide(&maps, &connect);
                let otherwise = decide(&without_capture, &connect);
                let (listens, own) = match IpAddr::from(connect.address) {
                    IpAddr::V4(_) => (listens_v4, own[0]),
                    IpAddr::V6(_) => (listens_v6, own[1]),
                };
                let without = reference::answers((&mesh, &mesh), &facts, *caller, &connect);
                let is_none_of_ours = without.keys().all(|answer| {
                    matches!(answer, Answer::Pass(PassReason::NotOurs | PassReason::UndeclaredPort))
                });
                let is_captured = answers && listens && is_none_of_ours
                    && connect.port == Port::new(53)
                    && *caller != Caller::Bypass
                    && (connect.address, connect.port) != (own, port);
                match verdict {
                    Verdict::Redirect(to) if to.is_query() => {
                        prop_assert!(is_captured, "{caller} to {connect:?}");
                        prop_assert_eq!((to.address, to.port), (own, port));
                        prop_assert_eq!(verdict.outcome(), Some(Outcome::CapturedQuery));
                    }
                    verdict => {
                        prop_assert!(!is_captured, "{caller} to {connect:?}: {verdict:?}");
                        prop_assert_eq!(verdict, otherwise);
                    }
                }
            }
        }
    }

    /// While connections are open at random, a connect goes to an endpoint with room, of the nearest priority that
    /// has one, and is refused where there is none.
    #[test]
    fn limits_are_held_whatever_is_open(
        draft in draft(),
        facts in facts(),
        open in prop::collection::vec(0..4u32, 32),
    ) {
        // Policies would only refuse some of it before.
        let mesh = Mesh { policies: BTreeMap::new(), ..draft.mesh() };
        let (mut maps, mesh) = filled(&mesh, &facts);
        let tables = maps.read().unwrap().tables;
        let now = open_at_random(&tables, &open);
        for connect in connects(universe()) {
            for caller in Caller::ALL {
                let allowed = reference::with_open(&mesh, &facts, *caller, &connect, &|service, endpoint| {
                    reference::open_of(&tables, &now, service, endpoint)
                });
                for draw in 0..12u32 {
                    maps.caller.set(Some(*caller));
                    maps.random.set(u64::from(draw));
                    maps.client.set(u64::from(draw));
                    *maps.open.borrow_mut() = now.clone();
                    let verdict = decide(&maps, &connect);
                    let got = Answer::new(verdict, &maps);
                    prop_assert!(allowed.contains(&got), "{caller} to {connect:?}: {got:?} instead of {allowed:?}");
                    // What `explain` goes by does so as well.
                    let (said, _) = replay(&tables, &connect, Whose::any(*caller), draw << 28, &now, &Remembered::default());
                    let said = Answer::new(said, &maps);
                    prop_assert!(allowed.contains(&said), "{caller} to {connect:?}: {said:?} instead of {allowed:?}");
                    // Exactly what the connection is one of was counted.
                    let counted = match verdict {
                        Verdict::Redirect(to) => to,
                        _ => {
                            prop_assert_eq!(total(&maps.open.borrow()), total(&now));
                            continue;
                        }
                    };
                    let taken = [Taken::ENDPOINT, Taken::SERVICE].map(|bit| u32::from(counted.taken.has(bit)));
                    let [endpoints, services] = total(&maps.open.borrow());
                    prop_assert_eq!([endpoints, services], [total(&now)[0] + taken[0], total(&now)[1] + taken[1]]);
                    give_back(&maps, &counted.chosen, counted.taken);
                    prop_assert_eq!(total(&maps.open.borrow()), total(&now));
                }
            }
        }
    }

    #[test]
    fn every_answer_is_as_likely_as_its_weight(draft in draft(), facts in facts()) {
        let (maps, mesh) = filled(&draft.mesh(), &facts);
        for connect in connects(universe()) {
            let found = odds(&maps, Caller::Ordinary, &connect);
            let shares = reference::answers((&mesh, &mesh), &facts, Caller::Ordinary, &connect);
            let total: u64 = shares.values().sum();
            let tolerance = tolerance(&mesh, &connect);
            for (answer, share) in shares {
                let expected = share as f64 / total as f64;
                let found = found[&answer];
                prop_assert!(
                    (found - expected).abs() < tolerance,
                    "{connect:?}: {found} instead of {expected} for {answer:?}"
                );
            }
        }
    }
}

/// By how much a share may be off: by a slot for each endpoint where clients are spread over slots.
fn tolerance(mesh: &Mesh, connect: &Connect) -> f64 {
    let address = Vip::Fixed(connect.address.into());
    let mut services = mesh.services.values();
    let service = services.find(|it| {
        let mut ports = it.ports.iter();
        let port = (connect.protocol, connect.port.get());
        it.vips.contains(&address) && ports.any(|it| (it.protocol, it.port) == port)
    });
    match service {
        Some(service) if service.balance == Balance::ConsistentHash => {
            1e-6 + service.endpoints.len() as f64 / f64::from(service.slots())
        }
        _ => 1e-6,
    }
}

/// So many open connections of each endpoint and service, over and over.
fn open_at_random(tables: &Tables, open: &[u32]) -> OpenConnections {
    let mut numbers = open.iter().copied().cycle();
    let mut next = move || numbers.next().unwrap_or_default();
    OpenConnections {
        endpoints: tables
            .endpoint_ids()
            .into_iter()
            .map(|id| (id, next()))
            .collect(),
        services: tables
            .rows
            .services
            .keys()
            .map(|id| (*id, next()))
            .collect(),
        ..OpenConnections::default()
    }
}

/// Of endpoints, and of services.
fn total(open: &OpenConnections) -> [u32; 2] {
    [open.endpoints.values().sum(), open.services.values().sum()]
}

/// A service at 10.96.0.1:80 with these weights.
fn weighted(weights: &[u32]) -> (Memory, Connect) {
    let endpoint = |(index, weight): (u16, &u32)| {
        let [high, low] = index.to_be_bytes();
        (IpAddr::from([10, 1, high, low]), *weight)
    };
    let service = plain("10.96.0.1", (0..).zip(weights).map(endpoint));
    let mesh = mesh_of([("weighted".to_owned(), service)]);
    let connect = Connect {
        address: parse::<IpAddr>("10.96.0.1").into(),
        port: Port::new(80),
        protocol: Protocol::Tcp,
    };
    (pass::filled(&mesh, &Facts::default()), connect)
}

/// How often each backend is chosen, by address.
fn draw(maps: &Memory, connect: &Connect, draws: usize) -> BTreeMap<IpAddr, u64> {
    let mut counts = BTreeMap::new();
    for _ in 0..draws {
        match Answer::new(decide(maps, connect), maps) {
            Answer::Redirect { address, .. } => *counts.entry(address.into()).or_default() += 1,
            other => panic!("{other:?}"),
        }
    }
    counts
}

#[test]
fn draws_hold_weights_and_evenness() {
    let rising: Vec<u32> = (1..=40).collect();
    let cases: [&[u32]; 6] = [
        &[1; 3],
        &[1; 100],
        &[1, 2, 3, 4],
        &[1, 0, 0, 9],
        &[1000, 1, 500, 1, 1000],
        &rising,
    ];
    for weights in cases {
        let (maps, connect) = weighted(weights);
        let open: Vec<f64> = weights
            .iter()
            .filter(|weight| **weight > 0)
            .map(|weight| f64::from(*weight))
            .collect();
        let counts: Vec<u64> = draw(&maps, &connect, 100_000).into_values().collect();
        assert_eq!(
            counts.len(),
            open.len(),
            "{weights:?}: somebody got nothing, or too much"
        );
        let (statistic, bound) = (chi_squared(&counts, &open), critical(open.len()));
        assert!(
            statistic < bound,
            "{weights:?}: {statistic} is not below {bound}"
        );
    }
}

#[test]
fn the_bound_notices_weights_that_are_off_by_a_tenth() {
    let (maps, connect) = weighted(&[10, 10, 10]);
    let counts: Vec<u64> = draw(&maps, &connect, 100_000).into_values().collect();
    assert!(chi_squared(&counts, &[9.0, 10.0, 10.0]) > critical(3));
}
