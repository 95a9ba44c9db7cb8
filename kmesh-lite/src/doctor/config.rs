//! The configuration: whether this process can read it, and whether it is valid.

use super::{Check, Finding};
use crate::config::Severity;
use crate::host::this_host;
use crate::model::Mesh;
use crate::report::{contents, count};
use crate::sources::Files;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, eaccess};
use std::path::PathBuf;

/// The main file and its drop-ins as they were read.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    pub file: PathBuf,
    /// The folder of drop-ins, which need not be there.
    pub drop_ins: PathBuf,
    /// Every file that was read.
    pub files: Vec<PathBuf>,
    /// None if the file is absent or has errors.
    pub mesh: Option<Mesh>,
    /// Whether the main file or a drop-in is there.
    is_present: bool,
    /// Whether this process may read all there is.
    is_readable: bool,
    errors: usize,
    /// The first error in one line.
    first: Option<String>,
}

pub fn look(file: PathBuf) -> Configuration {
    let mut source = Files::new(&file);
    let loaded = source.load(&this_host());
    let problems = loaded.problems.iter();
    let mut errors = problems.filter(|problem| problem.severity == Severity::Error);
    let first = errors.next().map(|problem| {
        let (origin, message) = (problem.origin(), &problem.message);
        match problem.line() {
            Some(line) => format!("{origin}:{line}: {message}"),
            None => message.clone(),
        }
    });
    let drop_ins = source.drop_ins().to_owned();
    let files: Vec<_> = loaded
        .origins
        .iter()
        .map(|it| it.as_path().to_owned())
        .collect();
    // A file that this process may not even look for counts as well.
    let is_readable = [&file, &drop_ins]
        .into_iter()
        .chain(&files)
        .all(|path| eaccess(path, AccessFlags::R_OK) != Err(Errno::EACCES));
    Configuration {
        is_present: loaded.present,
        is_readable,
        errors: usize::from(first.is_some()) + errors.count(),
        first,
        mesh: loaded.mesh,
        files,
        file,
        drop_ins,
    }
}

pub fn judge(configuration: &Configuration) -> Check {
    let path = configuration.file.display();
    let mesh = configuration.mesh.as_ref();
    let holds = mesh.map(|mesh| contents(mesh, configuration.files.len()));
    match &configuration.first {
        _ if !configuration.is_readable => {
            Finding::unknown(format!("this user may not read {path}"), "run this as root")
        }
        Some(first) => Finding::problem(
            format!("{path} has {}, the first is {first}", count(configuration.errors, "error")),
            format!("`kmesh-lite check {path}` shows all, and what to do; until then nothing of it is applied"),
        ),
        None if !configuration.is_present => Finding::problem(
            format!("{path} does not exist"),
            "write it (README.md has a first one), or name another with --config; a daemon waits for it",
        ),
        None => Finding::fine(format!(
            "{path} is valid: {}",
            holds.unwrap_or_default()
        )),
    }
    .named("config")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Problem, Unknown};

    #[test]
    fn errors_point_to_check() {
        let good = Configuration {
            file: "/etc/kmesh/mesh.toml".into(),
            files: vec!["/etc/kmesh/mesh.toml".into()],
            mesh: Some(Mesh::default()),
            is_present: true,
            is_readable: true,
            ..Configuration::default()
        };
        assert_eq!(judge(&good).verdict, Fine);
        let bad = judge(&Configuration {
            errors: 2,
            first: Some("line 3: unknown key".to_owned()),
            ..good.clone()
        });
        assert_eq!(bad.verdict, Problem);
        assert!(
            bad.found.contains("2 errors, the first is line 3"),
            "{bad:?}"
        );
        assert!(bad.todo.unwrap().contains("kmesh-lite check"));
        let absent = judge(&Configuration {
            is_present: false,
            ..good.clone()
        });
        assert_eq!(absent.verdict, Problem);
        let secret = judge(&Configuration {
            is_readable: false,
            errors: 1,
            ..good
        });
        assert_eq!(secret.verdict, Unknown);
    }
}
