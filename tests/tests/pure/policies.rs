//! What authorization policies say, against a plain reference.

use kmesh_lite::maps::Maps;
use kmesh_lite::model::{
    Action, Authorization, Facts, LocalPorts, Mode, Name, Principal, Protocol, Source,
};
use kmesh_lite_common::AuthorizationId;
use kmesh_lite_ebpf::authorize;
use kmesh_lite_tests::answer::Identity;
use kmesh_lite_tests::mesh::{draft, facts, mesh_of, plain};
use kmesh_lite_tests::pass::filled;
use kmesh_lite_tests::reference::policies::{Judged, judge, judge_source};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeSet;

/// Clients of which each policy matches some.
fn identity() -> impl Strategy<Value = Identity> {
    let cgroups = select(
        &[
            [1, 11, 12],
            [1, 11, 13],
            [1, 14, 0],
            [1, 11, 0],
            [1, 99, 12],
        ][..],
    );
    let number = || select(&[0u32, 7, 50, 1000, 12][..]);
    (cgroups, number(), number()).prop_map(|(cgroups, user, group)| Identity {
        cgroups,
        user,
        group,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn policies_say_what_the_file_says(draft in draft(), facts in facts(), client in identity()) {
        let mesh = draft.mesh();
        let mut maps = filled(&mesh, &facts);
        client.connects(&maps);
        let tables = maps.read().unwrap().tables;
        let name = |id: AuthorizationId| -> Name {
            tables.rows.authorizations.get(&id).unwrap().name.to_string().parse().unwrap()
        };
        for row in tables.rows.services.values() {
            let judgement = row.guard.map(|guard| authorize(&maps, guard)).unwrap_or_default();
            let service: Name = row.name.to_string().parse().unwrap();
            let Judged { denied, audited } = judge(&mesh, &facts, &service, &client);
            for (got, allowed) in [(judgement.denied, denied), (judgement.audited, audited)] {
                let is_right = match got.map(name) {
                    Some(name) => allowed.contains(&name),
                    None => allowed.is_empty(),
                };
                prop_assert!(is_right, "{service}: {judgement:?} instead of {allowed:?}");
            }
        }
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// The reference itself, by example.
#[test]
fn addresses_are_judged_at_endpoints_and_at_ports() {
    let of = |service: &str, vip, address: &str| {
        (
            service.to_owned(),
            plain(vip, [(address.parse().unwrap(), 1)]),
        )
    };
    let mut mesh = mesh_of([
        of("shop", "10.96.0.1", "10.0.0.1"),
        of("web", "10.96.0.2", "10.0.0.2"),
    ]);
    let from = |sources: &[Source]| Some(sources.iter().cloned().collect());
    let policy = Authorization {
        action: Action::Allow,
        mode: Mode::Enforce,
        services: [name("shop")].into(),
        ports: [LocalPorts {
            address: None,
            protocol: Protocol::Tcp,
            range: Some((20, 22)),
        }]
        .into(),
        clients: None,
        from: from(&[Source::Service(name("web"))]),
        on_error: None,
        enforce_existing: false,
        force: false,
    };
    let deny = Authorization {
        action: Action::Deny,
        mode: Mode::Audit,
        from: from(&[Source::Network("10.0.0.0/30".parse().unwrap())]),
        ..policy.clone()
    };
    let client = Authorization {
        clients: Some([Principal::Anyone].into()),
        from: None,
        action: Action::Deny,
        ..policy.clone()
    };
    let all = [("allow", policy), ("client", client), ("deny", deny)];
    mesh.policies = all.map(|(it, policy)| (name(it), policy)).into();
    let judged = |local: &str, from: &str| {
        let (local, from) = (local.parse().unwrap(), from.parse().unwrap());
        let Judged { denied, audited } =
            judge_source(&mesh, &Facts::default(), Protocol::Tcp, local, from);
        let names = |names: BTreeSet<Name>| names.into_iter().map(|it| it.to_string()).collect();
        let (denied, audited): (Vec<_>, Vec<_>) = (names(denied), names(audited));
        (denied.concat(), audited.concat())
    };
    let said = |denied: &str, audited: &str| (denied.to_owned(), audited.to_owned());
    // At the endpoint, and at ports that are named; not at the port of the service, nor at another endpoint.
    for local in ["10.0.0.1:8080", "192.168.0.9:21"] {
        assert_eq!(judged(local, "10.0.0.2"), said("", "deny"), "{local}");
        assert_eq!(judged(local, "10.0.0.9"), said("allow", ""), "{local}");
    }
    for local in ["10.0.0.1:80", "10.0.0.2:8080", "192.168.0.9:23"] {
        assert_eq!(judged(local, "10.0.0.9"), said("", ""), "{local}");
    }
}
