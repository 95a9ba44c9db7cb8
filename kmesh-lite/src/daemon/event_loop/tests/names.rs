//! What comes of what the resolver says.

use super::*;
use crate::api::{
    Change, Duties, KeptRecord, NameFinding, NamesReport, OrderRequest, Ordered, Record,
    RecordKind, TroubleKind,
};
use crate::control::Caller;
use crate::model::Membership;
use crate::names::MOST_RECORDS;

const TEXT: &str =
    "b\nservices.a = { vips = ['10.96.0.1'], ports = [80], endpoints = [{ dns = 'db.internal' }] }";

fn records(addresses: &[&str]) -> Vec<Record> {
    let record = |address: &&str| Record {
        address: address.parse().unwrap(),
        port: Some(81),
        weight: Some(7),
        priority: Some(9),
        target: None,
    };
    addresses.iter().map(record).collect()
}

impl Fixture {
    fn duties_of_names(&self) -> Duties {
        self.ask(|reply| Request::Duties { known: None, reply })
            .unwrap()
    }

    fn tell(&self, revision: u64, findings: Vec<NameFinding>) -> Result<(), Failure> {
        let report = NamesReport { revision, findings };
        self.ask(|reply| Request::Names { report, reply })
    }

    fn tell_one(&self, records: Vec<Record>, trouble: Option<TroubleKind>) {
        let revision = self.duties_of_names().revision;
        self.tell(revision, vec![finding(0, records, trouble)])
            .unwrap();
    }

    /// How many passes there were.
    fn passes(&self) -> usize {
        self.kernel.inside().passes
    }

    /// The endpoints of the service that has a name, as it was passed on last.
    fn resolved(&self) -> Vec<String> {
        let inside = self.kernel.inside();
        let mesh = inside.held.as_ref().unwrap();
        let endpoints = mesh.services["a"].endpoints.iter();
        let members = endpoints.map(Membership::from);
        members.map(|it| it.address.to_string()).collect()
    }
}

fn finding(question: u32, records: Vec<Record>, trouble: Option<TroubleKind>) -> NameFinding {
    NameFinding {
        question,
        records,
        left_out: 0,
        kept: Vec::new(),
        trouble,
        reason: "seen\u{1b}".to_owned(),
    }
}

#[test]
fn answers_are_passed_on_and_stay_until_there_are_others() {
    let fixture = Fixture::start(Some(TEXT));
    let duties = fixture.duties_of_names();
    assert_eq!(duties.questions.len(), 1, "its clients are of IPv4");
    assert_eq!(
        (&*duties.questions[0].name, duties.questions[0].kind),
        ("db.internal", RecordKind::A)
    );
    let passes = fixture.passes();
    fixture.tell_one(records(&["10.0.0.2", "10.0.0.1"]), None);
    assert_eq!(fixture.resolved(), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(fixture.passes(), passes + 1);
    assert_eq!(fixture.kernel.inside().extent, Some(Extent::Changes));
    fixture.tell_one(records(&["10.0.0.1", "10.0.0.2"]), None);
    assert_eq!(fixture.passes(), passes + 1, "nothing new");

    for trouble in [TroubleKind::Failure, TroubleKind::Nothing] {
        fixture.tell_one(Vec::new(), Some(trouble));
        let status = fixture.status();
        let name = &status.names[0];
        assert_eq!(name.error.as_deref(), Some("seen "));
        assert_eq!(name.addresses, ["10.0.0.1", "10.0.0.2"]);
    }
    assert_eq!(fixture.passes(), passes + 1, "nothing else to route to");
    fixture.reload().unwrap();
    assert_eq!(fixture.resolved().len(), 2, "a reload knows it");
    fixture.tell_one(records(&["10.0.0.3"]), None);
    assert_eq!(fixture.resolved(), ["10.0.0.3"]);
    assert_eq!(fixture.status().names[0].error, None);
}

#[test]
fn a_stranger_who_answers_names_nothing_that_nobody_asked_for() {
    let fixture = Fixture::start(Some(TEXT));
    let revision = fixture.duties_of_names().revision;
    let passes = fixture.passes();
    let good = || records(&["10.0.0.1"]);
    let stale = fixture.tell(revision + 1, vec![finding(0, good(), None)]);
    assert_eq!(stale.unwrap_err().kind, FailureKind::Conflict);
    for question in [1, u32::MAX] {
        let findings = vec![finding(question, good(), None)];
        fixture.tell(revision, findings).unwrap();
    }
    assert_eq!(fixture.passes(), passes);
    // Addresses of another kind, of the mesh, and where nothing can be.
    let bad = ["fd00::1", "10.96.0.1", "240.64.0.1", "0.0.0.0", "224.0.0.1"];
    fixture.tell_one(records(&bad), None);
    assert!(fixture.resolved().is_empty());
    assert_eq!(fixture.status().names[0].refused.len(), 4);
    // Ports and weights are those of the file.
    let many: Vec<_> = (0..2_000_u32)
        .map(|number| std::net::Ipv4Addr::from_bits(0x0a01_0000 + number).to_string())
        .collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    fixture.tell_one(records(&many), None);
    assert_eq!(fixture.resolved().len(), MOST_RECORDS);
    let inside = fixture.kernel.inside();
    let mesh = inside.held.as_ref().unwrap();
    let first = &mesh.services["a"].endpoints[0];
    assert_eq!((first.weight, first.ports.len()), (1, 0));
}

impl Fixture {
    fn try_order(&self, endpoint: &str, change: Change) -> Result<Ordered, Failure> {
        let order = OrderRequest {
            endpoint: endpoint.to_owned(),
            change,
        };
        let caller = Caller { uid: 0, pid: None };
        self.ask(|reply| Request::Order {
            order,
            caller,
            reply,
        })
    }

    fn order(&self, endpoint: &str, change: Change) -> Ordered {
        self.try_order(endpoint, change).unwrap()
    }

    /// The addresses that take no connections, and those with another weight, as passed on last.
    fn down(&self) -> Vec<String> {
        let inside = self.kernel.inside();
        let of_service = inside.facts.standings.get("a");
        let standings = of_service.iter().flat_map(|all| all.iter());
        let standings = standings.filter(|(_, it)| it.down.is_some() || it.weight.is_some());
        standings.map(|(it, _)| it.address.to_string()).collect()
    }
}

#[test]
fn an_order_by_name_is_about_every_address_that_the_name_has_and_will_have() {
    let fixture = Fixture::start(Some(TEXT));
    let answer = |addresses: &[&str]| fixture.tell_one(records(addresses), None);
    // Before there is any.
    let ordered = fixture.order("a/db.internal", Change::Drain);
    let first = &ordered.endpoints[0];
    assert_eq!((&*first.endpoint, first.absent), ("db.internal", false));
    assert!(first.order.is_some());
    answer(&["10.0.0.1"]);
    assert_eq!(fixture.down(), ["10.0.0.1"]);
    answer(&["10.0.0.2", "10.0.0.3"]);
    assert_eq!(fixture.down(), ["10.0.0.2", "10.0.0.3"]);
    assert_eq!(fixture.status().orders.len(), 1);

    // One by address goes before it, and is about that address only.
    fixture.order("a/db.internal@10.0.0.2", Change::Ready);
    assert_eq!(fixture.down(), ["10.0.0.3"]);
    answer(&["10.0.0.4"]);
    assert_eq!(fixture.down(), ["10.0.0.4"]);
    answer(&["10.0.0.2", "10.0.0.4"]);
    assert_eq!(
        fixture.down(),
        ["10.0.0.4"],
        "it came back as it was wanted"
    );

    // The last word counts.
    fixture.order("a/db.internal", Change::Drain);
    assert_eq!(fixture.down(), ["10.0.0.2", "10.0.0.4"]);
    fixture.order("db.internal", Change::Ready);
    assert!(fixture.down().is_empty());
    assert!(fixture.status().orders.is_empty());
    fixture.order("a/db.internal", Change::Weight(Some(7)));
    answer(&["10.0.0.5"]);
    assert_eq!(fixture.down(), ["10.0.0.5"]);
    fixture.order("a/db.internal", Change::Weight(None));
    assert!(fixture.down().is_empty());
}

#[test]
fn an_order_by_address_is_about_that_address_wherever_it_comes_from() {
    let fixture = Fixture::start(Some(TEXT));
    let answer = |addresses: &[&str]| fixture.tell_one(records(addresses), None);
    answer(&["10.0.0.1", "10.0.0.2"]);
    fixture.order("a/db.internal@10.0.0.1", Change::Maintenance);
    assert_eq!(fixture.down(), ["10.0.0.1"]);
    answer(&["10.0.0.2", "10.0.0.3"]);
    assert!(fixture.down().is_empty());
    assert!(!fixture.status().orders[0].present);
    answer(&["10.0.0.1", "10.0.0.3"]);
    assert_eq!(fixture.down(), ["10.0.0.1"]);
}

#[test]
fn an_order_by_a_name_that_the_file_has_no_more_can_be_taken_back() {
    let fixture = Fixture::start(Some(TEXT));
    fixture.order("a/db.internal", Change::Drain);
    fixture.write("b");
    fixture.reload().unwrap();
    let order = &fixture.status().orders[0];
    assert_eq!((&*order.endpoint, order.present), ("db.internal", false));
    let back = fixture.order("a/db.internal", Change::Ready);
    assert!(back.endpoints[0].absent && back.endpoints[0].order.is_none());
    assert!(fixture.status().orders.is_empty());
}

#[test]
fn what_a_host_of_srv_records_had_stays_while_it_is_not_answered() {
    let text = TEXT.replace("'db.internal'", "'_db._tcp.internal', srv = true");
    let fixture = Fixture::start(Some(&text));
    let duties = fixture.duties_of_names();
    assert_eq!(duties.questions[0].kind, RecordKind::Srv);
    assert!(!duties.questions[0].ipv6, "its clients are of IPv4");
    let of_host = |target: u32, address: &str| Record {
        address: address.parse().unwrap(),
        port: Some(81),
        weight: Some(7),
        priority: Some(9),
        target: Some(target),
    };
    let tell = |records: Vec<Record>, kept: &[u32]| {
        let kept = kept.iter().map(|target| KeptRecord {
            target: *target,
            ipv6: false,
            port: 82,
            weight: 3,
            priority: 9,
        });
        let trouble = (kept.len() > 0).then_some(TroubleKind::Nothing);
        let finding = NameFinding {
            kept: kept.collect(),
            ..finding(0, records, trouble)
        };
        fixture.tell(duties.revision, vec![finding]).unwrap();
        let name = fixture.status().names.remove(0);
        (name.addresses, name.error, name.in_part)
    };
    let strings = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    // Of which nothing is known yet.
    let (addresses, error, in_part) = tell(vec![of_host(1, "10.0.0.1")], &[2]);
    assert_eq!(addresses, strings(&["10.0.0.1:81"]));
    assert_eq!((error.as_deref(), in_part), (Some("seen "), true));
    let both = vec![of_host(1, "10.0.0.1"), of_host(2, "10.0.0.2")];
    let whole = tell(both, &[]);
    assert_eq!(
        whole,
        (strings(&["10.0.0.1:81", "10.0.0.2:81"]), None, false)
    );
    // Its record has another port by now, and the other host is elsewhere.
    let (addresses, error, in_part) = tell(vec![of_host(1, "10.0.0.3")], &[2]);
    assert_eq!(addresses, strings(&["10.0.0.2:82", "10.0.0.3:81"]));
    assert!(error.is_some() && in_part);
    assert_eq!(fixture.resolved(), ["10.0.0.2", "10.0.0.3"]);
    // So it stays over a reload, and while none is answered.
    fixture.reload().unwrap();
    let (addresses, _, in_part) = tell(Vec::new(), &[2]);
    assert_eq!((addresses, in_part), (strings(&["10.0.0.2:82"]), true));
    let (addresses, error, _) = tell(vec![of_host(1, "10.0.0.3")], &[]);
    assert_eq!((addresses, error), (strings(&["10.0.0.3:81"]), None));
}

#[test]
fn a_mapped_address_is_the_one_of_ipv4() {
    let text = TEXT.replace("'10.96.0.1'", "'10.96.0.1', 'fd00:96::1'");
    let fixture = Fixture::start(Some(&text));
    let revision = fixture.duties_of_names().revision;
    let mapped = [
        "::ffff:10.0.0.7",
        "::ffff:10.96.0.1",
        "::ffff:0.0.0.0",
        "fd00::1",
    ];
    let findings = vec![
        finding(0, records(&["10.0.0.1", "::ffff:10.0.0.2"]), None),
        finding(1, records(&mapped), None),
    ];
    fixture.tell(revision, findings).unwrap();
    assert_eq!(
        fixture.resolved(),
        ["10.0.0.1", "10.0.0.2", "10.0.0.7", "fd00::1"]
    );
    let refused = &fixture.status().names[0].refused;
    let refused: Vec<_> = refused.iter().map(|it| &*it.address).collect();
    assert_eq!(refused, ["0.0.0.0", "10.96.0.1"]);
}

/// A word of the operator names endpoints by DNS names as the file does.
#[test]
fn an_order_may_write_a_dns_name_in_capitals_and_with_a_dot_at_its_end() {
    let fixture = Fixture::start(Some(TEXT));
    fixture.tell_one(records(&["10.0.0.1", "10.0.0.2"]), None);
    let order = |endpoint: &str, change| fixture.try_order(endpoint, change);
    for (endpoint, meant) in [
        ("DB.INTERNAL.", 2),
        ("a/Db.Internal", 2),
        ("db.internal.", 2),
        ("a/DB.INTERNAL.@10.0.0.2", 1),
    ] {
        for change in [Change::Drain, Change::Ready] {
            let ordered = order(endpoint, change).unwrap();
            assert_eq!(ordered.endpoints.len(), meant, "{endpoint}");
        }
    }
    for nothing in ["db.internal..", "db", "a/DB.INTERNAL.@10.0.0.3"] {
        let failure = order(nothing, Change::Drain).unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotFound, "{nothing}");
    }
}
