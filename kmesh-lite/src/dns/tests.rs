use super::answer::{Reply, Terms, answer};
use super::asked::Asked;
use super::foreign::{Flaw, ForeignAnswer};
use super::tree::Tree;
use crate::api::{QueryOutcome, Srv, Transport, Zone, ZoneRecords};
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

const TERMS: Terms = Terms {
    ttl: 5,
    negative_ttl: 2,
};

fn of(addresses: &[&[&str]]) -> Option<ZoneRecords> {
    let list = |list: &&[&str]| list.iter().map(|it| it.parse().unwrap()).collect();
    Some(ZoneRecords {
        addresses: addresses.iter().map(list).collect(),
        ..ZoneRecords::default()
    })
}

fn srv(target: &str, port: u16) -> Option<ZoneRecords> {
    Some(ZoneRecords {
        services: vec![Srv {
            priority: 0,
            weight: 1,
            port,
            target: target.to_owned(),
        }],
        ..ZoneRecords::default()
    })
}

fn zone() -> Zone {
    let pointer = Some("payments.mesh".to_owned());
    let names = [
        ("payments.mesh", of(&[&["10.96.0.10", "fd00::10"]])),
        ("a.payments.mesh", of(&[&["10.0.0.1"]])),
        (
            "near.mesh",
            of(&[&["10.0.0.1", "10.0.0.2", "10.0.0.3"], &["10.9.0.1"]]),
        ),
        ("nothing.mesh", Some(ZoneRecords::default())),
        ("_http._tcp.payments.mesh", srv("payments.mesh", 80)),
        ("pay.example", of(&[&["10.96.0.10"]])),
        ("*.shop.internal", of(&[&["10.96.0.11"]])),
        ("x.y.shop.internal", of(&[&["10.96.0.12"]])),
        (
            "10.0.96.10.in-addr.arpa",
            Some(ZoneRecords {
                pointer,
                ..ZoneRecords::default()
            }),
        ),
    ];
    Zone {
        revision: 7,
        since: None,
        names: names.map(|(name, it)| (name.to_owned(), it)).into(),
    }
}

fn tree() -> Tree {
    tree_of(&zone())
}

/// As the agent gets it.
fn tree_of(zone: &Zone) -> Tree {
    Tree::read("mesh", &serde_json::to_vec(zone).unwrap()).unwrap()
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

fn question(text: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.id = 4711;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(text), kind));
    message
}

fn extended(mut message: Message, payload: u16, version: u8) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload).set_version(version);
    edns.set_dnssec_ok(true);
    message.set_edns(edns);
    message
}

fn tell(tree: &Tree, bytes: &[u8], transport: Transport) -> Reply {
    answer(tree, TERMS, bytes, transport, &mut |below| below - 1)
}

fn reply(tree: &Tree, message: &Message, transport: Transport) -> (Message, QueryOutcome, usize) {
    match tell(tree, &message.to_vec().unwrap(), transport) {
        Reply::Answer { bytes, outcome, .. } => {
            (Message::from_vec(&bytes).unwrap(), outcome, bytes.len())
        }
        other => panic!("{other:?}"),
    }
}

fn ask(text: &str, kind: RecordType) -> (Message, QueryOutcome) {
    let (message, outcome, _) = reply(&tree(), &question(text, kind), Transport::Udp);
    assert!(message.metadata.authoritative && message.metadata.recursion_available);
    assert_eq!(message.metadata.id, 4711);
    (message, outcome)
}

fn data(message: &Message) -> Vec<String> {
    let records = message.answers.iter();
    records.map(|it| it.data.to_string()).collect()
}

fn is_foreign(text: &str) -> bool {
    let question = question(text, RecordType::A).to_vec().unwrap();
    matches!(
        tell(&tree(), &question, Transport::Udp),
        Reply::Forward(asked) if asked.name == name(text)
    )
}

#[test]
fn a_name_has_the_addresses_of_its_family_in_the_case_it_is_asked_in() {
    let (v4, outcome) = ask("PayMents.Mesh", RecordType::A);
    assert_eq!(
        (data(&v4), outcome),
        (vec!["10.96.0.10".to_owned()], QueryOutcome::Answered)
    );
    assert_eq!(v4.answers[0].ttl, 5);
    assert!(v4.answers[0].name.eq_case(&name("PayMents.Mesh")));
    assert!(v4.queries[0].name().eq_case(&name("PayMents.Mesh")));
    assert_eq!(
        data(&ask("payments.mesh", RecordType::AAAA).0),
        ["fd00::10"]
    );
    assert_eq!(data(&ask("pay.example", RecordType::A).0), ["10.96.0.10"]);
}

#[test]
fn a_port_leads_to_a_name_whose_addresses_come_along() {
    let (message, _) = ask("_http._tcp.payments.mesh", RecordType::SRV);
    assert_eq!(data(&message), ["0 1 80 payments.mesh."]);
    assert_eq!(message.additionals.len(), 2);
}

#[test]
fn an_address_leads_to_its_name_and_other_addresses_are_for_others() {
    let (message, _) = ask("10.0.96.10.in-addr.arpa", RecordType::PTR);
    assert_eq!(data(&message), ["payments.mesh."]);
    assert!(is_foreign("11.0.96.10.in-addr.arpa") && is_foreign("96.10.in-addr.arpa"));
}

#[test]
fn a_name_without_such_records_is_told_from_one_that_there_is_not() {
    let owner = |message: &Message| {
        let RData::SOA(soa) = &message.authorities[0].data else {
            panic!("{message}");
        };
        assert_eq!(
            (soa.minimum, message.authorities[0].ttl, soa.serial),
            (2, 2, 7)
        );
        message.authorities[0].name.to_ascii()
    };
    for (text, kind, zone) in [
        ("payments.mesh", RecordType::TXT, "mesh."),
        ("nothing.mesh", RecordType::A, "mesh."),
        // It is above another one.
        ("_tcp.payments.mesh", RecordType::A, "mesh."),
        ("mesh", RecordType::A, "mesh."),
        ("a.payments.mesh", RecordType::AAAA, "mesh."),
        ("pay.example", RecordType::AAAA, "pay.example."),
        // It is above another one, so the wildcard is not for it.
        ("y.shop.internal", RecordType::A, "y.shop.internal."),
    ] {
        let (message, outcome) = ask(text, kind);
        assert_eq!(outcome, QueryOutcome::Nodata, "{text}");
        assert_eq!(message.metadata.response_code, ResponseCode::NoError);
        assert_eq!(owner(&message), zone);
    }
    for text in [
        "no.mesh",
        "b.a.payments.mesh",
        "z.x.y.shop.internal",
        "z.y.shop.internal",
    ] {
        let (message, outcome) = ask(text, RecordType::A);
        assert_eq!(outcome, QueryOutcome::Nxdomain, "{text}");
        assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
        owner(&message);
    }
}

#[test]
fn a_wildcard_stands_for_all_below_it_but_for_names_that_there_are() {
    for text in ["a.shop.internal", "b.a.shop.internal"] {
        assert_eq!(data(&ask(text, RecordType::A).0), ["10.96.0.11"], "{text}");
    }
    assert_eq!(
        data(&ask("x.y.shop.internal", RecordType::A).0),
        ["10.96.0.12"]
    );
    assert!(is_foreign("shop.internal") && is_foreign("internal"));
}

#[test]
fn other_names_are_for_others() {
    for text in [
        "example",
        "www.pay.example",
        "amesh",
        "mesh.example",
        "debian.org",
    ] {
        assert!(is_foreign(text), "{text}");
    }
    let root = question("", RecordType::NS);
    let reply = tell(&tree(), &root.to_vec().unwrap(), Transport::Udp);
    assert!(matches!(reply, Reply::Forward(_)));
}

#[test]
fn equally_good_addresses_are_drawn_and_nearer_ones_come_first() {
    let tree = tree();
    let question = question("near.mesh", RecordType::A).to_vec().unwrap();
    let mut seed = 1_usize;
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..300 {
        let mut draw = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let reply = answer(&tree, TERMS, &question, Transport::Udp, &mut draw);
        let Reply::Answer { bytes, .. } = reply else {
            panic!("{reply:?}");
        };
        let data = data(&Message::from_vec(&bytes).unwrap());
        assert_eq!((data.len(), &*data[3]), (4, "10.9.0.1"));
        *seen.entry(data[0].clone()).or_default() += 1;
    }
    assert_eq!(seen.len(), 3);
    assert!(seen.values().all(|times| *times > 60), "{seen:?}");
}

#[test]
fn the_top_of_the_domain_has_what_a_zone_has() {
    let (soa, _) = ask("mesh", RecordType::SOA);
    assert_eq!(data(&soa), ["mesh. nobody.invalid. 7 3600 1200 604800 2"]);
    assert_eq!(data(&ask("mesh", RecordType::NS).0), ["mesh."]);
}

#[test]
fn what_is_no_look_up_is_refused() {
    let refused = |message: &Message, code: ResponseCode| {
        let (answer, outcome, _) = reply(&tree(), message, Transport::Tcp);
        // BADVERS and BADSIG are one number.
        let number = u16::from(answer.metadata.response_code);
        assert_eq!(number, u16::from(code));
        assert_eq!(answer.metadata.id, 4711);
        assert!(answer.answers.is_empty());
        assert_eq!(outcome, QueryOutcome::Refused);
    };
    for kind in [RecordType::AXFR, RecordType::IXFR, RecordType::from(253)] {
        refused(&question("mesh", kind), ResponseCode::Refused);
        refused(&question("debian.org", kind), ResponseCode::Refused);
    }
    let mut chaos = question("version.bind", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    refused(&chaos, ResponseCode::Refused);
    for code in [OpCode::Notify, OpCode::Update, OpCode::Status] {
        let mut other = question("mesh", RecordType::SOA);
        other.metadata.op_code = code;
        refused(&other, ResponseCode::NotImp);
    }
    let newer = extended(question("payments.mesh", RecordType::A), 1_232, 1);
    refused(&newer, ResponseCode::BADVERS);
}

#[test]
fn an_answer_has_extensions_where_the_question_has() {
    let plain = ask("payments.mesh", RecordType::A).0;
    assert_eq!(plain.edns, None);
    let question = extended(question("payments.mesh", RecordType::A), 4_096, 0);
    let (answer, ..) = reply(&tree(), &question, Transport::Udp);
    let edns = answer.edns.unwrap();
    assert_eq!((edns.version(), edns.max_payload()), (0, 1_232));
    assert!(edns.flags().dnssec_ok);
}

#[test]
fn an_answer_that_is_too_long_is_cut_off_and_whole_by_tcp() {
    let addresses = (0..5_000_u32).map(|it| IpAddr::from((0x0a00_0000 + it).to_be_bytes()));
    let zone = |count| Zone {
        revision: 1,
        since: None,
        names: [(
            "many.mesh".to_owned(),
            Some(ZoneRecords {
                addresses: vec![addresses.clone().take(count).collect()],
                ..ZoneRecords::default()
            }),
        )]
        .into(),
    };
    let question = question("many.mesh", RecordType::A);
    let tree = |count| tree_of(&zone(count));
    let told = |count, question: &Message, transport| {
        let (answer, _, length) = reply(&tree(count), question, transport);
        let is_cut = answer.metadata.truncation;
        (is_cut, answer.answers.len(), length)
    };
    let (is_cut, answers, _) = told(29, &question, Transport::Udp);
    assert!(!is_cut && answers == 29);
    let (is_cut, answers, length) = told(40, &question, Transport::Udp);
    assert!(is_cut && answers == 0 && length <= 512);
    let long = extended(question.clone(), 4_096, 0);
    let (is_cut, answers, _) = told(70, &long, Transport::Udp);
    assert!(!is_cut && answers == 70);
    let (is_cut, answers, _) = told(80, &long, Transport::Udp);
    assert!(is_cut && answers == 0);
    let (is_cut, answers, length) = told(2_000, &question, Transport::Tcp);
    assert!(!is_cut && answers == 2_000 && length > 32_000);
    // No message is longer.
    let (is_cut, answers, _) = told(5_000, &question, Transport::Tcp);
    assert!(!is_cut && answers == 2_500);
}

#[test]
fn a_difference_changes_its_names_and_no_others() {
    let mut tree = tree();
    let zone = Zone {
        revision: 8,
        since: Some(7),
        names: [
            ("payments.mesh".to_owned(), of(&[&["10.96.0.99"]])),
            ("x.y.shop.internal".to_owned(), None),
            ("never.was.mesh".to_owned(), None),
            ("new.mesh".to_owned(), of(&[&["10.96.0.98"]])),
        ]
        .into(),
    };
    tree.change(zone);
    assert_eq!(tree.revision(), 8);
    let told = |text: &str| {
        let (message, ..) = reply(&tree, &question(text, RecordType::A), Transport::Udp);
        data(&message)
    };
    assert_eq!(told("payments.mesh"), ["10.96.0.99"]);
    assert_eq!(told("new.mesh"), ["10.96.0.98"]);
    // Nothing is in the way of the wildcard any more.
    assert_eq!(told("x.y.shop.internal"), ["10.96.0.11"]);
    assert_eq!(told("y.shop.internal"), ["10.96.0.11"]);
    assert_eq!(told("a.payments.mesh"), ["10.0.0.1"]);
}

#[test]
fn what_is_no_zone_is_told() {
    let read = |text: &str| Tree::read("mesh", text.as_bytes()).map(|tree| tree.revision());
    assert_eq!(
        read(r#"{"names":{},"later":[{}],"revision":5}"#).unwrap(),
        5
    );
    for (text, flaw) in [
        (r#"{"names":{}}"#, "missing field `revision`"),
        (r#"{"revision":5}"#, "missing field `names`"),
        (
            r#"{"revision":5,"names":[]}"#,
            "expected names, and what each has",
        ),
        (r#"{"revision":5,"names":{"a":5}}"#, "invalid type"),
        (r#"{"revision":5,"names":{}} more"#, "trailing characters"),
        ("[]", "expected a zone"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(flaw), "{text}: {error}");
    }
}

#[test]
fn names_that_are_none_are_left_out() {
    let names = ["a..mesh", "", "é.mesh"].map(|name| (name.to_owned(), of(&[])));
    let mut names: BTreeMap<_, _> = names.into();
    names.insert("good.mesh".to_owned(), of(&[&["10.0.0.1"]]));
    names.insert("bad.mesh".to_owned(), srv("no..name", 1));
    let tree = tree_of(&Zone {
        names,
        ..Zone::default()
    });
    assert_eq!(tree.left_out(), 4);
}

/// What an upstream answers to a question with the number 99.
fn upstream(question: &Message, fill: impl Fn(&mut Message)) -> Vec<u8> {
    let mut message = question.clone();
    message.metadata.id = 99;
    message.metadata.message_type = hickory_proto::op::MessageType::Response;
    message.metadata.recursion_available = true;
    message.edns = None;
    fill(&mut message);
    message.to_vec().unwrap()
}

fn asked(question: &Message) -> Asked {
    Asked::read(question.clone(), Transport::Udp).unwrap()
}

fn read(question: &Message, bytes: Vec<u8>) -> Result<ForeignAnswer, Flaw> {
    let tree = tree();
    ForeignAnswer::read(bytes, &asked(question), 99, |key| tree.is_ours(key))
}

fn a(owner: &str, ttl: u32) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A::new(192, 0, 2, 1)))
}

#[test]
fn a_foreign_answer_is_passed_on_with_the_clients_number_case_and_extensions() {
    let first = question("www.debian.org", RecordType::A);
    let bytes = upstream(&first, |message| {
        message.metadata.authoritative = true;
        message.metadata.authentic_data = true;
        message.add_answer(Record::from_rdata(
            name("www.debian.org"),
            300,
            RData::CNAME(CNAME(name("debian.org"))),
        ));
        message.add_answer(a("debian.org", 60));
        message.set_edns(Edns::new());
    });
    let answer = read(&first, bytes).unwrap();
    assert_eq!(answer.lasts(), Some(Duration::from_secs(60)));
    let second = extended(question("WWW.debian.ORG", RecordType::A), 1_232, 0);
    let told = answer.tell(&asked(&second), 10);
    let told = Message::from_vec(&told).unwrap();
    assert_eq!(told.metadata.id, 4711);
    assert!(told.queries[0].name().eq_case(&name("WWW.debian.ORG")));
    assert!(told.answers[0].name.eq_case(&name("WWW.debian.ORG")));
    assert_eq!((told.answers[0].ttl, told.answers[1].ttl), (290, 50));
    assert!(told.metadata.authentic_data && !told.metadata.authoritative);
    assert!(told.edns.unwrap().flags().dnssec_ok);
    let told = Message::from_vec(&answer.tell(&asked(&first), 0)).unwrap();
    assert_eq!(told.edns, None);
    assert!(told.answers[0].name.eq_case(&name("www.debian.org")));
}

#[test]
fn a_foreign_answer_is_cut_off_where_the_client_takes_no_more() {
    let question = question("www.debian.org", RecordType::A);
    let bytes = upstream(&question, |message| {
        for _ in 0..50 {
            message.add_answer(a("www.debian.org", 60));
        }
    });
    let answer = read(&question, bytes).unwrap();
    let told = Message::from_vec(&answer.tell(&asked(&question), 0)).unwrap();
    assert!(told.metadata.truncation && told.answers.is_empty());
    let extended = extended(question, 1_232, 0);
    let told = Message::from_vec(&answer.tell(&asked(&extended), 0)).unwrap();
    assert!(!told.metadata.truncation && told.answers.len() == 50);
}

#[test]
fn the_word_that_there_is_nothing_lasts_as_long_as_the_zone_says() {
    let question = question("no.debian.org", RecordType::A);
    let soa = |ttl, minimum| {
        let soa = SOA::new(name("a"), name("b"), 1, 1, 1, 1, minimum);
        Record::from_rdata(name("debian.org"), ttl, RData::SOA(soa))
    };
    let lasts = |code, soa: Option<Record>| {
        let bytes = upstream(&question, |message| {
            message.metadata.response_code = code;
            message.authorities.extend(soa.clone());
        });
        read(&question, bytes)
            .unwrap()
            .lasts()
            .map(|it| it.as_secs())
    };
    for code in [ResponseCode::NXDomain, ResponseCode::NoError] {
        assert_eq!(lasts(code, Some(soa(60, 30))), Some(30));
        assert_eq!(lasts(code, Some(soa(20, 30))), Some(20));
        assert_eq!(lasts(code, Some(soa(1_000_000, 1_000_000))), Some(10_800));
        assert_eq!(lasts(code, Some(soa(0, 30))), None);
        assert_eq!(lasts(code, None), None);
    }
    assert_eq!(lasts(ResponseCode::ServFail, Some(soa(60, 30))), None);
}

#[test]
fn an_answer_to_something_else_is_none() {
    let question = question("www.debian.org", RecordType::A);
    let good = |message: &mut Message| {
        message.add_answer(a("www.debian.org", 60));
    };
    let of = |bytes| read(&question, bytes).unwrap_err();
    let mut other_id = upstream(&question, good);
    other_id[1] ^= 1;
    assert_eq!(of(other_id), Flaw::Stray);
    let mut no_answer = upstream(&question, good);
    no_answer[2] &= 0x7f;
    assert_eq!(of(no_answer), Flaw::Stray);
    let other = self::question("www.debian.net", RecordType::A);
    assert_eq!(of(upstream(&other, good)), Flaw::Stray);
    let other = self::question("www.debian.org", RecordType::AAAA);
    assert_eq!(of(upstream(&other, good)), Flaw::Stray);
    // Kinds that differ like letters of two cases.
    let https = self::question("www.debian.org", RecordType::HTTPS);
    let other = self::question("www.debian.org", RecordType::from(97));
    assert_eq!(read(&https, upstream(&other, good)), Err(Flaw::Stray));
    let mut short = upstream(&question, good);
    short.pop();
    assert_eq!(of(short), Flaw::Malformed);
    let cut = upstream(&question, |message| message.metadata.truncation = true);
    assert_eq!(of(cut), Flaw::Truncated);
    assert_eq!(of(Vec::new()), Flaw::Stray);
}

#[test]
fn nobody_else_gives_records_to_names_of_the_mesh() {
    let question = question("www.debian.org", RecordType::A);
    for owner in ["payments.mesh", "no.mesh", "Pay.Example", "q.shop.internal"] {
        let bytes = upstream(&question, |message| {
            message.add_answer(Record::from_rdata(
                name("www.debian.org"),
                60,
                RData::CNAME(CNAME(name(owner))),
            ));
        });
        assert!(read(&question, bytes).is_ok());
        let bytes = upstream(&question, |message| {
            message.add_additional(a(owner, 60));
        });
        assert_eq!(read(&question, bytes), Err(Flaw::OfTheMesh), "{owner}");
    }
}

#[test]
fn a_pointer_that_leads_in_a_circle_has_an_end() {
    let question = question("www.debian.org", RecordType::A);
    let mut bytes = upstream(&question, |message| {
        message.add_answer(a("www.debian.org", 60));
    });
    let at = asked(&question).question().len() + 12;
    for to in [at, at + 2, 0xfff] {
        bytes[at..at + 2].copy_from_slice(&(0xc000 | to as u16).to_be_bytes());
        assert_eq!(read(&question, bytes.clone()), Err(Flaw::Malformed));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        all(&bytes);
    }

    #[test]
    fn no_changed_question_makes_it_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let message = extended(question("_http._tcp.payments.mesh", RecordType::SRV), 1_232, 0);
        let mut bytes = message.to_vec().unwrap();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        all(&bytes);
        all(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn no_changed_answer_makes_it_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let question = question("www.debian.org", RecordType::A);
        let mut bytes = upstream(&question, |message| {
            message.add_answer(a("www.debian.org", 60));
            message.add_additional(a("ns.debian.org", 60));
            message.set_edns(Edns::new());
        });
        for (place, byte) in changes {
            let place = 2 + place.index(bytes.len() - 2);
            bytes[place] = byte;
        }
        if let Ok(answer) = read(&question, bytes) {
            let told = answer.tell(&asked(&extended(question, 1_232, 0)), 7);
            prop_assert!(told.len() <= 1_232);
        }
    }
}

/// Whatever comes, what is said is an answer, and none of more than was allowed.
fn all(bytes: &[u8]) {
    let tree = tree();
    for transport in [Transport::Udp, Transport::Tcp] {
        match tell(&tree, bytes, transport) {
            Reply::Answer { bytes: told, .. } => {
                assert_eq!(told[..2], bytes[..2]);
                assert!(told[2] & 0x80 != 0);
                assert!(transport == Transport::Tcp || told.len() <= 1_232);
                Message::from_vec(&told).unwrap();
            }
            Reply::Forward(asked) => {
                assert!(!asked.onward(1, true).is_empty());
                let _ = ForeignAnswer::read(bytes.to_vec(), &asked, asked.id, |_| false);
            }
            Reply::Silence => {}
        }
    }
}
