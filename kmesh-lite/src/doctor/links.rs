//! Links of ours that the kernel holds, whether or not a daemon runs.

use super::cgroup::{Captured, CgroupTree};
use super::{Check, Finding, errno};
use crate::api::{State, Status};
use crate::control::ClientError;
use crate::kernel::{ObserveError, Observer};
use crate::log::chain;
use std::path::PathBuf;

/// The cgroups that are attached to, as far as they are in sight; None if there are no links.
type Links = Result<Option<Vec<Captured>>, ObserveError>;

pub fn look(cgroups: &CgroupTree, instance: u64) -> Links {
    let Some(observer) = Observer::find(instance)? else {
        return Ok(None);
    };
    let tree = cgroups.tree.as_ref().ok();
    let seen = |path: &PathBuf| Some(Captured::look(tree?, path.clone()));
    Ok(Some(observer.attached().iter().filter_map(seen).collect()))
}

pub fn judge(links: &Links, status: &Result<Status, ClientError>) -> Check {
    let routes = matches!(status, Ok(status) if status.state == State::Routing);
    let is_gone = matches!(status, Err(ClientError::NotRunning(_)));
    match links {
        Err(ObserveError::Layout { there, .. }) if is_gone => Finding::problem(
            format!("connects are handled without a daemon, by tables of layout {there}"),
            LEFT,
        ),
        Err(ObserveError::Layout { there, ours }) => Finding::warning(
            format!("the tables in the kernel are of layout {there}, and this kmesh-lite reads layout {ours}"),
            "`systemctl restart kmesh-lite` makes new ones; until then only the running version can show them",
        ),
        Err(error) if errno(error) == Some(libc::EPERM) => {
            Finding::unknown("only root may look for them", "run this as root")
        }
        Err(error) => Finding::unknown(
            format!("cannot look for them: {}", chain(error)),
            "run this as root",
        ),
        Ok(None) if routes => Finding::problem(
            "the daemon says that it routes, and nothing of it is attached",
            "`kmesh-lite reload` attaches again; find out who detaches programs (`bpftool link`, `journalctl`)",
        ),
        Ok(None) => Finding::fine("none"),
        // A container may have a control socket of the same name, and links of its own.
        Ok(Some(cgroups)) if cgroups.is_empty() => Finding::unknown(
            "there are links to cgroups that cannot be seen from here",
            "run this on the host, outside of any container",
        ),
        Ok(Some(cgroups)) => {
            let holders: Option<Vec<_>> = cgroups.iter().map(|cgroup| cgroup.holder).collect();
            let paths: Vec<_> = cgroups.iter().map(|cgroup| cgroup.path.display().to_string()).collect();
            let paths = paths.join(" ");
            match holders {
                _ if !is_gone => Finding::fine(format!("attached to {paths}")),
                Some(holders) => Finding::fine(format!(
                    "{paths} belong to process {}, whose control socket is not here: it was removed, is about to be made anew, or is in a container",
                    holders[0]
                )),
                None => Finding::problem(
                    format!(
                        "connects of {paths} are handled without a daemon, by tables that follow no file any more"
                    ),
                    LEFT,
                ),
            }
        }
    }
    .named("links")
}

const LEFT: &str = "`systemctl start kmesh-lite` takes them over, and `systemctl stop kmesh-lite` lets go of them; if \
                    systemd is not who keeps them, end the process that does (`grep -l link_type: /proc/*/fdinfo/* \
                    2>/dev/null` finds it)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Problem, Unknown, Warning};
    use crate::doctor::daemon::tests::{nobody, running, silent};
    use crate::host::Cgroups;
    use std::io;
    use std::path::Path;

    #[test]
    fn links_belong_to_a_daemon() {
        let held_by = |holder| {
            let tree = Cgroups::at(Path::new("/nowhere"));
            let mut cgroup = Captured::look(&tree, "/web.slice".into());
            cgroup.holder = holder;
            Ok(Some(vec![cgroup]))
        };
        let attached = || held_by(None);
        let unseen = || Ok(Some(Vec::new()));
        let layout = || Err(ObserveError::Layout { there: 2, ours: 3 });
        let failed = |error| Err(ObserveError::List(error));
        let denied = || failed(io::Error::from_raw_os_error(libc::EPERM));
        for (links, status, verdict) in [
            (attached(), running(State::Routing), Fine),
            (attached(), nobody(), Problem),
            (held_by(Some(7)), running(State::Routing), Fine),
            (held_by(Some(8)), nobody(), Fine),
            (unseen(), nobody(), Unknown),
            // Somebody holds the socket: it is told there.
            (attached(), silent(), Fine),
            (layout(), running(State::Routing), Warning),
            (layout(), nobody(), Problem),
            (Ok(None), nobody(), Fine),
            (Ok(None), running(State::Waiting), Fine),
            (Ok(None), running(State::Routing), Problem),
            (denied(), nobody(), Unknown),
            (failed(io::Error::other("?")), nobody(), Unknown),
        ] {
            let check = judge(&links, &status);
            assert_eq!(check.verdict, verdict, "{links:?} {status:?}");
        }
    }
}
