//! What the agent is to do, who waits to know of a change, and what the agent says of it.

use super::duties;
use crate::api::{self, AgentReport, AgentStatus, Duties, ListenerStatus, Resolving, Serving, now};
use crate::control::{Caller, Reply};
use crate::daemon::hearsay::{Asked, AskedNames, REASON};
use crate::health::{Health, Target};
use crate::model::{Mesh, Question, RecordKind};
use crate::names::Answers;
use crate::printable::printable;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

/// After this long without a report the agent counts as away. It reports twice a minute.
const SILENCE: Duration = Duration::from_secs(75);

/// The agent as the daemon sees it.
pub struct Roster {
    duties: Duties,
    /// What the numbers of targets stand for.
    targets: Vec<Target>,
    /// What the numbers of questions stand for.
    questions: Vec<Question>,
    /// Those of SRV records that are for clients of IPv6 addresses.
    with_ipv6: BTreeSet<Question>,
    /// Whether somebody wants to know what the agent is asked.
    trace: bool,
    /// Agents that know these duties already. The control socket bounds how many.
    waiting: Vec<Reply<Duties>>,
    heard: Option<Heard>,
}

/// The last report.
struct Heard {
    pid: Option<i32>,
    at: String,
    when: Instant,
    /// Why it does not serve, by address; none where it does.
    metrics: BTreeMap<SocketAddr, Option<String>>,
}

impl Roster {
    /// Of a daemon that begins now. No revision is that of an earlier daemon.
    pub fn begun() -> Self {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let revision = u64::try_from(since.as_micros()).unwrap_or_default();
        Self {
            duties: Duties {
                revision,
                ..Duties::default()
            },
            targets: Vec::new(),
            questions: Vec::new(),
            with_ipv6: BTreeSet::new(),
            trace: false,
            waiting: Vec::new(),
            heard: None,
        }
    }

    /// Takes over what a mesh asks for, and tells it to all who wait.
    pub fn follow(&mut self, mesh: &Mesh, health: &Health, names: &Answers) {
        let targets: Vec<_> = health.probed().cloned().collect();
        let questions: Vec<_> = names.questions().cloned().collect();
        let with_ipv6 = with_ipv6(mesh);
        let resolving = (!questions.is_empty()).then(|| Resolving::from(&mesh.dns));
        if self.duties.metrics == mesh.metrics
            && self.targets == targets
            && self.questions == questions
            && self.with_ipv6 == with_ipv6
            && self.duties.resolving == resolving
        {
            return;
        }
        (self.questions, self.with_ipv6) = (questions, with_ipv6);
        self.duties.resolving = resolving;
        self.duties.metrics.clone_from(&mesh.metrics);
        (self.duties.checks, self.duties.targets) = duties::of(&targets);
        self.targets = targets;
        self.give(health);
    }

    /// Takes over how names are served.
    pub fn serve(&mut self, serving: Option<&Serving>, health: &Health) {
        let trace = self.trace;
        let serving = serving.cloned();
        let serving = serving.map(|serving| Serving { trace, ..serving });
        if self.duties.dns != serving {
            self.duties.dns = serving;
            self.give(health);
        }
    }

    /// Whether the agent is to tell what it is asked.
    pub fn trace(&mut self, is_wanted: bool, health: &Health) {
        self.trace = is_wanted;
        let serving = self.duties.dns.clone();
        self.serve(serving.as_ref(), health);
    }

    /// Gives the duties, which are others than before, to all who wait.
    fn give(&mut self, health: &Health) {
        self.duties.revision += 1;
        for reply in std::mem::take(&mut self.waiting) {
            drop(reply.send(Ok(self.duties(health))));
        }
    }

    /// Answers as soon as the duties are others than those of the revision `known`.
    pub fn tell(&mut self, known: Option<u64>, health: &Health, reply: Reply<Duties>) {
        self.waiting.retain(|reply| !reply.is_closed());
        if known == Some(self.duties.revision) {
            self.waiting.push(reply);
        } else {
            drop(reply.send(Ok(self.duties(health))));
        }
    }

    /// What is to be done, with what is known.
    fn duties(&self, health: &Health) -> Duties {
        let mut duties = self.duties.clone();
        for (told, target) in duties.targets.iter_mut().zip(&self.targets) {
            told.healthy = health.condition(target).map(|it| it.healthy);
        }
        let questions = self.questions.iter().map(|question| api::Question {
            name: question.name.to_string(),
            kind: question.kind.into(),
            ipv6: self.with_ipv6.contains(question),
        });
        duties.questions = questions.collect();
        duties
    }

    /// What an agent that knows the duties was asked to probe.
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            revision: self.duties.revision,
            targets: &self.targets,
        }
    }

    /// The same of what it was asked to look up.
    pub fn asked_names(&self) -> AskedNames<'_> {
        AskedNames {
            revision: self.duties.revision,
            questions: &self.questions,
        }
    }

    /// Nobody is answered any more: the daemon is stopping.
    pub fn dismiss(&mut self) {
        self.waiting.clear();
    }

    /// Takes a report. What it says of other addresses than ours is left out, and reasons are cut.
    pub fn hear(&mut self, report: AgentReport, caller: Caller) {
        let known = |at: &SocketAddr| self.duties.metrics.contains(at);
        let listeners = report.metrics.into_iter();
        let metrics = listeners
            .filter(|it| known(&it.listen))
            .map(|it| (it.listen, it.error.map(|error| printable(&error, REASON))));
        self.heard = Some(Heard {
            pid: caller.pid,
            at: now(),
            when: Instant::now(),
            metrics: metrics.collect(),
        });
    }

    /// Whether no agent has been heard of for so long that none can be there.
    pub fn is_away(&self) -> bool {
        let heard = self.heard.as_ref();
        heard.is_none_or(|heard| heard.when.elapsed() > SILENCE)
    }

    /// None where there is nothing to do for an agent, and none is there.
    pub fn status(&self) -> Option<AgentStatus> {
        let heard = self.heard.as_ref();
        let is_idle =
            self.targets.is_empty() && self.questions.is_empty() && self.duties.dns.is_none();
        if heard.is_none() && self.duties.metrics.is_empty() && is_idle {
            return None;
        }
        let away = self.is_away();
        let listener = |at: &SocketAddr| {
            let told = heard.and_then(|heard| heard.metrics.get(at));
            ListenerStatus {
                listen: at.to_string(),
                serving: !away && told == Some(&None),
                error: told.cloned().flatten(),
            }
        };
        Some(AgentStatus {
            pid: heard.and_then(|heard| heard.pid),
            heard: heard.map(|heard| heard.at.clone()),
            away,
            metrics: self.duties.metrics.iter().map(listener).collect(),
            targets: self.targets.len(),
            names: self.names(),
        })
    }
}

impl Roster {
    /// How many names are asked for. Those of two questions are next to each other.
    fn names(&self) -> usize {
        let mut names: Vec<_> = self.questions.iter().map(|it| &it.name).collect();
        names.dedup();
        names.len()
    }
}

/// Questions of SRV records whose hosts may be at IPv6 addresses: other clients could not use them.
fn with_ipv6(mesh: &Mesh) -> BTreeSet<Question> {
    let questions = mesh.questions.iter();
    let questions = questions.filter(|(question, services)| {
        let services = services.iter().filter_map(|name| mesh.services.get(name));
        question.kind == RecordKind::Srv && services.into_iter().any(|it| mesh.has_v6_clients(it))
    });
    questions.map(|(question, _)| question.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ListenerReport, UpstreamOrder};
    use tokio::sync::oneshot::{self, error::TryRecvError};

    const CALLER: Caller = Caller {
        uid: 7,
        pid: Some(8),
    };

    fn mesh(listen: &[&str]) -> Mesh {
        Mesh {
            metrics: listen.iter().map(|at| at.parse().unwrap()).collect(),
            ..Mesh::default()
        }
    }

    #[test]
    fn who_knows_the_duties_is_told_of_the_next_ones() {
        let mut roster = Roster::begun();
        let (health, names) = (Health::default(), Answers::default());
        let (reply, mut first) = oneshot::channel();
        roster.tell(None, &health, reply);
        let known = first.try_recv().unwrap().unwrap();
        assert!(known.metrics.is_empty());

        let (reply, mut second) = oneshot::channel();
        roster.tell(Some(known.revision), &health, reply);
        roster.follow(&mesh(&[]), &health, &names);
        assert_eq!(second.try_recv().unwrap_err(), TryRecvError::Empty);
        roster.follow(&mesh(&["127.0.0.1:9900"]), &health, &names);
        let next = second.try_recv().unwrap().unwrap();
        assert_ne!(next.revision, known.revision);
        assert_eq!(next.metrics, ["127.0.0.1:9900".parse().unwrap()]);

        let (reply, mut third) = oneshot::channel();
        roster.tell(Some(next.revision), &health, reply);
        roster.dismiss();
        assert_eq!(third.try_recv().unwrap_err(), TryRecvError::Closed);
    }

    #[test]
    fn an_agent_that_serves_names_is_told_that_somebody_wants_to_know_what_it_is_asked() {
        let mut roster = Roster::begun();
        let health = Health::default();
        let revision = roster.duties.revision;
        // Nobody serves.
        roster.trace(true, &health);
        assert_eq!(
            (roster.duties.revision, &roster.duties.dns),
            (revision, &None)
        );
        let serving = Serving {
            listen: vec!["127.0.0.1:53".parse().unwrap()],
            domain: "mesh".to_owned(),
            ttl_ms: 5_000,
            negative_ttl_ms: 5_000,
            upstreams: Vec::new(),
            order: UpstreamOrder::InOrder,
            timeout_ms: 2_000,
            attempts: 2,
            cache: 0,
            capture: false,
            trace: false,
        };
        roster.serve(Some(&serving), &health);
        let trace = |roster: &Roster| roster.duties.dns.as_ref().map(|dns| dns.trace);
        assert_eq!(trace(&roster), Some(true));
        let (reply, mut next) = oneshot::channel();
        roster.tell(Some(roster.duties.revision), &health, reply);
        // A pass changes nothing of it, and neither does another reader.
        roster.serve(Some(&serving), &health);
        roster.trace(true, &health);
        assert_eq!(next.try_recv().unwrap_err(), TryRecvError::Empty);
        roster.trace(false, &health);
        assert!(!next.try_recv().unwrap().unwrap().dns.unwrap().trace);
    }

    #[test]
    fn a_report_is_about_our_addresses_and_is_cut() {
        let mut roster = Roster::begun();
        assert_eq!(roster.status(), None);
        let (health, names) = (Health::default(), Answers::default());
        roster.follow(
            &mesh(&["127.0.0.1:9900", "127.0.0.1:9901"]),
            &health,
            &names,
        );
        assert!(roster.status().unwrap().away);
        let listener = |listen: &str, error: Option<String>| ListenerReport {
            listen: listen.parse().unwrap(),
            error,
        };
        let report = AgentReport {
            metrics: vec![
                listener("127.0.0.1:9900", None),
                listener("127.0.0.1:9901", Some("\u{1b}".repeat(1000))),
                listener("127.0.0.1:22", None),
            ],
        };
        roster.hear(report, CALLER);
        let status = roster.status().unwrap();
        assert_eq!((status.pid, status.away), (Some(8), false));
        let told: Vec<_> = status.metrics.iter().map(|it| it.serving).collect();
        assert_eq!(told, [true, false]);
        assert_eq!(status.metrics[1].error, Some(" ".repeat(REASON)));
    }
}
