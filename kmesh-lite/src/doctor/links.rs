//! What of ours is in the kernel, whether or not a daemon runs.

use super::socket::{Answer, State};
use super::{Check, Finding};
use std::path::PathBuf;

/// What was found there.
#[derive(Clone, Debug)]
pub enum Held {
    Nothing,
    /// Links to these cgroups, and tables of our layout.
    Attached(Vec<PathBuf>),
    Layout {
        there: u32,
        ours: u32,
    },
    /// Only root may look.
    Denied,
    Failed(String),
}

pub fn check(held: &Held, answer: &Answer) -> Check {
    let runs = answer.daemon();
    let gone = matches!(answer, Answer::Nobody);
    match held {
        Held::Denied => Finding::unknown("only root may look for them", "run this as root"),
        Held::Failed(why) => {
            Finding::unknown(format!("cannot look for them: {why}"), "run this as root")
        }
        Held::Attached(cgroups) => {
            let cgroups: Vec<_> = cgroups.iter().map(|path| path.display().to_string()).collect();
            let cgroups = cgroups.join(" ");
            if gone {
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
                    systemd is not who keeps them, end the process that does (`grep -l bpf.link /proc/*/fdinfo/* \
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
        let attached = || Held::Attached(vec!["/web.slice".into()]);
        let layout = || Held::Layout { there: 2, ours: 3 };
        for (held, answer, verdict) in [
            (attached(), running(State::Routing), Fine),
            (attached(), Answer::Nobody, Problem),
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
