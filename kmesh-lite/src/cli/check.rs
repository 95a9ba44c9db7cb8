//! `check`: is a file valid?

use super::output::{GOOD, Output, WARN, complain};
use super::run::files;
use super::{Exit, Outcome, args};
use crate::daemon::Source;
use crate::daemon::api::{Checked, Failure, FailureKind};
use anstream::{AutoStream, ColorChoice};

pub fn run(args: args::Check, output: &mut Output) -> Outcome {
    let color = AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
    let loaded = files(&args.path)?
        .colored(color && !args.format.json)
        .load();
    // Named as it was written: that is what a user can click on or compare.
    let path = args.path.display();
    let invalid = |error: String| Failure::new(FailureKind::InvalidConfiguration, error);
    if !loaded.present && loaded.problems.is_empty() {
        return Err(invalid(format!("{path} does not exist")).into());
    }
    let valid = loaded.present && loaded.problems.errors == 0;
    if args.format.json {
        output.json(&Checked {
            valid,
            path: args.path.clone(),
            files: loaded.files,
            errors: loaded.problems.errors,
            problems: loaded.problems.list,
            unsupported: loaded.unsupported.list,
        })?;
        return Ok(if valid {
            Exit::Fine
        } else {
            Exit::InvalidConfiguration
        });
    }
    if !valid {
        let error = format!("{path} has {}", loaded.problems.count());
        return Err(invalid(error).with_problems(loaded.problems).into());
    }
    for findings in [&loaded.problems, &loaded.unsupported] {
        if !findings.is_empty() {
            complain(findings.text.trim_end());
        }
    }
    if loaded.unsupported.is_empty() {
        output.text(&format!("{GOOD}{path} is valid{GOOD:#}"))?;
    } else {
        output.text(&format!(
            "{WARN}{path} is valid, but this version cannot run it{WARN:#}"
        ))?;
    }
    Ok(Exit::Fine)
}
