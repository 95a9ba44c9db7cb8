//! Which endpoints a change of the file takes out of a service.

use kmesh_lite::maps::Maps;
use kmesh_lite::model::{DepartedIds, Facts, OnRemove};
use kmesh_lite::plan::Op;
use kmesh_lite::reconcile::Prepared;
use kmesh_lite::tables::departing;
use kmesh_lite_tests::pass::{filled, pass};
use kmesh_lite_tests::text;

/// A service of these ports and endpoints.
fn mesh(ports: &str, endpoints: &str) -> String {
    format!(
        "[services.web]\nvips = ['10.96.0.10', 'fd00:96::10']\nports = {ports}\nendpoints = {endpoints}\non_remove = 'kill'\n"
    )
}

/// The endpoints that go when `before` becomes `after`, as `service/endpoint`.
fn gone(before: &str, after: &str) -> Vec<String> {
    let tables = filled(&text::parse(before), &Facts::default())
        .read()
        .expect("tables in memory")
        .tables;
    let departing = departing(&tables, &text::parse(after), |_| Some(OnRemove::Kill));
    let names = departing.into_iter();
    names
        .map(|it| format!("{}/{}", it.key.service, it.endpoint))
        .collect()
}

#[test]
fn an_endpoint_goes_when_no_entry_leads_to_its_server_any_more() {
    let both = "['10.0.0.1', '10.0.0.2']";
    let own = "['10.0.0.1:8081', '10.0.0.1:8082']";
    for (before, after, expected) in [
        (mesh("[80]", both), mesh("[80]", both), vec![]),
        (
            mesh("[80]", both),
            mesh("[80]", "['10.0.0.2']"),
            vec!["web/10.0.0.1"],
        ),
        (
            mesh("[80]", both),
            mesh("[80]", "['10.0.0.2', { address = '10.0.0.1', weight = 0 }]"),
            vec![],
        ),
        // The declared port is another one, and so is the port of each endpoint; they are the same endpoints.
        (mesh("['80:8080']", both), mesh("['80:9090']", both), vec![]),
        (mesh("[80]", both), mesh("[80, 443]", both), vec![]),
        (
            mesh("[80]", own),
            mesh("[80]", "['10.0.0.1:8082']"),
            vec!["web/10.0.0.1:8081"],
        ),
        (
            mesh("[80]", "['10.0.0.1:8081']"),
            mesh("[80]", "['10.0.0.1:8082']"),
            vec!["web/10.0.0.1:8081"],
        ),
        // The same port, said in another way.
        (
            mesh("[80]", "['10.0.0.1:8081']"),
            mesh("['80:8081']", "['10.0.0.1']"),
            vec![],
        ),
        (
            mesh("['80:8081']", "['10.0.0.1']"),
            mesh("[80]", "['10.0.0.1:8081']"),
            vec![],
        ),
        (
            mesh("[80]", both),
            mesh("[80]", both).replace("services.web", "services.shop"),
            vec!["web/10.0.0.1", "web/10.0.0.2"],
        ),
    ] {
        assert_eq!(gone(&before, &after), expected, "{before} {after}");
    }
}

#[test]
fn services_that_need_not_be_looked_at_lose_nothing() {
    let before = mesh("[80]", "['10.0.0.1']");
    let tables = filled(&text::parse(&before), &Facts::default())
        .read()
        .expect("tables in memory")
        .tables;
    assert_eq!(departing(&tables, &Default::default(), |_| None), []);
}

/// The ids by the names of their endpoints.
fn ids(prepared: &Prepared) -> Vec<(String, u32)> {
    let tables = &prepared.desired.tables;
    let all = departing(tables, &Default::default(), |_| Some(OnRemove::Keep));
    all.into_iter()
        .map(|it| (it.endpoint, it.id.index()))
        .collect()
}

#[test]
fn the_id_of_one_that_departed_stands_for_nobody_else_and_goes_on_when_it_is_back() {
    let both = text::parse(&mesh("[80]", "['10.0.0.1:8081', '10.0.0.2']"));
    let one = text::parse(&mesh("[80]", "['10.0.0.2']"));
    let others = text::parse(&mesh("[80]", "['10.0.0.1', '10.0.0.2', '10.0.0.3']"));
    let mut maps = filled(&both, &Facts::default());
    let tables = maps.read().expect("tables in memory").tables;
    let gone = departing(&tables, &one, |_| Some(OnRemove::Keep));
    let departed: DepartedIds = gone.into_iter().map(|it| (it.key, it.id)).collect();
    let id = departed.values().next().expect("one goes").index();
    let facts = Facts {
        departed,
        ..Facts::default()
    };
    pass(&mut maps, &one, &facts);
    let among_others = pass(&mut maps, &others, &facts);
    assert!(ids(&among_others).iter().all(|(_, it)| *it != id));
    let back = pass(&mut maps, &both, &facts);
    assert!(ids(&back).contains(&("10.0.0.1:8081".to_owned(), id)));
    // Whoever is counted from zero says so.
    let counts = |op: &Op| matches!(op, Op::Count(ids) if ids.iter().any(|it| it.index() == id));
    assert!(!back.plan.ops.iter().any(counts), "{:?}", back.plan.ops);
    // Where nobody remembers it, it is counted anew.
    pass(&mut maps, &one, &Facts::default());
    let anew = pass(&mut maps, &both, &Facts::default());
    assert!(anew.plan.ops.iter().any(|op| matches!(op, Op::Count(_))));
}
