//! `check`: is a file valid?

use super::output::{GOOD, Output, WARN, complain};
use super::run::files;
use super::{CliError, Exit, Outcome, args};
use crate::api::{Checked, Failure, FailureKind, Findings};
use crate::sources::{Files, Loaded, Source};
use anstream::{AutoStream, ColorChoice};
use std::path::Path;

pub fn run(args: args::Check, output: &mut Output) -> Outcome {
    let (_, loaded) = read(&args.path, args.format.json)?;
    let path = args.path.display();
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
        return Err(invalid(&args.path, loaded.problems));
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

/// The configuration at `path`, which exists, with findings as they are going to be printed.
pub fn read(path: &Path, json: bool) -> Result<(Files, Loaded), CliError> {
    let color = AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
    let mut source = files(path)?.colored(color && !json);
    let loaded = source.load();
    if !loaded.present && loaded.problems.is_empty() {
        let error = format!("{} does not exist", path.display());
        return Err(Failure::new(FailureKind::InvalidConfiguration, error).into());
    }
    Ok((source, loaded))
}

/// What is said about a configuration that cannot be used. It is named as it was written: that is
/// what a user can click on or compare.
pub fn invalid(path: &Path, findings: Findings) -> CliError {
    let error = format!("{} has {}", path.display(), findings.count());
    Failure::new(FailureKind::InvalidConfiguration, error)
        .with_problems(findings)
        .into()
}
