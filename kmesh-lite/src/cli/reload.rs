//! `reload`: apply the file now.

use super::output::{GOOD, Output, WARN, complain};
use super::{Exit, VerbResult, args};
use crate::api::Reloaded;
use crate::control::Client;
use crate::report::first_few;
use std::fmt::Write;

pub fn run(args: args::Reload, output: &mut Output) -> VerbResult {
    let reloaded: Reloaded = Client::new(args.socket.path).post("reload", None::<&()>)?;
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
    for name in &reloaded.absent {
        let _ = writeln!(
            text,
            "  captured cgroup {name}: waiting, it is not there now"
        );
    }
    for line in first_few(&reloaded.drift) {
        let _ = writeln!(text, "  {WARN}drift{WARN:#} {line}");
    }
    text
}
