//! `check`: is a file valid?

use super::output::{GOOD, Output, complain};
use super::run::absolute;
use super::{CliError, Exit, VerbResult, args};
use crate::api::{Checked, Failure, FailureKind};
use crate::config::{Fragments, Loaded, Loader, Problems};
use crate::host::this_host;
use crate::model::Mesh;
use crate::report::contents;
use crate::report::problems::{self, findings};
use crate::sources::Files;
use anstream::{AutoStream, ColorChoice};
use std::path::Path;

pub fn run(args: args::Check, output: &mut Output) -> VerbResult {
    let (_, loaded) = read(&args.path)?;
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
    warn_or_fail(&args.path, &loaded.problems, false)?;
    let mesh = loaded.mesh.as_ref();
    let holds = mesh.map(|mesh| contents(mesh, loaded.origins.len()));
    output.text(&format!(
        "{GOOD}{} is valid{GOOD:#}: {}",
        args.path.display(),
        holds.unwrap_or_default()
    ))?;
    Ok(Exit::Fine)
}

/// The configuration at `path`, which exists.
pub fn read(path: &Path) -> Result<(Fragments, Loaded), CliError> {
    let fragments = Files::new(absolute(path)?).read();
    let loaded = Loader::default().load(&fragments, &this_host());
    if !loaded.present {
        let error = format!("{} does not exist", path.display());
        return Err(Failure::new(FailureKind::InvalidConfiguration, error).into());
    }
    Ok((fragments, loaded))
}

/// Says on a terminal what there is to say about a configuration; with errors in it, that is why the
/// verb fails. With `json` errors count only.
pub fn warn_or_fail(path: &Path, problems: &Problems, json: bool) -> Result<(), CliError> {
    let color = !json && AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
    if problems.has_errors() {
        return Err(problems::invalid(path.display(), problems, color).into());
    }
    if !json && !problems.is_empty() {
        complain(problems::render(problems, color).trim_end());
    }
    Ok(())
}
