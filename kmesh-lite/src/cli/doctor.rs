//! `doctor`: arguments in, the report as text or JSON out.

use super::args::{self, CONFIG};
use super::output::{BOLD, ERROR, FAINT, GOOD, Output, WARN};
use super::run::{absolute, rooted};
use super::{Exit, VerbResult};
use crate::doctor::{Check, Report, Subject, Verdict};
use anstyle::Style;
use std::fmt::Write;

pub fn run(args: args::Doctor, output: &mut Output) -> VerbResult {
    let config = args.config.as_deref().map(absolute).transpose()?;
    let cgroups = args.cgroups.iter().map(|path| rooted(path)).collect();
    let socket = absolute(&args.socket.path)?;
    let report = Subject::gather(socket, config, CONFIG.into(), cgroups).examine();
    if args.format.json {
        output.json(&report)?;
    } else {
        output.text(&text(&report))?;
    }
    Ok(match report.verdict {
        Verdict::Problem => Exit::Failed,
        _ => Exit::Fine,
    })
}

/// The verdict, then a line for each check. Writing to a String cannot fail, so no result is looked
/// at.
fn text(report: &Report) -> String {
    let style = style(report.verdict);
    let mut text = format!("{style}{}{style:#}\n\n", report.headline());
    let names = report.checks.iter().map(|check| check.name.len());
    let width = names.max().unwrap_or(0);
    for check in &report.checks {
        line(&mut text, check, width);
    }
    text
}

fn line(text: &mut String, check: &Check, width: usize) {
    let (word, style) = (word(check.verdict), style(check.verdict));
    let mut found = check.found.lines();
    let first = found.next().unwrap_or_default();
    let name = check.name;
    let _ = writeln!(text, "  {style}{word:<7}{style:#}  {name:<width$}  {first}");
    let indent = width + 13;
    for line in found {
        let _ = writeln!(text, "{:indent$}{line}", "");
    }
    for line in check.todo.iter().flat_map(|todo| todo.lines()) {
        let _ = writeln!(text, "{:indent$}{BOLD}do:{BOLD:#} {line}", "");
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fine => "fine",
        Verdict::Unknown => "unknown",
        Verdict::Warning => "warning",
        Verdict::Problem => "problem",
    }
}

fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Fine => GOOD,
        Verdict::Unknown => FAINT,
        Verdict::Warning => WARN,
        Verdict::Problem => ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Finding;

    #[test]
    fn the_verdict_leads_and_what_to_do_is_below_what_is_not_fine() {
        let report = Report::new(vec![
            Finding::fine("6.1.0").named("kernel"),
            Finding::problem("one\ntwo", "mend one\nmend two").named("hooks"),
        ]);
        let text = anstream::adapter::strip_str(&text(&report)).to_string();
        assert_eq!(
            text,
            "1 problem\n\
             \n\
             \x20 fine     kernel  6.1.0\n\
             \x20 problem  hooks   one\n\
             \x20                  two\n\
             \x20                  do: mend one\n\
             \x20                  do: mend two\n"
        );
    }
}
