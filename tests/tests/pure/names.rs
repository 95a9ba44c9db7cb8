//! Answers to the names of endpoints, one after the other: small passes end in what full ones make.

use kmesh_lite::config::{Fragments, Host, Loader, Origin};
use kmesh_lite::maps::Memory;
use kmesh_lite::model::{Facts, Limits, Mesh, Question, Record};
use kmesh_lite::names::{Answer, Answers, Trouble, TroubleKind};
use kmesh_lite::reconcile::{Left, prepare, prepare_next};
use kmesh_lite::tables::check;
use kmesh_lite_tests::mesh::standings;
use kmesh_lite_tests::pass::{pass, watch};
use proptest::prelude::*;
use proptest::sample::Index;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Services that share names, and addresses with each other and with the file.
fn written() -> Mesh {
    let text = "
        limits = { endpoints = 60, backends = 24 }
        [services.pg]
        vips = ['10.96.0.1', 'fd00:96::1']
        ports = [5432]
        endpoints = [{ dns = 'db.internal', port = 5433 }, '10.0.0.1', '10.0.0.2:5433']
        [services.web]
        vips = ['10.96.0.2']
        ports = [80, '53/udp']
        policy = 'failover'
        endpoints = [{ dns = 'db.internal', ports = { 80 = 8081 } }, { dns = 'web.internal', locality = 'eu/a' }]
        [services.srv]
        vips = ['10.96.0.3']
        ports = [443]
        endpoints = [{ dns = '_web._tcp.internal', srv = true }, '10.0.0.3:444']
        [services.plain]
        vips = ['10.96.0.4']
        ports = [25]
        endpoints = ['10.0.0.1', '10.0.0.9']
    ";
    let fragments = Fragments::from_iter([(Origin::new("mesh.toml"), text.to_owned())]);
    let loaded = Loader::default().load(&fragments, &Host::default());
    loaded.mesh.expect("a good file")
}

/// What comes of a question: which one, what, and what is known of endpoints meanwhile.
type Step = (Index, Option<Vec<(u8, bool, u8)>>, bool, u64);

fn step() -> impl Strategy<Value = Step> {
    let record = (0_u8..14, any::<bool>(), 0_u8..3);
    let records = prop::option::weighted(0.8, prop::collection::vec(record, 1..20));
    (any::<Index>(), records, any::<bool>(), any::<u64>())
}

/// A record of the kind that the question is about; some are no endpoints.
fn record(question: &Question, (last, is_v6, rank): (u8, bool, u8)) -> Record {
    let v4 = match last {
        0 => Ipv4Addr::new(10, 96, 0, 2),
        1 => Ipv4Addr::new(224, 0, 0, 1),
        last => Ipv4Addr::new(10, 0, 0, last),
    };
    let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into());
    let (is_v6, is_srv) = match question.kind.as_str() {
        "A" => (false, false),
        "AAAA" => (true, false),
        _ => (is_v6, true),
    };
    Record {
        rank: if is_srv { rank.into() } else { 0 },
        address: if is_v6 {
            IpAddr::V6(v6)
        } else {
            IpAddr::V4(v4)
        },
        port: is_srv.then_some(440 + u16::from(last % 5)),
        weight: if is_srv { last.into() } else { 1 },
        target: 0,
    }
}

fn learn(answers: &mut Answers, (which, records, is_nothing, _): &Step, now: u64) {
    let questions: Vec<_> = answers.questions().cloned().collect();
    let question = which.get(&questions);
    let trouble = || Trouble {
        kind: match is_nothing {
            true => TroubleKind::Nothing,
            false => TroubleKind::Failure,
        },
        reason: String::new(),
        since: now,
    };
    let records = records.iter().flatten().map(|it| record(question, *it));
    let found = Answer::new(records.collect(), 0, now).ok_or_else(trouble);
    answers.find(question, found);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_sequence_of_answers_ends_in_the_tables_of_a_full_pass(
        steps in prop::collection::vec(step(), 1..14),
    ) {
        let written = written();
        let mut answers = Answers::default();
        answers.follow(&written, 1);
        let mut before = answers.resolved(None);
        let limits = Limits { endpoints: 120, backends: 48, ..written.limits };
        let mut maps = Memory::new(limits);
        let prepared = pass(&mut maps, &before, &Facts::default());
        let mut left = Left::after(prepared, None);
        for (now, step) in (2..).zip(&steps) {
            learn(&mut answers, step, now);
            let mesh = answers.resolved(Some(&before));
            // Whatever names say, the mesh fits into its limits.
            prop_assert!(kmesh_lite::tables::shortages(&mesh).is_empty());
            let facts = standings(&Facts::default(), &mesh, step.3);
            let full = prepare(&mut maps, &mesh, &facts).unwrap();
            let small = prepare_next(&mut maps, &left, &mesh, &facts).unwrap();
            let small = small.expect("a small pass");
            prop_assert_eq!(&small.desired, &full.desired);
            prop_assert_eq!(&small.plan, &full.plan);
            prop_assert!(check(&small.desired.tables).is_ok());
            watch(&mut maps, &mesh, &facts, &small);
            left = Left::after(small, Some(left));
            // However it came about, the same answers are the same mesh.
            let mut others = Answers::default();
            others.follow(&written, 1);
            others.recall(answers.known());
            prop_assert_eq!(&others.resolved(None), &mesh);
            before = mesh;
        }
    }
}
