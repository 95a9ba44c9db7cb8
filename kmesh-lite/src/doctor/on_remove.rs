//! Whether the daemon reaches the connections that it has to end.

use super::server_first::lacks_ptrace;
use super::{Check, Finding, Subject};
use crate::model::{Mesh, OnRemove};

#[derive(Clone, Debug)]
pub struct Kills {
    /// Services with `on_remove = "kill"`, as far as the file can be read.
    services: Option<Vec<String>>,
    /// Whether the daemon that runs, or the one that would, lacks CAP_SYS_PTRACE.
    lacks_ptrace: Option<bool>,
}

pub fn look(subject: &Subject) -> Kills {
    Kills {
        services: subject.config.mesh.as_ref().map(killing),
        lacks_ptrace: lacks_ptrace(subject),
    }
}

fn killing(mesh: &Mesh) -> Vec<String> {
    let services = mesh.services.iter();
    let killing = services.filter(|(_, service)| service.on_remove == OnRemove::Kill);
    killing.map(|(name, _)| name.to_string()).collect()
}

pub fn judge(found: &Kills) -> Check {
    let services = found.services.as_deref().unwrap_or_default();
    let names = match services {
        [] => String::new(),
        [one] => one.clone(),
        [one, more @ ..] => format!("{one} and {} more", more.len()),
    };
    let finding = match (services, found.lacks_ptrace) {
        _ if found.services.is_none() => {
            Finding::unknown("cannot tell which services have it", "see `config`")
        }
        ([], _) => Finding::fine("no service has `on_remove = \"kill\"`"),
        (_, Some(false)) => Finding::fine(format!(
            "connections of {names} can be ended, also in other network namespaces"
        )),
        _ => Finding::fine(format!(
            "connections of {names} can be ended in the host's network namespace; those of containers and other \
             network namespaces go on, because they take CAP_SYS_PTRACE, which \
             examples-config/systemd/server-first.conf adds"
        )),
    };
    finding.named("on_remove")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Unknown};

    #[test]
    fn what_is_out_of_reach_is_said_and_is_no_problem() {
        let said = |services: Option<&[&str]>, lacks_ptrace| {
            let services = services.map(|names| names.iter().map(ToString::to_string).collect());
            let check = judge(&Kills {
                services,
                lacks_ptrace,
            });
            (check.verdict, check.found)
        };
        let names: &[&str] = &["web", "db"];
        for (lacks, is_said) in [(Some(true), true), (None, true), (Some(false), false)] {
            let (verdict, text) = said(Some(names), lacks);
            assert_eq!(verdict, Fine);
            assert!(text.contains("web and 1 more"), "{text}");
            assert_eq!(text.contains("CAP_SYS_PTRACE"), is_said, "{text}");
        }
        assert_eq!(said(Some(&[]), Some(true)).0, Fine);
        assert_eq!(said(None, Some(true)).0, Unknown);
    }
}
