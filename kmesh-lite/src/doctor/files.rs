//! The configuration: whether the daemon can read it, who else can write it, whether it is valid.

use super::{Check, Finding, Verdict};
use std::path::PathBuf;

/// Who reads the files.
#[derive(Clone, Debug)]
pub struct Reader {
    pub name: String,
    pub uid: u32,
    pub groups: Vec<u32>,
}

/// What stat(2) says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub path: PathBuf,
    pub role: Role,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// What a path is to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A folder on the way.
    Way,
    /// A folder whose entries count.
    Folder,
    File,
}

const READ: u32 = 0o4;
const WRITE: u32 = 0o2;
const SEARCH: u32 = 0o1;

impl Reader {
    /// Whether the mode alone lets this user do that; lists of access rights are not looked at.
    fn may(&self, what: u32, about: &About) -> bool {
        let bits = match about {
            _ if self.uid == 0 => return true,
            About { uid, .. } if *uid == self.uid => about.mode >> 6,
            About { gid, .. } if self.groups.contains(gid) => about.mode >> 3,
            _ => about.mode,
        };
        bits & what == what
    }
}

/// `reader`: whom the daemon runs as, if that is known. `files`: those that are there, folders on the
/// way first.
pub fn permissions(reader: Option<&Reader>, files: &[About]) -> Check {
    let mut findings = Vec::new();
    for about in files {
        let path = about.path.display();
        let mode = about.mode & 0o7777;
        let needed = match about.role {
            Role::Way => SEARCH,
            Role::Folder => READ | SEARCH,
            Role::File => READ,
        };
        if let Some(reader) = reader.filter(|reader| !reader.may(needed, about)) {
            let letters = match about.role {
                Role::Way => "x",
                Role::Folder => "rx",
                Role::File => "r",
            };
            findings.push(Finding::problem(
                format!(
                    "{path} (mode {mode:04o}) cannot be read by {}, whom the daemon runs as",
                    reader.name
                ),
                format!(
                    "`chmod o+{letters} {path}`, or give it to a group of {}",
                    reader.name
                ),
            ));
        }
        // Of folders on the way others may have made one for all, such as /tmp.
        if about.role != Role::Way && mode & WRITE != 0 {
            findings.push(Finding::warning(
                format!(
                    "anybody can write {path} (mode {mode:04o}), and so send connections anywhere"
                ),
                format!("`chmod o-w {path}`"),
            ));
        }
    }
    if findings.is_empty() {
        let any = files.iter().any(|about| about.role == Role::File);
        findings.push(Finding::fine(match reader {
            _ if !any => "no files are there".to_owned(),
            Some(reader) => format!(
                "{} can read them, and not everybody can write them",
                reader.name
            ),
            None => "not everybody can write them".to_owned(),
        }));
    }
    Check::of("config_permissions", findings)
}

/// What the files came to.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    pub path: PathBuf,
    /// Whether the main file is there.
    pub present: bool,
    /// Whether this process may read it.
    pub readable: bool,
    pub errors: usize,
    /// The first error in one line.
    pub first: Option<String>,
    pub files: usize,
    pub services: usize,
}

pub fn configuration(configuration: &Configuration) -> Check {
    let path = configuration.path.display();
    let finding = match configuration {
        Configuration {
            readable: false, ..
        } => Finding::unknown(format!("this user may not read {path}"), "run this as root"),
        Configuration { errors: 1.., .. } => {
            let errors = count(configuration.errors, "error");
            let first = configuration.first.as_ref();
            let first = first.map_or_else(String::new, |first| format!(", the first is {first}"));
            Finding::problem(
                format!("{path} has {errors}{first}"),
                format!(
                    "`kmesh-lite check {path}` shows all, and what to do; until then nothing of it is applied"
                ),
            )
        }
        Configuration { present: false, .. } => Finding::problem(
            format!("{path} does not exist"),
            "write it (README.md has a first one), or name another with --config; a daemon waits for it",
        ),
        _ => Finding::fine(format!(
            "{path} is valid: {}, {}",
            count(configuration.files, "file"),
            count(configuration.services, "service")
        )),
    };
    debug_assert!(finding.verdict != Verdict::Warning);
    finding.named("config")
}

fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Problem, Unknown, Warning};

    fn about(role: Role, uid: u32, gid: u32, mode: u32) -> About {
        let path = PathBuf::from("/etc/kmesh/mesh.toml");
        About {
            path,
            role,
            uid,
            gid,
            mode,
        }
    }

    #[test]
    fn the_daemons_user_must_be_able_to_read() {
        let kmesh = Reader {
            name: "kmesh".to_owned(),
            uid: 990,
            groups: vec![990, 44],
        };
        let root = Reader {
            name: "root".to_owned(),
            uid: 0,
            groups: vec![0],
        };
        use Role::{File, Folder, Way};
        for (about, verdict) in [
            (about(File, 0, 0, 0o644), Fine),
            (about(File, 0, 0, 0o640), Problem),
            (about(File, 0, 44, 0o640), Fine),
            (about(File, 0, 990, 0o604), Problem),
            (about(File, 990, 990, 0o400), Fine),
            (about(File, 990, 990, 0o044), Problem),
            (about(Folder, 0, 0, 0o755), Fine),
            (about(Folder, 0, 0, 0o711), Problem),
            (about(Way, 0, 0, 0o711), Fine),
            (about(Way, 0, 0, 0o700), Problem),
        ] {
            let check = permissions(Some(&kmesh), std::slice::from_ref(&about));
            assert_eq!(check.verdict, verdict, "{about:?}");
            assert_eq!(permissions(Some(&root), &[about]).verdict, Fine);
        }
    }

    #[test]
    fn nobody_else_is_to_write() {
        for (role, mode, verdict) in [
            (Role::File, 0o666, Warning),
            (Role::File, 0o664, Fine),
            (Role::Folder, 0o777, Warning),
            // Drop-ins could be added to it all the same.
            (Role::Folder, 0o1777, Warning),
            (Role::Way, 0o1777, Fine),
        ] {
            let check = permissions(None, &[about(role, 0, 0, mode)]);
            assert_eq!(check.verdict, verdict, "{role:?} {mode:o}");
        }
    }

    #[test]
    fn errors_point_to_check() {
        let good = Configuration {
            path: "/etc/kmesh/mesh.toml".into(),
            present: true,
            readable: true,
            files: 1,
            services: 3,
            ..Configuration::default()
        };
        assert_eq!(configuration(&good).verdict, Fine);
        let bad = configuration(&Configuration {
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
        let absent = configuration(&Configuration {
            present: false,
            ..good.clone()
        });
        assert_eq!(absent.verdict, Problem);
        let secret = configuration(&Configuration {
            readable: false,
            errors: 1,
            ..good
        });
        assert_eq!(secret.verdict, Unknown);
    }
}
