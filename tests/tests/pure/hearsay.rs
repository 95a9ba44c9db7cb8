//! What an agent hands in is the word of a stranger.

mod names;
mod stranger;

use names::NamesSite;
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

/// One address of a name, or nearly. Some are where nothing can be, or belong to the mesh.
fn record() -> impl Strategy<Value = Value> {
    let address = prop_oneof![
        8 => (0..40_u8).prop_map(|last| format!("10.0.0.{last}")),
        2 => (0..40_u8).prop_map(|last| format!("fd00::{last:x}")),
        1 => any::<std::net::IpAddr>().prop_map(|it| it.to_string()),
        1 => prop::sample::select(&[
            "0.0.0.0", "224.0.0.1", "255.255.255.255", "127.0.0.1", "10.96.0.2", "240.64.0.9", "::", "ff02::1",
            "fe80::1", "fd00:96::1", "::ffff:10.0.0.7", "::ffff:10.96.0.1", "::ffff:0.0.0.0", "::1", "nowhere",
        ][..]).prop_map(str::to_owned),
    ];
    let srv = prop::option::of((0..3_u16, 0..4_u16, any::<u16>(), 0..3_u32));
    (address, srv, 0..40_u8).prop_map(|(address, srv, wrong)| {
        let mut record = json!({"address": address});
        if let Some((priority, port, weight, target)) = srv {
            record["priority"] = json!(priority);
            record["port"] = json!(if port == 0 { 0 } else { 440 + port });
            record["weight"] = json!(weight);
            record["target"] = json!(target);
        }
        match wrong {
            0 => record["more"] = json!(1),
            1 => record["port"] = json!(70_000),
            _ => {}
        }
        record
    })
}

/// What is said of a question, or nearly.
fn name_finding() -> impl Strategy<Value = Value> {
    let number = prop_oneof![8 => 0..6_u64, 1 => any::<u64>()];
    let kept = (
        0..3_u32,
        any::<bool>(),
        0..3_u16,
        any::<u16>(),
        any::<u16>(),
    );
    let kept = kept.prop_map(|(target, ipv6, port, weight, priority)| {
        json!({"target": target, "ipv6": ipv6, "port": port, "weight": weight, "priority": priority})
    });
    let records = prop::collection::vec(record(), 0..30);
    let kept = prop::collection::vec(kept, 0..4);
    let trouble = prop::option::of(prop::sample::select(&["nothing", "failure", "other"][..]));
    let left_out = prop_oneof![3 => Just(0), 1 => any::<u32>()];
    let reason = "[\\x00-\\x20\u{202e}é]{0,300}";
    (number, records, kept, trouble, left_out, reason).prop_map(
        |(question, records, kept, trouble, left_out, reason)| {
            let mut finding = json!({
                "question": question, "records": records, "kept": kept, "left_out": left_out, "reason": reason,
            });
            if let Some(trouble) = trouble {
                finding["trouble"] = json!(trouble);
            }
            finding
        },
    )
}

fn body<S: Strategy<Value = Value>>(finding: S) -> impl Strategy<Value = Vec<u8>> {
    let revision = prop_oneof![9 => Just(REVISION), 1 => any::<u64>()];
    let findings = prop::collection::vec(finding, 0..12);
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
        bodies in prop::collection::vec(body(finding()), 1..6)
    ) {
        let bodies: Vec<_> = bodies.iter().map(Vec::as_slice).collect();
        Site::new().hear(&bodies);
    }

    #[test]
    fn a_stranger_changes_what_names_of_the_file_stand_for_and_nothing_else(
        bodies in prop::collection::vec(body(name_finding()), 1..6)
    ) {
        let bodies: Vec<_> = bodies.iter().map(Vec::as_slice).collect();
        NamesSite::new().hear(&bodies);
    }
}

#[test]
fn an_answer_of_any_length_is_cut_whatever_is_kept_of_the_one_before() {
    let records: Vec<_> = (0..4_000)
        .map(|number| json!({"address": format!("10.1.{}.{}", number / 250, number % 250), "port": 443, "target": 1}))
        .collect();
    let kept =
        vec![json!({"target": 1, "ipv6": false, "port": 444, "weight": 1, "priority": 1}); 2_000];
    let question =
        |number: u32| json!({"question": number, "records": records, "left_out": u32::MAX});
    let kept = json!({"question": 0, "kept": kept, "trouble": "failure", "reason": "x"});
    let bodies: Vec<_> = [
        vec![question(0), question(1)],
        vec![question(2)],
        vec![question(3)],
        vec![kept],
    ]
    .into_iter()
    .map(|findings| json!({"revision": REVISION, "findings": findings}).to_string())
    .collect();
    let bodies: Vec<_> = bodies.iter().map(String::as_bytes).collect();
    NamesSite::new().hear(&bodies);
}

#[test]
fn what_is_said_of_a_target_again_and_again_makes_no_more_of_it() {
    let findings: Vec<_> = (0..8_000)
        .map(|number| json!({"target": 0, "healthy": number % 2 == 0, "reason": ""}))
        .collect();
    let body = json!({"revision": REVISION, "findings": findings}).to_string();
    Site::new().hear(&[body.as_bytes()]);
}
