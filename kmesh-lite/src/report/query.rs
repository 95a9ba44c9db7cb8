//! Questions to the agent, in words.

use super::moment::time_of;
use crate::api::{QueryEvent, QueryOutcome, ToldQuery};
use crate::printable::printable;
use crate::zone::Owners;
use jiff::Timestamp;

/// Of a name, in bytes: the longest one, each byte of which is escaped.
const NAME: usize = 4 * 254;
/// Of the name of a type of records, and of a code.
const WORD: usize = 24;

/// A question as the agent tells it, whose word is that of a stranger. `clocks` are what the monotonic one and that of the host show
/// now.
pub fn query_event(told: ToldQuery, owners: &Owners, clocks: (u64, Timestamp)) -> QueryEvent {
    let name = told.name.map(|name| printable(&name, NAME));
    let key = name.as_ref().map(|name| name.to_ascii_lowercase());
    let service = key.and_then(|name| match told.outcome {
        QueryOutcome::Answered => owners.of_answered(&name),
        _ => owners.of(&name),
    });
    let upstream = told.upstream.map(|at| at.to_string());
    let code = told.code.map(|code| printable(&code, WORD));
    QueryEvent {
        time: time_of(told.at_ns, clocks),
        event: "query".into(),
        outcome: Some(told.outcome),
        text: text(told.outcome, upstream.as_deref(), code.as_deref()),
        lost: None,
        transport: Some(told.transport),
        client: told.client.map(|at| at.to_string()),
        service: service.map(ToString::to_string),
        name,
        record_type: told.record_type.map(|word| printable(&word, WORD)),
        upstream,
        code,
        duration_seconds: Some(told.took_ns as f64 / 1e9),
    }
}

/// What came of a question, for people.
fn text(outcome: QueryOutcome, upstream: Option<&str>, code: Option<&str>) -> String {
    let code = code.unwrap_or("an answer");
    let text = match outcome {
        QueryOutcome::Answered => "the mesh has it",
        QueryOutcome::Nodata => "the mesh has the name, and no such records",
        QueryOutcome::Nxdomain => "the mesh has no such name",
        QueryOutcome::Forwarded => {
            return format!("{code} from {}", upstream.unwrap_or("an upstream"));
        }
        QueryOutcome::Cached => return format!("{code} that an upstream gave before"),
        QueryOutcome::Failed => "no upstream answered",
        QueryOutcome::Refused => "questions of this kind are not answered",
        QueryOutcome::Malformed => "this is no question",
        QueryOutcome::Dropped => "there was no room for it",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Transport;

    fn told() -> ToldQuery {
        ToldQuery {
            at_ns: 4_000_000_000,
            took_ns: 1_250_000,
            transport: Transport::Tcp,
            outcome: QueryOutcome::Forwarded,
            client: "127.0.0.1:4242".parse().ok(),
            name: Some("WWW.internal".to_owned()),
            record_type: Some("A".to_owned()),
            upstream: "127.0.0.2:53".parse().ok(),
            code: Some("NXDOMAIN".to_owned()),
        }
    }

    #[test]
    fn a_question_is_told_with_when_it_was_who_asked_and_who_answered() {
        let now = "2026-01-02T03:04:06Z".parse().unwrap();
        let event = query_event(told(), &Owners::default(), (5_000_000_000, now));
        let json = event.line().unwrap();
        assert_eq!(
            json.trim_end(),
            r#"{"time":"2026-01-02T03:04:05.000000Z","event":"query","outcome":"forwarded","text":"NXDOMAIN from 127.0.0.2:53","transport":"tcp","client":"127.0.0.1:4242","name":"WWW.internal","type":"A","upstream":"127.0.0.2:53","code":"NXDOMAIN","duration_seconds":0.00125}"#
        );
    }

    #[test]
    fn what_a_false_agent_says_is_cut_and_fit_for_a_terminal() {
        let event = query_event(
            ToldQuery {
                at_ns: u64::MAX,
                name: Some("\u{1b}[2J\u{202e}".repeat(1_000)),
                record_type: Some("\n".repeat(100)),
                code: Some("\u{7}".repeat(100)),
                ..told()
            },
            &Owners::default(),
            (5, Timestamp::now()),
        );
        let line = event.line().unwrap();
        assert!(line.len() < 3_000, "{}", line.len());
        let line = line.trim_end();
        assert!(!line.contains(crate::printable::is_wild), "{line:?}");
        // None of it is written as an escape of JSON.
        assert!(!line.contains('\\'), "{line:?}");
    }

    #[test]
    fn each_outcome_has_words_of_its_own() {
        let mut texts: Vec<_> = QueryOutcome::ALL
            .iter()
            .map(|it| text(*it, Some("a"), Some("NOERROR")))
            .collect();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), QueryOutcome::ALL.len());
    }
}
