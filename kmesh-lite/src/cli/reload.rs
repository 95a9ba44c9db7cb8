//! `reload`: apply the file now.

use super::output::{GOOD, Output, WARN, complain};
use super::session::session;
use super::{Exit, VerbResult, args};
use crate::api::{ReloadRequest, Reloaded, TrialStatus};
use crate::control::Client;
use crate::report::{count, first_few};
use std::fmt::Write;

pub fn run(args: args::Reload, output: &mut Output) -> VerbResult {
    let request = ReloadRequest {
        confirm_s: args.confirm,
        session: session(),
    };
    let reloaded: Reloaded = Client::new(args.socket.path).post("reload", Some(&request))?;
    if args.format.json {
        output.json(&reloaded)?;
        return Ok(Exit::Fine);
    }
    if let Some(problems) = &reloaded.problems {
        complain(problems.text.trim_end());
    }
    output.text(&text(&reloaded))?;
    Ok(Exit::Fine)
}

fn text(reloaded: &Reloaded) -> String {
    let mut text = match reloaded.operations {
        0 => format!("{GOOD}nothing to change{GOOD:#}"),
        1 => format!("{GOOD}applied 1 operation{GOOD:#}"),
        n => format!("{GOOD}applied {n} operations{GOOD:#}"),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, " in {:.1} ms", reloaded.took_ms);
    for line in first_few(&reloaded.summary) {
        let _ = writeln!(text, "  {line}");
    }
    for (policy, ended) in &reloaded.ended {
        let ended = count(usize::try_from(*ended).unwrap_or(usize::MAX), "connection");
        let _ = writeln!(text, "  policy {policy}: ended {ended} that it refuses now");
    }
    for name in &reloaded.absent {
        let _ = writeln!(
            text,
            "  captured cgroup {name}: waiting, it is not there now"
        );
    }
    for line in first_few(&reloaded.drift) {
        let _ = writeln!(text, "  {WARN}drift{WARN:#} {line}");
    }
    if let Some(pending) = reloaded.trial.as_ref().and_then(pending) {
        let _ = writeln!(text, "{pending}");
    }
    text
}

/// That something is on trial, and how long it still is.
pub fn pending(trial: &TrialStatus) -> Option<String> {
    let left = usize::try_from(trial.left_s?).unwrap_or(usize::MAX);
    Some(format!(
        "{WARN}on trial{WARN:#}: the state before comes back in {}, unless `kmesh-lite confirm` comes before",
        count(left, "second")
    ))
}
