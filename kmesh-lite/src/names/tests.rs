use super::*;
use crate::config::{Fragments, Host, Loader, Origin};
use crate::model::{Limits, RecordKind};

fn mesh(keys: &str, endpoints: &str) -> Mesh {
    let text = format!(
        "{keys}
         [services.pg]
         vips = ['10.96.0.1', 'fd00:96::1']
         ports = [5432]
         endpoints = [{endpoints}]"
    );
    let fragments = Fragments::from_iter([(Origin::new("mesh.toml"), text)]);
    let loaded = Loader::default().load(&fragments, &Host::default());
    let problems: Vec<_> = loaded.problems.iter().map(|it| it.to_string()).collect();
    loaded.mesh.unwrap_or_else(|| panic!("{problems:?}"))
}

fn question(name: &str, kind: RecordKind) -> Question {
    Question {
        name: name.into(),
        kind,
    }
}

fn record(address: &str) -> Record {
    Record {
        rank: 0,
        address: address.parse().unwrap(),
        port: None,
        weight: 1,
        target: 0,
    }
}

fn answer(addresses: &[&str], since: u64) -> Result<Answer, Trouble> {
    let records = addresses.iter().map(|it| record(it)).collect();
    Ok(Answer::new(records, 0, since).unwrap())
}

fn trouble(kind: TroubleKind, since: u64) -> Result<Answer, Trouble> {
    Err(Trouble {
        kind,
        reason: "why".to_owned(),
        since,
    })
}

/// The endpoints of the service, as the file could name them.
fn endpoints(mesh: &Mesh) -> Vec<String> {
    let service = &mesh.services["pg"];
    let endpoints = service.endpoints.iter();
    endpoints.map(|it| it.title(&service.ports)).collect()
}

const DB: &str = "{ dns = 'db.internal', port = 5433 }";

#[test]
fn each_address_is_an_endpoint_and_the_file_goes_first() {
    let written = mesh("", &format!("{DB}, '10.0.0.1:5433', '10.0.0.7'"));
    let mut names = Answers::default();
    names.follow(&written, 1);
    let asked: Vec<_> = names.questions().map(ToString::to_string).collect();
    assert_eq!(asked, ["db.internal (A)", "db.internal (AAAA)"]);
    assert_eq!(
        endpoints(&names.resolved(None)),
        ["10.0.0.1:5433", "10.0.0.7"]
    );

    let a = question("db.internal", RecordKind::A);
    let change = names
        .find(&a, answer(&["10.0.0.2", "10.0.0.1", "10.0.0.2"], 5))
        .unwrap();
    assert_eq!(change.services, ["pg".parse().unwrap()]);
    names.find(
        &question("db.internal", RecordKind::Aaaa),
        answer(&["fd00::2"], 6),
    );
    let resolved = names.resolved(None);
    let expected = [
        "10.0.0.1:5433",
        "10.0.0.2:5433",
        "10.0.0.7",
        "[fd00::2]:5433",
    ];
    assert_eq!(endpoints(&resolved), expected);
    let of_name: Vec<_> = resolved.services["pg"]
        .endpoints
        .iter()
        .map(|it| it.of_name.is_some())
        .collect();
    assert_eq!(of_name, [false, true, false, true]);
    assert!(
        resolved
            .backends
            .contains_key(&"fd00::2".parse::<IpAddr>().unwrap())
    );

    // The same again is no change, and what is the same is shared.
    assert_eq!(names.find(&a, answer(&["10.0.0.1", "10.0.0.2"], 9)), None);
    let again = names.resolved(Some(&resolved));
    assert!(Arc::ptr_eq(&again.services["pg"], &resolved.services["pg"]));
    let unasked = question("other.internal", RecordKind::A);
    assert_eq!(names.find(&unasked, answer(&["10.0.0.9"], 9)), None);
}

#[test]
fn the_last_answer_stays_whatever_becomes_of_the_resolver() {
    let mut names = Answers::default();
    names.follow(&mesh("", DB), 1);
    let (a, aaaa) = (
        question("db.internal", RecordKind::A),
        question("db.internal", RecordKind::Aaaa),
    );
    assert_eq!(
        names.states()[0].trouble,
        Some((1, "nobody has asked for it yet".to_owned()))
    );
    names.find(&a, trouble(TroubleKind::Failure, 2));
    assert_eq!(names.states()[0].trouble, Some((2, "why".to_owned())));
    assert!(endpoints(&names.resolved(None)).is_empty());

    names.find(&a, answer(&["10.0.0.1"], 3));
    names.find(&aaaa, trouble(TroubleKind::Nothing, 3));
    let state = &names.states()[0];
    assert_eq!((state.since, &state.trouble), (Some(3), &None));
    for kind in [TroubleKind::Failure, TroubleKind::Nothing] {
        names.find(&a, trouble(kind, 4));
        assert_eq!(endpoints(&names.resolved(None)), ["10.0.0.1:5433"]);
        // Since when there is no answer, whatever is said meanwhile.
        assert_eq!(names.states()[0].trouble, Some((4, "why".to_owned())));
        names.follow(&mesh("", DB), 5);
    }
    // Another file that asks for it knows it, and one that does not forgets it.
    names.follow(&mesh("", &format!("{DB}, '10.0.0.8'")), 6);
    assert_eq!(endpoints(&names.resolved(None)).len(), 2);
    names.follow(&mesh("", "'10.0.0.8'"), 7);
    names.follow(&mesh("", DB), 8);
    assert!(endpoints(&names.resolved(None)).is_empty());
}

#[test]
fn a_family_that_a_name_has_no_more_goes_while_the_other_answers() {
    let mut names = Answers::default();
    names.follow(&mesh("", DB), 1);
    let (a, aaaa) = (
        question("db.internal", RecordKind::A),
        question("db.internal", RecordKind::Aaaa),
    );
    names.find(&a, answer(&["10.0.0.1"], 2));
    names.find(&aaaa, answer(&["fd00::1"], 2));
    assert_eq!(endpoints(&names.resolved(None)).len(), 2);
    names.find(&aaaa, trouble(TroubleKind::Failure, 3));
    assert_eq!(endpoints(&names.resolved(None)).len(), 2);
    names.find(&aaaa, trouble(TroubleKind::Nothing, 4));
    assert_eq!(endpoints(&names.resolved(None)), ["10.0.0.1:5433"]);
    assert_eq!(names.states()[0].trouble, None);
    // That both are gone is not believed.
    names.find(&a, trouble(TroubleKind::Nothing, 5));
    assert_eq!(endpoints(&names.resolved(None)).len(), 2);
}

#[test]
fn srv_records_say_ports_weights_and_priorities() {
    let mut names = Answers::default();
    names.follow(&mesh("", "{ dns = '_pg._tcp.db.internal', srv = true }"), 1);
    let srv = question("_pg._tcp.db.internal", RecordKind::Srv);
    assert_eq!(names.questions().collect::<Vec<_>>(), [&srv]);
    let record = |rank, address: &str, port, weight| Record {
        rank,
        address: address.parse().unwrap(),
        port: Some(port),
        weight,
        target: 0,
    };
    let records = vec![
        record(20, "10.0.0.3", 5432, 7),
        record(10, "10.0.0.1", 6000, 0),
        record(10, "10.0.0.2", 6001, 30),
    ];
    names.find(&srv, Ok(Answer::new(records, 0, 2).unwrap()));
    let resolved = names.resolved(None);
    assert_eq!(
        endpoints(&resolved),
        ["10.0.0.1:6000", "10.0.0.2:6001", "10.0.0.3"]
    );
    let said: Vec<_> = resolved.services["pg"]
        .endpoints
        .iter()
        .map(|it| (it.weight, it.of_name.as_ref().unwrap().rank))
        .collect();
    assert_eq!(said, [(1, 10), (30, 10), (7, 20)]);
}

#[test]
fn what_cannot_be_meant_is_refused_and_said() {
    let mut names = Answers::default();
    names.follow(&mesh("", DB), 1);
    let a = question("db.internal", RecordKind::A);
    let addresses = [
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "10.96.0.1",
        "240.64.0.9",
        "10.0.0.1",
    ];
    names.find(&a, answer(&addresses, 2));
    assert_eq!(endpoints(&names.resolved(None)), ["10.0.0.1:5433"]);
    let refused = &names.states()[0].refused;
    let of = |address: &str| refused[&address.parse::<IpAddr>().unwrap()];
    assert_eq!(refused.len(), 5);
    assert_eq!(of("10.96.0.1"), Refusal::Vip);
    assert_eq!(of("240.64.0.9"), Refusal::VipRange);
}

#[test]
fn too_many_addresses_are_cut_and_no_limit_of_the_mesh_is_passed() {
    let many = |from: u32, count: u32| {
        let address = |it: u32| IpAddr::from((0x0a01_0000_u32 + from + it).to_be_bytes());
        let records = (0..count).map(|it| Record {
            address: address(it),
            ..record("10.0.0.1")
        });
        Answer::new(records.rev().collect(), 0, 2).unwrap()
    };
    let mut names = Answers::default();
    names.follow(&mesh("", DB), 1);
    let a = question("db.internal", RecordKind::A);
    names.find(&a, Ok(many(0, 1000)));
    let resolved = names.resolved(None);
    assert_eq!(endpoints(&resolved).len(), MOST_RECORDS);
    assert_eq!(endpoints(&resolved)[0], "10.1.0.0:5433");
    assert_eq!(names.states()[0].left_out as usize, 1000 - MOST_RECORDS);

    for limits in ["limits.endpoints = 10", "limits.backends = 10"] {
        names.follow(&mesh(limits, &format!("{DB}, '10.0.0.8'")), 1);
        names.find(&a, Ok(many(0, 20)));
        let resolved = names.resolved(None);
        assert_eq!(endpoints(&resolved).len(), 10, "{limits}");
        assert!(crate::tables::shortages(&resolved).is_empty(), "{limits}");
        assert_eq!(names.states()[0].refused.len(), 11, "{limits}");
    }
    assert!(Limits::default().endpoints as usize <= MOST_ENDPOINTS);
}

#[test]
fn an_address_of_a_family_that_no_client_has_is_no_endpoint() {
    let mut written = mesh("", DB);
    let mut service = (*written.services["pg"]).clone();
    service
        .vips
        .retain(|vip| matches!(vip, Vip::Fixed(ip) if ip.is_ipv4()));
    written
        .services
        .insert("pg".parse().unwrap(), Arc::new(service));
    let mut names = Answers::default();
    names.follow(&written, 1);
    names.find(
        &question("db.internal", RecordKind::A),
        answer(&["10.0.0.1"], 2),
    );
    names.find(
        &question("db.internal", RecordKind::Aaaa),
        answer(&["fd00::1"], 2),
    );
    assert_eq!(endpoints(&names.resolved(None)), ["10.0.0.1:5433"]);
}
