//! `trace`: what happens to connections, and what the agent is asked, as it happens.

mod queries;

use super::connections::{age, or_dash};
use super::output::{ERROR, FAINT, GOOD, Output, WARN, WriteError, complain};
use super::run::absolute;
use super::{CliError, Exit, VerbResult, args};
use crate::api::{ConnectionEvent, QueryEvent};
use crate::control::{Client, ClientError};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_shutdown;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub fn run(args: args::Trace, output: &mut Output) -> VerbResult {
    // To be told to stop is how it ends.
    for signal in [SIGINT, SIGTERM] {
        let at_once = Arc::new(AtomicBool::new(true));
        register_conditional_shutdown(signal, 0, at_once).map_err(CliError::Signals)?;
    }
    let since = args.since.map(|since| since.to_string());
    let (what, about) = match args.dns {
        true => ("trace/dns", About::Queries),
        false => ("trace", About::Connections),
    };
    let filters = [
        ("service", args.service.as_deref()),
        ("name", args.name.as_deref()),
        ("unit", args.unit.as_deref()),
        ("endpoint", args.endpoint.as_deref()),
        ("outcome", args.outcome.as_deref()),
        ("policy", args.policy.as_deref()),
        ("since", since.as_deref()),
    ];
    let filters = filters.into_iter();
    let query: Vec<_> = filters
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
    let daemon = Client::new(absolute(&args.socket.path)?);
    let mut lines = Lines {
        output,
        about,
        as_json: args.format.json,
        rest: Vec::new(),
        failure: None,
        headed: false,
    };
    let copied = daemon.stream(what, &query, &mut lines, &|warning| {
        complain(&format!("{WARN}warning{WARN:#}: {warning}"));
    });
    match (copied, lines.failure) {
        (Err(ClientError::Write(_)), Some(failure)) => Err(failure.into()),
        (copied, _) => Ok(copied.map(|()| Exit::Fine)?),
    }
}

/// What the lines tell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Connections,
    Queries,
}

impl About {
    fn heading(self) -> String {
        match self {
            Self::Connections => heading(),
            Self::Queries => queries::heading(),
        }
    }

    /// A line of JSON in words, if there are any for it.
    fn words(self, line: &[u8]) -> Result<Option<String>, serde_json::Error> {
        Ok(match self {
            Self::Connections => Some(words(&serde_json::from_slice::<ConnectionEvent>(line)?)),
            Self::Queries => queries::words(&serde_json::from_slice::<QueryEvent>(line)?),
        })
    }
}

/// Puts what comes in pieces together to lines, and prints each.
struct Lines<'a> {
    output: &'a mut Output,
    about: About,
    as_json: bool,
    rest: Vec<u8>,
    failure: Option<WriteError>,
    headed: bool,
}

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        let mut text = String::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.take(&line, &mut text);
        }
        if !text.is_empty()
            && let Err(failure) = self.output.text(&text)
        {
            self.failure = Some(failure);
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines<'_> {
    fn take(&mut self, line: &[u8], text: &mut String) {
        let is_sign_of_life = line.trim_ascii().is_empty();
        if self.as_json {
            if !is_sign_of_life {
                text.push_str(&String::from_utf8_lossy(line));
            }
            return;
        }
        // The agent tells what it is asked from the first sign on, and whoever waits for that sees it.
        if is_sign_of_life && self.about == About::Connections {
            return;
        }
        // Writing to a String cannot fail.
        if !std::mem::replace(&mut self.headed, true) {
            let _ = writeln!(text, "{FAINT}{}{FAINT:#}", self.about.heading());
        }
        if is_sign_of_life {
            return;
        }
        match self.about.words(line) {
            Ok(Some(words)) => {
                let _ = writeln!(text, "{words}");
            }
            Ok(None) => {}
            Err(error) => {
                let _ = writeln!(text, "{WARN}not understood: {error}{WARN:#}");
            }
        }
    }
}

fn heading() -> String {
    format!(
        "{:<15} {:<11} {:<16} {:<21} {:<20} what",
        "time (UTC)", "event", "service", "asked for", "client"
    )
}

/// The time of day.
fn clock(time: &str) -> &str {
    let clock = time.split_once('T').map_or("", |(_, clock)| clock);
    clock.trim_end_matches('Z')
}

/// One event in one line.
fn words(event: &ConnectionEvent) -> String {
    let clock = clock(&event.time);
    if event.lost.is_some() {
        return format!("{clock:<15} {WARN}{}{WARN:#}", event.text);
    }
    let outcome = event.outcome.as_deref();
    let style = match &*event.event {
        "rejected" | "failed" => ERROR,
        "closed" if outcome == Some("closed") => FAINT,
        "closed" => WARN,
        _ => GOOD,
    };
    let client = event.unit.as_deref().or(event.command.as_deref());
    let mut what = event.text.clone();
    // Writing to a String cannot fail.
    match &*event.event {
        "failed" | "established" => {
            if let Some(endpoint) = event.endpoint.as_ref().or(event.waypoint.as_ref()) {
                let _ = write!(what, " at {endpoint}");
            }
        }
        "closed" => {
            let (sent, received) = (event.sent_bytes, event.received_bytes);
            let _ = write!(
                what,
                " after {}, {} B out, {} B in",
                age(event.duration_seconds.unwrap_or_default()),
                sent.unwrap_or_default(),
                received.unwrap_or_default()
            );
        }
        _ => {}
    }
    if let Some(connecting) = event
        .connect_seconds
        .filter(|_| event.event == "established")
    {
        let _ = write!(what, " in {:.1} ms", connecting * 1e3);
    }
    format!(
        "{clock:<15} {style}{:<11}{style:#} {:<16} {:<21} {:<20} {what}",
        event.event,
        or_dash(event.service.as_deref()),
        or_dash(event.original_destination.as_deref()),
        format!(
            "{}[{}]",
            // Whoever connects chooses the name of its thread, and may want to write lines of its own.
            client.unwrap_or("?").escape_debug(),
            event
                .pid
                .map_or_else(|| "?".to_owned(), |pid| pid.to_string())
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_cannot_write_lines_by_its_name() {
        let event = ConnectionEvent {
            event: "decided".into(),
            command: Some("x\n09:00\u{202e}\u{1b}[2J".to_owned()),
            ..ConnectionEvent::default()
        };
        let line = words(&event);
        assert!(!line.contains(['\n', '\u{202e}']), "{line:?}");
        assert!(line.contains(r"x\n09:00\u{202e}\u{1b}[2J[?]"), "{line:?}");
    }

    #[test]
    fn a_line_says_who_asked_for_what_and_what_became_of_it() {
        let event = ConnectionEvent {
            time: "2026-01-02T03:04:05.678901Z".to_owned(),
            event: "closed".into(),
            outcome: Some("closed".into()),
            text: "closed".to_owned(),
            unit: Some("shop.service".to_owned()),
            pid: Some(7),
            service: Some("payments".to_owned()),
            original_destination: Some("10.96.0.10:80".to_owned()),
            sent_bytes: Some(12),
            received_bytes: Some(34),
            duration_seconds: Some(61.0),
            ..ConnectionEvent::default()
        };
        let line = anstream::adapter::strip_str(&words(&event)).to_string();
        assert_eq!(
            line,
            "03:04:05.678901 closed      payments         10.96.0.10:80         shop.service[7]      \
             closed after 1m01s, 12 B out, 34 B in"
        );
    }
}
