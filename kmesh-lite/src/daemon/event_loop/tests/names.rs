//! What comes of what the resolver says.

use super::*;
use crate::api::{
    Change, Duties, NameFinding, NamesReport, OrderRequest, Ordered, Record, RecordKind,
    TroubleKind,
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
    assert!(fixture.duties_of_names().questions[0].answered);
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

/// A word of the operator names endpoints by DNS names as the file does.
#[test]
fn an_order_may_write_a_dns_name_in_capitals_and_with_a_dot_at_its_end() {
    let fixture = Fixture::start(Some(TEXT));
    fixture.tell_one(records(&["10.0.0.1", "10.0.0.2"]), None);
    let order = |endpoint: &str, change: Change| -> Result<Ordered, Failure> {
        let order = OrderRequest {
            endpoint: endpoint.to_owned(),
            change,
        };
        let caller = Caller { uid: 0, pid: None };
        fixture.ask(|reply| Request::Order {
            order,
            caller,
            reply,
        })
    };
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
