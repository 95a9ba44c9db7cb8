//! What an agent hands in is the word of a stranger.

mod stranger;

use proptest::prelude::*;
use serde_json::{Value, json};
use stranger::{REVISION, Site};

/// A finding, as an agent would say it, or nearly.
fn finding() -> impl Strategy<Value = Value> {
    let number = prop_oneof![4 => 0..6_u64, 1 => any::<u64>()];
    let reason = prop_oneof![".{0,20}", "[\\x00-\\x20\u{202e}é]{0,300}"];
    (number, any::<bool>(), reason, 0..20_u8).prop_map(|(target, healthy, reason, wrong)| {
        let mut finding = json!({"target": target, "healthy": healthy, "reason": reason});
        match wrong {
            0 => finding["more"] = json!(1),
            1 => finding["healthy"] = json!("yes"),
            2 => drop(finding.as_object_mut().map(|it| it.remove("reason"))),
            _ => {}
        }
        finding
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let revision = prop_oneof![9 => Just(REVISION), 1 => any::<u64>()];
    let findings = prop::collection::vec(finding(), 0..12);
    let report = (revision, findings).prop_map(|(revision, findings)| {
        json!({"revision": revision, "findings": findings})
            .to_string()
            .into_bytes()
    });
    // One that is cut, or has a byte that is another one.
    let hurt = (report, any::<prop::sample::Index>(), any::<u8>(), 0..8_u8);
    let hurt = hurt.prop_map(|(mut bytes, at, byte, how)| {
        let at = at.index(bytes.len());
        match how {
            0 => bytes.truncate(at),
            1 => bytes[at] = byte,
            _ => {}
        }
        bytes
    });
    let anything = prop::collection::vec(any::<u8>(), 0..64);
    prop_oneof![9 => hurt, 1 => anything]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn a_stranger_makes_targets_healthy_or_not_and_nothing_else(
        bodies in prop::collection::vec(body(), 1..6)
    ) {
        let bodies: Vec<_> = bodies.iter().map(Vec::as_slice).collect();
        Site::new().hear(&bodies);
    }
}

#[test]
fn what_is_said_of_a_target_again_and_again_makes_no_more_of_it() {
    let findings: Vec<_> = (0..8_000)
        .map(|number| json!({"target": 0, "healthy": number % 2 == 0, "reason": ""}))
        .collect();
    let body = json!({"revision": REVISION, "findings": findings}).to_string();
    Site::new().hear(&[body.as_bytes()]);
}
