//! What of ours is in the kernel, whether or not a daemon runs.

use super::socket::{Answer, State};
use super::{Check, Finding};
use std::path::PathBuf;

/// What was found there.
#[derive(Clone, Debug)]
pub enum Held {
    Nothing,
    /// Links to cgroups, as far as they are in sight, and tables of our layout.
    Attached(Vec<Attached>),
    Layout {
        there: u32,
        ours: u32,
    },
    /// Only root may look.
    Denied,
    Failed(String),
}

/// A cgroup with links.
#[derive(Clone, Debug)]
pub struct Attached {
    pub path: PathBuf,
    /// The process that holds its lock, as a daemon does.
    pub holder: Option<u32>,
}

pub fn check(held: &Held, answer: &Answer) -> Check {
    let runs = answer.daemon();
    let gone = matches!(answer, Answer::Nobody);
    match held {
        Held::Denied => Finding::unknown("only root may look for them", "run this as root"),
        Held::Failed(why) => {
            Finding::unknown(format!("cannot look for them: {why}"), "run this as root")
        }
        // Those of a container may have a control socket of the same name.
        Held::Attached(cgroups) if cgroups.is_empty() => Finding::unknown(
            "there are links to cgroups that cannot be seen from here",
            "run this on the host, outside of any container",
        ),
        Held::Attached(cgroups) => {
            let holders: Option<Vec<_>> = cgroups.iter().map(|cgroup| cgroup.holder).collect();
            let cgroups: Vec<_> = cgroups.iter().map(|cgroup| cgroup.path.display().to_string()).collect();
            let cgroups = cgroups.join(" ");
            if let (true, Some(holders)) = (gone, holders) {
                Finding::fine(format!(
                    "{cgroups} belong to process {}, which listens elsewhere, as in a container",
                    holders[0]
                ))
            } else if gone {
                Finding::problem(
                    format!(
                        "connects of {cgroups} are handled without a daemon, by tables that follow no file any more"
                    ),
                    LEFT,
                )
            } else {
                Finding::fine(format!("attached to {cgroups}"))
            }
        }
        Held::Layout { there, .. } if gone => Finding::problem(
            format!("connects are handled without a daemon, by tables of layout {there}"),
            LEFT,
        ),
        Held::Layout { there, ours } => Finding::warning(
            format!("the tables in the kernel are of layout {there}, and this kmesh-lite reads layout {ours}"),
            "`systemctl restart kmesh-lite` makes new ones; until then only the running version can show them",
        ),
        Held::Nothing if runs.is_some_and(|daemon| daemon.state == State::Routing) => {
            Finding::problem(
                "the daemon says that it routes, and nothing of it is attached",
                "`kmesh-lite reload` attaches again; find out who detaches programs (`bpftool link`, `journalctl`)",
            )
        }
        Held::Nothing => Finding::fine("none"),
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
    use crate::doctor::socket::{Daemon, Version};

    fn running(state: State) -> Answer {
        Answer::Daemon(Daemon {
            pid: 7,
            version: Version {
                version: "0.1.0".to_owned(),
                commit: "abc".to_owned(),
                layout: 3,
            },
            state,
            verdict: String::new(),
            failure: None,
            attached: Vec::new(),
        })
    }

    #[test]
    fn links_belong_to_a_daemon() {
        let held_by = |holder| {
            let path = PathBuf::from("/web.slice");
            Held::Attached(vec![Attached { path, holder }])
        };
        let attached = || held_by(None);
        let unseen = || Held::Attached(Vec::new());
        let layout = || Held::Layout { there: 2, ours: 3 };
        for (held, answer, verdict) in [
            (attached(), running(State::Routing), Fine),
            (attached(), Answer::Nobody, Problem),
            (held_by(Some(7)), running(State::Routing), Fine),
            (held_by(Some(8)), Answer::Nobody, Fine),
            (unseen(), Answer::Nobody, Unknown),
            // Somebody holds the socket: it is told there.
            (attached(), Answer::Silent, Fine),
            (layout(), running(State::Routing), Warning),
            (layout(), Answer::Nobody, Problem),
            (Held::Nothing, Answer::Nobody, Fine),
            (Held::Nothing, running(State::Waiting), Fine),
            (Held::Nothing, running(State::Routing), Problem),
            (Held::Denied, Answer::Nobody, Unknown),
            (Held::Failed("?".into()), Answer::Nobody, Unknown),
        ] {
            let check = check(&held, &answer);
            assert_eq!(check.verdict, verdict, "{held:?} {answer:?}");
        }
    }
}
