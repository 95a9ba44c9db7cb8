//! What authorization policies say, against a plain reference.

use kmesh_lite::maps::Maps;
use kmesh_lite::model::Name;
use kmesh_lite_common::AuthorizationId;
use kmesh_lite_ebpf::authorize;
use kmesh_lite_tests::answer::Identity;
use kmesh_lite_tests::mesh::{draft, facts};
use kmesh_lite_tests::pass::filled;
use kmesh_lite_tests::reference::policies::{Judged, judge};
use proptest::prelude::*;
use proptest::sample::select;

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
        for (id, row) in &tables.rows.services {
            let judgement = authorize(&maps, *id);
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
