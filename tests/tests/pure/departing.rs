//! Which endpoints a change of the file takes out of a service.

use kmesh_lite::maps::Maps;
use kmesh_lite::model::{Facts, OnRemove};
use kmesh_lite::tables::departing;
use kmesh_lite_tests::pass::filled;
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
        .map(|it| format!("{}/{}", it.service, it.endpoint))
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
