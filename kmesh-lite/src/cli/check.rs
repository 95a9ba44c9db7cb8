//! `check`: is a file valid?

use super::args::{self, Args};
use super::output::{GOOD, Output, complain};
use super::run::absolute;
use super::{CliError, Exit, VerbResult};
use crate::api::{Checked, Failure, FailureKind};
use crate::config::{
    Fragment, Fragments, LARGEST, Loaded, Loader, Origin, Problem, Problems, fragment,
};
use crate::host::this_host;
use crate::model::Mesh;
use crate::report::contents;
use crate::report::problems::{self, findings, summary};
use crate::sources::{Files, elsewhere};
use anstream::{AutoStream, ColorChoice};
use clap::CommandFactory;
use clap::error::ErrorKind;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// What stands for standard input in place of a path.
const STDIN: &str = "-";

pub fn run(args: args::Check, output: &mut Output) -> VerbResult {
    let mut fragments = fragments(&args)?;
    let host = this_host();
    let mut loaded = Loader::default().load(&fragments, &host);
    if !loaded.present {
        if !args.format.json {
            return Err(absent(&args.path));
        }
        let origin = Origin::new(&args.path);
        let problem = Problem::unreadable(origin, "this file does not exist");
        fragments.problems.push(problem);
        loaded = Loader::default().load(&fragments, &host);
    }
    if args.format.json {
        let valid = loaded.mesh.is_some();
        let findings = findings(&loaded.problems, false);
        output.json(&Checked {
            valid,
            path: args.path,
            files: loaded
                .origins
                .iter()
                .map(|it| it.as_path().into())
                .collect(),
            errors: findings.errors,
            problems: findings.list,
            services: loaded.mesh.as_ref().map(|mesh| mesh.services.len()),
            endpoints: loaded.mesh.as_ref().map(Mesh::endpoints),
            unsupported: [],
        })?;
        return Ok(if valid {
            Exit::Fine
        } else {
            Exit::InvalidConfiguration
        });
    }
    let name = match &args.with {
        Some(with) => format!("{} with {}", args.path.display(), with.display()),
        None => args.path.display().to_string(),
    };
    warn_or_fail(&name, &loaded.problems, false)?;
    let mesh = loaded.mesh.as_ref();
    let holds = mesh.map(|mesh| contents(mesh, loaded.origins.len()));
    let said = match loaded.problems.is_empty() {
        true => String::new(),
        false => format!(" ({})", summary(&loaded.problems)),
    };
    let holds = holds.unwrap_or_default();
    output.text(&format!("{GOOD}{name} is valid{GOOD:#}: {holds}{said}"))?;
    Ok(Exit::Fine)
}

/// What is to be judged.
fn fragments(args: &args::Check) -> Result<Fragments, CliError> {
    let stdin = Path::new(STDIN);
    if args.path == stdin {
        if args.with.is_some() {
            let message = "--with needs the files that the drop-in would stand beside, and standard input has none";
            Args::command()
                .error(ErrorKind::ArgumentConflict, message)
                .exit();
        }
        let mut fragments = Fragments::default();
        fragments.push(standard_input());
        return Ok(fragments);
    }
    let mut files = Files::new(absolute(&args.path)?);
    if let Some(with) = &args.with {
        let candidate = match with == stdin {
            true => standard_input(),
            false => elsewhere(&absolute(with)?),
        };
        let own = with.file_name().unwrap_or(OsStr::new(STDIN));
        files.try_out(args.name.as_ref().map_or(own, OsStr::new), candidate);
    }
    Ok(files.read())
}

fn standard_input() -> Result<Arc<Fragment>, Box<Problem>> {
    let origin = Origin::new("<standard input>");
    let mut bytes = Vec::new();
    match io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes) {
        Ok(_) => fragment(origin, 0, bytes),
        Err(error) => {
            let message = format!("cannot read standard input: {error}");
            Err(Box::new(Problem::unreadable(origin, message)))
        }
    }
}

/// The configuration at `path`, which exists.
pub fn read(path: &Path) -> Result<(Fragments, Loaded), CliError> {
    let fragments = Files::new(absolute(path)?).read();
    let loaded = Loader::default().load(&fragments, &this_host());
    if !loaded.present {
        return Err(absent(path));
    }
    Ok((fragments, loaded))
}

fn absent(path: &Path) -> CliError {
    let error = format!("{} does not exist", path.display());
    Failure::new(FailureKind::InvalidConfiguration, error).into()
}

/// Says on a terminal what there is to say about a configuration; with errors in it, that is why the
/// verb fails. With `json` errors count only.
pub fn warn_or_fail(name: &str, problems: &Problems, json: bool) -> Result<(), CliError> {
    let color = !json && AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
    if problems.has_errors() {
        return Err(problems::invalid(name, problems, color).into());
    }
    if !json && !problems.is_empty() {
        complain(&problems::render(problems, color));
    }
    Ok(())
}
