//! `policies suggest`: a drop-in that allows what was seen.

use super::super::output::Output;
use super::super::run::absolute;
use super::super::{Exit, VerbResult, args};
use crate::api::{SeenPeer, SuggestedPolicy, Suggestion};
use crate::control::Client;
use crate::report::count;
use std::fmt::Write;
use toml::Value;

pub fn run(args: args::Suggest, output: &mut Output) -> VerbResult {
    let since = args.since.map(|since| since.to_string());
    let query: Vec<_> = since
        .iter()
        .map(|since| ("since", since.as_str()))
        .collect();
    let daemon = Client::new(absolute(&args.socket.path)?);
    let suggestion: Suggestion = daemon.get("policies/suggestion", &query)?;
    if args.format.json {
        output.json(&suggestion)?;
    } else {
        output.text(&file(&suggestion, args.enforce))?;
    }
    Ok(Exit::Fine)
}

/// The text of a drop-in. Writing to a String cannot fail, so no outcome is looked at.
fn file(suggestion: &Suggestion, enforces: bool) -> String {
    let mut text = format!(
        "# Made by kmesh-lite at {} out of connections that were seen.\n",
        suggestion.at
    );
    comment(
        &mut text,
        &format!(
            "It is looked who connects since {}. What was counted before has no time here.",
            suggestion.since
        ),
    );
    if let Some(within) = suggestion.within_seconds {
        comment(
            &mut text,
            &format!("Only what was seen within the last {within} seconds is allowed."),
        );
    }
    if !suggestion.accounting {
        comment(
            &mut text,
            "[accounting] is off: only connections that were open at a look are known.",
        );
    }
    comment(
        &mut text,
        match (suggestion.policies.is_empty(), enforces) {
            (true, _) => "Nobody was seen to connect, so there is nothing to allow.",
            (false, true) => "Whoever is not named here is refused by these services.",
            (false, false) => {
                "In audit mode nobody is refused; `kmesh-lite status` counts who would be."
            }
        },
    );
    for policy in &suggestion.policies {
        write_policy(&mut text, policy, enforces);
    }
    if !suggestion.uncovered.is_empty() {
        text += "\n# Not covered, because no policy can name who connects:\n";
        for it in &suggestion.uncovered {
            let connections = count(it.connections as usize, "connection");
            comment(
                &mut text,
                &format!("- {connections} to {}, {}", it.service, it.why),
            );
        }
    }
    if suggestion.left_out > 0 {
        let pairs = count(suggestion.left_out as usize, "client");
        let _ = writeln!(
            text,
            "\n# Not covered: {pairs} for which there was no room."
        );
    }
    if !suggestion.unused.is_empty() {
        text +=
            "\n# Nobody was seen to connect to these services, and no policy here closes them:\n";
        for service in &suggestion.unused {
            comment(&mut text, &format!("- {service}"));
        }
    }
    text
}

fn write_policy(text: &mut String, policy: &SuggestedPolicy, enforces: bool) {
    let _ = writeln!(text, "\n[policies.{}]", key(&policy.name));
    text.push_str("action = \"allow\"\n");
    for (name, targets) in [("services", &policy.services), ("ports", &policy.ports)] {
        if !targets.is_empty() {
            let targets: Vec<_> = targets.iter().map(|it| quoted(it)).collect();
            let _ = writeln!(text, "{name} = [{}]", targets.join(", "));
        }
    }
    for (name, peers) in [("clients", &policy.clients), ("from", &policy.from)] {
        let Some(peers) = peers else { continue };
        let _ = writeln!(text, "{name} = [");
        for peer in peers {
            let _ = writeln!(text, "  {}, # {}", quoted(&peer.name), seen(peer));
        }
        text.push_str("]\n");
    }
    if !enforces {
        text.push_str("mode = \"audit\"\n");
    }
}

fn seen(peer: &SeenPeer) -> String {
    let connections = count(peer.connections as usize, "connection");
    match (&peer.first, &peer.last) {
        (Some(first), Some(last)) if first != last => {
            format!("{connections}, seen from {first} to {last}")
        }
        (_, Some(last)) => format!("{connections}, seen at {last}"),
        _ => format!("{connections}, before it was looked"),
    }
}

/// A line of a comment, whatever is in it.
fn comment(text: &mut String, line: &str) {
    let line: String = line
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    let _ = writeln!(text, "# {line}");
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// As it stands in the head of a table.
fn key(name: &str) -> String {
    let is_bare = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    match is_bare {
        true => name.to_owned(),
        false => quoted(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fragments, Host, Loader, Origin};

    fn peer(name: &str, connections: u64) -> SeenPeer {
        SeenPeer {
            name: name.to_owned(),
            connections,
            first: Some("2026-01-01T00:00:00.000Z".to_owned()),
            last: Some("2026-01-01T01:00:00.000Z".to_owned()),
        }
    }

    fn suggestion() -> Suggestion {
        Suggestion {
            at: "2026-01-01T02:00:00.000Z".to_owned(),
            since: "2026-01-01T00:00:00.000Z".to_owned(),
            accounting: true,
            policies: vec![SuggestedPolicy {
                name: "seen-web.eu".to_owned(),
                services: vec!["web.eu".to_owned()],
                clients: Some(vec![
                    peer("shop.service", 12),
                    peer(r"dev-disk-by\x2dlabel.mount", 1),
                    SeenPeer {
                        first: None,
                        last: None,
                        ..peer("/lxc/a \"b\"", 1)
                    },
                ]),
                from: Some(vec![
                    peer("10.1.0.0/24", 9),
                    peer("2001:db8::1", 1),
                    peer("service:web.eu", 4),
                ]),
                ..SuggestedPolicy::default()
            }],
            unused: vec!["dns".to_owned()],
            ..Suggestion::default()
        }
    }

    #[test]
    fn a_suggestion_is_a_drop_in_that_counts_first() {
        let expected = r#"# Made by kmesh-lite at 2026-01-01T02:00:00.000Z out of connections that were seen.
# It is looked who connects since 2026-01-01T00:00:00.000Z. What was counted before has no time here.
# In audit mode nobody is refused; `kmesh-lite status` counts who would be.

[policies."seen-web.eu"]
action = "allow"
services = ["web.eu"]
clients = [
  "shop.service", # 12 connections, seen from 2026-01-01T00:00:00.000Z to 2026-01-01T01:00:00.000Z
  'dev-disk-by\x2dlabel.mount', # 1 connection, seen from 2026-01-01T00:00:00.000Z to 2026-01-01T01:00:00.000Z
  '/lxc/a "b"', # 1 connection, before it was looked
]
from = [
  "10.1.0.0/24", # 9 connections, seen from 2026-01-01T00:00:00.000Z to 2026-01-01T01:00:00.000Z
  "2001:db8::1", # 1 connection, seen from 2026-01-01T00:00:00.000Z to 2026-01-01T01:00:00.000Z
  "service:web.eu", # 4 connections, seen from 2026-01-01T00:00:00.000Z to 2026-01-01T01:00:00.000Z
]
mode = "audit"

# Nobody was seen to connect to these services, and no policy here closes them:
# - dns
"#;
        assert_eq!(file(&suggestion(), false), expected);
    }

    #[test]
    fn what_is_written_is_read_as_it_was_meant() {
        let mut suggestion = suggestion();
        let policy = &mut suggestion.policies[0];
        let clients = policy.clients.as_mut().expect("clients");
        clients.push(peer("shop-\u{7f}\n*.service", 1));
        let name = clients.len() - 1;
        let table: toml::Table = file(&suggestion, true).parse().expect("TOML");
        let policy = &table["policies"]["seen-web.eu"];
        assert_eq!(
            policy["clients"][name].as_str(),
            Some("shop-\u{7f}\n*.service")
        );
        assert!(policy.get("mode").is_none(), "it counts at once");
    }

    #[test]
    fn a_drop_in_is_valid_beside_its_mesh() {
        let mesh = "services.'web.eu' = { vips = ['10.96.0.10'], ports = [80], endpoints = ['192.0.2.1'] }";
        let texts = [
            ("mesh.toml", mesh.to_owned()),
            ("seen.toml", file(&suggestion(), true)),
        ];
        let fragments = texts.map(|(name, text)| (Origin::new(name), text));
        let fragments: Fragments = fragments.into_iter().collect();
        let loaded = Loader::default().load(&fragments, &Host::default());
        let mesh = loaded.mesh.expect("a mesh");
        let policy = &mesh.policies["seen-web.eu"];
        assert_eq!(policy.clients.as_ref().map(|it| it.len()), Some(3));
        assert_eq!(policy.from.as_ref().map(|it| it.len()), Some(3));
    }
}
