//! The safety belt: which policies would cut off somebody, against a plain reference and by example.

use kmesh_lite::model::{
    Action, Authorization, Check, Endpoint, Facts, LocalPorts, Mesh, Mode, Name, NamedEndpoints,
    OfName, OnError, Probe, Protocol, Source,
};
use kmesh_lite::tables::{Way, lockouts, probes};
use kmesh_lite_tests::mesh::{destinations, draft, mesh_of, plain, sources};
use kmesh_lite_tests::reference::policies::judge_source;
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn session(local: SocketAddr, peer: IpAddr) -> Way {
    Way::Session {
        local,
        peer: SocketAddr::new(peer, 50_122),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Little of a mesh is looked at, and what it says of a way is what all of it says.
    #[test]
    fn what_would_be_refused_is_found_and_nothing_else(
        draft in draft(),
        forced in any::<u8>(),
        (_, local) in destinations(),
        peer in sources(),
    ) {
        let mut mesh = draft.mesh();
        for (number, policy) in mesh.policies.values_mut().enumerate() {
            policy.force = forced >> (number % 8) & 1 == 1;
        }
        let mut unforced = mesh.clone();
        unforced.policies.retain(|_, policy| !policy.force);
        let judge = |mesh: &Mesh| {
            judge_source(mesh, &Facts::default(), Protocol::Tcp, local, peer).denied
        };
        let (all, expected) = (judge(&mesh), judge(&unforced));
        let found = lockouts(&mesh, None, &[session(local, peer)]).unwrap();
        let is_right = match found.as_slice() {
            [] => all.is_empty() || expected.is_empty(),
            [one] => !all.is_empty() && expected.contains(&one.policy),
            _ => false,
        };
        prop_assert!(is_right, "{found:?} instead of {expected:?} out of {all:?}");
        // What is so already is no change.
        let again = lockouts(&mesh, Some(&mesh), &[session(local, peer)]).unwrap();
        prop_assert!(again.is_empty(), "{again:?}");
    }
}

/// A policy about port 22 of this host.
fn about_ssh(action: Action, from: &[&str]) -> Authorization {
    let ports = LocalPorts {
        address: None,
        protocol: Protocol::Tcp,
        range: Some((22, 22)),
    };
    Authorization {
        action,
        mode: Mode::Enforce,
        services: [].into(),
        ports: [ports].into(),
        clients: None,
        from: Some(
            from.iter()
                .map(|it| Source::Network(it.parse().unwrap()))
                .collect(),
        ),
        on_error: None,
        enforce_existing: false,
        force: false,
    }
}

fn with(policies: &[(&str, Authorization)]) -> Mesh {
    let policies = policies.iter();
    Mesh {
        policies: policies
            .map(|(it, policy)| (name(it), policy.clone()))
            .collect(),
        ..mesh_of([])
    }
}

/// What is said of a connection from 10.0.0.7 to port 22, or to another one.
fn said(mesh: &Mesh, port: u16) -> String {
    let way = session(
        SocketAddr::new([10, 0, 0, 5].into(), port),
        [10, 0, 0, 7].into(),
    );
    let found = lockouts(mesh, None, &[way]).unwrap();
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    found.join("\n")
}

#[test]
fn a_policy_that_would_lock_out_a_session_is_named_with_both_ends_and_the_way_out() {
    let deny = about_ssh(Action::Deny, &["10.0.0.0/24"]);
    assert_eq!(
        said(&with(&[("no-office", deny.clone())]), 22),
        "policy `no-office` would lock out the connection from 10.0.0.7:50122 to 10.0.0.5:22; \
         `force = true` in `[policies.no-office]` overrides this"
    );
    assert_eq!(said(&with(&[("no-office", deny)]), 2222), "");
    let closed = about_ssh(Action::Allow, &["10.1.0.0/16"]);
    assert!(said(&with(&[("closed", closed.clone())]), 22).contains("policy `closed`"));
    // Another one lets the session in.
    let open = about_ssh(Action::Allow, &["10.0.0.7/32"]);
    assert_eq!(said(&with(&[("closed", closed), ("open", open)]), 22), "");
    let nobody = about_ssh(Action::Allow, &[]);
    assert!(said(&with(&[("nobody", nobody)]), 22).contains("policy `nobody`"));
}

#[test]
fn only_what_is_enforced_and_not_forced_is_in_the_way() {
    let deny = about_ssh(Action::Deny, &["10.0.0.0/24"]);
    let audit = Authorization {
        mode: Mode::Audit,
        ..deny.clone()
    };
    assert_eq!(said(&with(&[("audit", audit)]), 22), "");
    let forced = Authorization {
        force: true,
        ..deny.clone()
    };
    assert_eq!(said(&with(&[("a-forced", forced.clone())]), 22), "");
    // One that is forced is no excuse for another one.
    let both = with(&[("a-forced", forced), ("deny", deny)]);
    assert!(said(&both, 22).contains("policy `deny`"));
}

#[test]
fn what_is_refused_already_is_not_what_a_change_cuts_off() {
    let deny = about_ssh(Action::Deny, &["10.0.0.0/24"]);
    let before = with(&[("deny", deny.clone())]);
    let after = with(&[("deny", deny.clone()), ("more", deny)]);
    let way = session("10.0.0.5:22".parse().unwrap(), [10, 0, 0, 7].into());
    assert!(
        lockouts(&after, Some(&before), std::slice::from_ref(&way))
            .unwrap()
            .is_empty()
    );
    let found = lockouts(&after, Some(&with(&[])), &[way]).unwrap();
    assert_eq!(found.len(), 1);
}

#[test]
fn probes_of_endpoints_on_this_host_are_ways_that_are_needed() {
    let own: IpAddr = [10, 0, 0, 5].into();
    let other: IpAddr = [10, 0, 0, 6].into();
    let mut service = plain("10.96.0.1", [(own, 1), (other, 1)]);
    let check = Arc::new(Check {
        probe: Probe::Tcp,
        interval: Duration::from_secs(1),
        fast_interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        jitter: 0,
        rise: 1,
        fall: 1,
        port: None,
        source: None,
        initially_usable: true,
    });
    for endpoint in &mut service.endpoints {
        endpoint.check = Some(Arc::clone(&check));
    }
    let mut mesh = mesh_of([("shop".to_owned(), service)]);
    mesh.is_checked = true;
    let closed = Authorization {
        services: [name("shop")].into(),
        ports: [].into(),
        ..about_ssh(Action::Allow, &["10.1.0.0/16"])
    };
    mesh.policies.insert(name("closed"), closed);
    let ways = probes(&mesh, &[own].into());
    let probe = Way::Probe {
        service: name("shop"),
        local: SocketAddr::new(own, 8080),
        peer: own,
    };
    assert_eq!(ways, [probe]);
    let found = lockouts(&mesh, None, &ways).unwrap();
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "policy `closed` would refuse the probes of endpoint 10.0.0.5:8080 of service `shop`, which come from \
          10.0.0.5; `force = true` in `[policies.closed]` overrides this"
        ]
    );
    // Whoever lets them in is in nobody's way.
    let from = Some([Source::Service(name("shop"))].into_iter().collect());
    mesh.policies.get_mut("closed").unwrap().from = from;
    assert!(lockouts(&mesh, None, &ways).unwrap().is_empty());
}

/// Little is left of services to judge by, and it has to be enough.
#[test]
fn services_let_in_by_their_endpoints_and_by_their_names() {
    let operator: IpAddr = [10, 0, 0, 7].into();
    let mut jump = plain("10.96.0.1", [(operator, 1)]);
    let from = |mesh: &Mesh, action, on_error| {
        let policy = Authorization {
            from: Some([Source::Service(name("jump"))].into_iter().collect()),
            on_error,
            ..about_ssh(action, &[])
        };
        let policies = [(name("from-jump"), policy)].into();
        said(
            &Mesh {
                policies,
                ..mesh.clone()
            },
            22,
        )
    };
    let mesh = mesh_of([("jump".to_owned(), jump.clone())]);
    assert_eq!(from(&mesh, Action::Allow, None), "");
    assert!(from(&mesh, Action::Deny, None).contains("policy `from-jump`"));
    // Of a name that has an answer it is known whom it matches, also if that is nobody who is here.
    let named = |address: [u8; 4]| Endpoint {
        address: address.into(),
        of_name: Some(OfName {
            name: "jump.internal".into(),
            rank: 0,
        }),
        ..jump.endpoints[0].clone()
    };
    let (like, answer) = (named([0, 0, 0, 0]), named([10, 9, 9, 9]));
    jump.named = vec![NamedEndpoints {
        name: "jump.internal".into(),
        is_srv: false,
        like,
    }];
    jump.endpoints = vec![answer];
    let mesh = mesh_of([("jump".to_owned(), jump.clone())]);
    assert_eq!(from(&mesh, Action::Deny, Some(OnError::Closed)), "");
    jump.endpoints.clear();
    let mesh = mesh_of([("jump".to_owned(), jump)]);
    let closed = from(&mesh, Action::Deny, Some(OnError::Closed));
    assert!(closed.contains("policy `from-jump`"), "{closed}");
    assert_eq!(from(&mesh, Action::Deny, Some(OnError::Open)), "");
}
