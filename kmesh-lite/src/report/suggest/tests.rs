use super::*;
use crate::config::{Fragments, Host, Loader, Origin};

const SECOND: u64 = 1_000_000_000;

fn mesh() -> Mesh {
    let text = r#"
        [services.web]
        vips = ["10.96.0.10"]
        ports = [80]
        endpoints = ["192.0.2.1"]
        [services.db]
        vips = ["10.96.0.11"]
        ports = [80]
        endpoints = ["192.0.2.1"]
        [policies.seen-web]
        action = "allow"
        services = ["web"]
        clients = ["shop.service"]
    "#;
    let fragments = [(Origin::new("mesh.toml"), text.to_owned())];
    let fragments: Fragments = fragments.into_iter().collect();
    let loaded = Loader::default().load(&fragments, &Host::default());
    loaded.mesh.expect("a mesh")
}

fn suggested(within: Option<u64>, seen: &Seen) -> Suggestion {
    let mut facts = Facts::default();
    facts.users.insert("alice".to_owned(), 1000);
    suggest(&Sight {
        seen,
        mesh: &mesh(),
        facts: &facts,
        within,
        accounting: true,
        now: 100 * SECOND,
        base: TimeBase::default(),
    })
}

fn seen() -> Seen {
    let met = |last: Option<u64>| Met {
        connections: 2,
        first: last,
        last: last.map(|last| last * SECOND),
    };
    let clients = [
        ("shop.service", met(Some(95))),
        ("user:1000", met(Some(50))),
        ("/a\u{1}b: c", met(Some(95))),
        ("old.service", met(None)),
    ];
    let clients = clients.map(|(name, met)| (name.to_owned(), met));
    Seen {
        since: Some(SECOND),
        clients: [("web".to_owned(), clients.into_iter().collect())].into(),
        ..Seen::default()
    }
}

fn names(policy: &SuggestedPolicy) -> Vec<&str> {
    let clients = policy.clients.iter().flatten();
    clients.map(|it| it.name.as_str()).collect()
}

#[test]
fn a_policy_allows_everybody_who_was_seen_under_a_name_that_is_free() {
    let suggestion = suggested(None, &seen());
    let [web] = &*suggestion.policies else {
        panic!("{suggestion:?}");
    };
    assert_eq!(web.name, "seen-web-2");
    assert_eq!(web.services, ["web"]);
    assert!(names(web).contains(&"user:alice"), "{web:?}");
    assert!(names(web).contains(&"old.service"), "{web:?}");
    assert_eq!(suggestion.unused, ["db"]);
}

#[test]
fn only_what_was_seen_within_a_time_is_allowed() {
    let suggestion = suggested(Some(10), &seen());
    let web = &suggestion.policies[0];
    assert!(names(web).contains(&"shop.service"), "{web:?}");
    assert!(!names(web).contains(&"user:alice"), "{web:?}");
    assert!(!names(web).contains(&"old.service"), "{web:?}");
}

#[test]
fn a_service_may_have_the_longest_name() {
    let mut taken = BTreeSet::new();
    let longest = "x".repeat(kmesh_lite_common::Name::CAPACITY);
    for _ in 0..3 {
        let name = free(&longest, &mut taken);
        name.parse::<crate::model::Name>().expect("a name");
    }
    assert_eq!(taken.len(), 3);
}
