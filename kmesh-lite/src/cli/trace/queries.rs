//! Questions of DNS to the agent, one line each.

use crate::api::{QueryEvent, QueryOutcome};
use crate::cli::output::{ERROR, FAINT, GOOD, WARN, complain};
use std::fmt::Write as _;

pub fn heading() -> String {
    format!(
        "{:<15} {:<10} {:<4} {:<21} {:<6} {:>10}  question",
        "time (UTC)", "outcome", "over", "client", "type", "took"
    )
}

/// One event in one line. What is about no question at all is a warning beside them.
pub fn words(event: &QueryEvent) -> Option<String> {
    let clock = super::clock(&event.time);
    let Some(outcome) = event.outcome else {
        if event.lost.is_some() {
            return Some(format!("{clock:<15} {WARN}{}{WARN:#}", event.text));
        }
        complain(&format!("{WARN}warning{WARN:#}: {}", event.text));
        return None;
    };
    let style = match outcome {
        QueryOutcome::Answered | QueryOutcome::Forwarded => GOOD,
        QueryOutcome::Cached => FAINT,
        QueryOutcome::Nodata | QueryOutcome::Nxdomain | QueryOutcome::Refused => WARN,
        QueryOutcome::Failed | QueryOutcome::Malformed | QueryOutcome::Dropped => ERROR,
    };
    let took = event.duration_seconds.unwrap_or_default() * 1e3;
    let mut line = format!(
        "{clock:<15} {style}{:<10}{style:#} {:<4} {:<21} {:<6} {:>10}  ",
        outcome.as_str(),
        event.transport.map_or("-", |it| it.as_str()),
        super::or_dash(event.client.as_deref()),
        super::or_dash(event.record_type.as_deref()),
        format!("{took:.3} ms"),
    );
    // Writing to a String cannot fail.
    if let Some(name) = &event.name {
        line.push_str(name);
        if let Some(service) = &event.service {
            let _ = write!(line, " (service {service})");
        }
        line.push_str(": ");
    }
    line.push_str(&event.text);
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Transport;

    fn plain(event: &QueryEvent) -> String {
        anstream::adapter::strip_str(&words(event).unwrap()).to_string()
    }

    #[test]
    fn a_line_says_who_asked_for_what_and_what_came_of_it() {
        let event = QueryEvent {
            time: "2026-01-02T03:04:05.678901Z".to_owned(),
            event: "query".into(),
            outcome: Some(QueryOutcome::Answered),
            text: "the mesh has it".to_owned(),
            transport: Some(Transport::Udp),
            client: Some("127.0.0.1:40123".to_owned()),
            name: Some("payments.mesh".to_owned()),
            record_type: Some("AAAA".to_owned()),
            service: Some("payments".to_owned()),
            duration_seconds: Some(0.000_012_4),
            ..QueryEvent::default()
        };
        assert_eq!(
            plain(&event),
            "03:04:05.678901 answered   udp  127.0.0.1:40123       AAAA     0.012 ms  \
             payments.mesh (service payments): the mesh has it"
        );
        let malformed = QueryEvent {
            outcome: Some(QueryOutcome::Malformed),
            text: "this is no question".to_owned(),
            name: None,
            record_type: None,
            service: None,
            ..event
        };
        assert_eq!(
            plain(&malformed),
            "03:04:05.678901 malformed  udp  127.0.0.1:40123       -        0.012 ms  this is no question"
        );
    }

    #[test]
    fn what_is_missing_is_a_line_and_an_agent_that_is_away_is_none() {
        let lost = QueryEvent {
            time: "2026-01-02T03:04:05.678Z".to_owned(),
            event: "lost".into(),
            text: "lost 7 events".to_owned(),
            lost: Some(7),
            ..QueryEvent::default()
        };
        assert_eq!(plain(&lost), "03:04:05.678    lost 7 events");
        assert_eq!(
            words(&QueryEvent::notice("away", "the agent is away")),
            None
        );
    }
}
