//! The names that the agent serves: who waits for a change of them, and what the agent says of it.

use super::Daemon;
use crate::api::{
    CaptureStatus, DnsReport, DnsStatus, Failure, FailureKind, ListenerStatus, NameExplanation,
    QueryCount, Serving, TimeBase, UpstreamReport, UpstreamStatus, Zone as ToldZone,
};
use crate::control::{Later, Reply};
use crate::daemon::datapath::Datapath;
use crate::daemon::hearsay::REASON;
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::host::monotonic;
use crate::kernel::Listening;
use crate::printable::printable;
use crate::report;
use crate::zone::{Basis, Owners, Zone};
use kmesh_lite_common::Nameserver;
use log::warn;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::SystemTime;

/// More upstreams than that a report does not have.
const MOST_UPSTREAMS: usize = 16;

/// The names as they were published last.
pub struct Published {
    zone: Zone,
    serving: Option<Serving>,
    /// Whose questions are captured, in words; none where nobody's are.
    captured: Option<Vec<String>>,
    /// Agents that know some revision already. The control socket bounds how many.
    waiting: Vec<Waiting>,
    heard: Option<HeardOfDns>,
}

struct Waiting {
    since: Option<u64>,
    reply: Reply<Later<ToldZone>>,
}

/// The last report.
struct HeardOfDns {
    /// Why it does not serve, by address; none where it does.
    listeners: BTreeMap<SocketAddr, Option<String>>,
    zone: Option<u64>,
    upstreams: Vec<UpstreamReport>,
    queries: Vec<QueryCount>,
    cached: u64,
    /// Whether some upstream answers.
    forwards: bool,
    /// When, by CLOCK_MONOTONIC.
    at: u64,
}

impl Published {
    /// Of a daemon that begins now. No revision is that of an earlier daemon.
    pub fn begun() -> Self {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self {
            zone: Zone::new(u64::try_from(since.as_micros()).unwrap_or_default()),
            serving: None,
            captured: None,
            waiting: Vec::new(),
            heard: None,
        }
    }

    /// Takes over what a pass left, and tells it to all who wait.
    pub fn follow(&mut self, basis: Basis<'_>) {
        self.serving = basis.mesh.dns.serving.as_ref().map(Serving::from);
        self.captured = basis.mesh.query_capture().map(|capture| {
            let cgroups = capture.cgroups.iter().flatten();
            cgroups.map(ToString::to_string).collect()
        });
        if self.serving.is_none() {
            self.heard = None;
        }
        if self.zone.follow(basis) {
            for Waiting { since, reply } in std::mem::take(&mut self.waiting) {
                drop(reply.send(Ok(self.extract(since))));
            }
        }
    }

    pub fn serving(&self) -> Option<&Serving> {
        self.serving.as_ref()
    }

    /// Whose each name is.
    pub fn owners(&self) -> Owners {
        self.zone.owners()
    }

    /// Answers as soon as there is another revision than `since`; at once if it need not `wait`. Before the first pass nobody
    /// is told that there are no names: the agent goes on with those that it knows.
    pub fn tell(&mut self, since: Option<u64>, wait: bool, reply: Reply<Later<ToldZone>>) {
        self.waiting.retain(|waiting| !waiting.reply.is_closed());
        let is_news = since != Some(self.zone.revision());
        if self.zone.is_known() && (is_news || !wait) {
            drop(reply.send(Ok(self.extract(since))));
        } else if wait {
            self.waiting.push(Waiting { since, reply });
        } else {
            let error = "no mesh has been applied yet";
            drop(reply.send(Err(Failure::new(FailureKind::Unavailable, error))));
        }
    }

    /// Words are made of it where they keep nobody waiting.
    fn extract(&self, since: Option<u64>) -> Later<ToldZone> {
        let extract = self.zone.since(since);
        Later::new(move || Ok(ToldZone::from(&extract)))
    }

    /// Nobody is answered any more: the daemon is stopping.
    pub fn dismiss(&mut self) {
        self.waiting.clear();
    }

    /// Takes a report, as the word of a stranger: what it says of other addresses than ours is left out, and texts are cut.
    pub fn hear(&mut self, report: DnsReport) {
        let Some(serving) = &self.serving else {
            return;
        };
        let listeners = report.listeners.into_iter();
        let listeners = listeners.filter(|it| serving.listen.contains(&it.listen));
        let listeners =
            listeners.map(|it| (it.listen, it.error.map(|error| printable(&error, REASON))));
        let upstreams = report.upstreams.into_iter().take(MOST_UPSTREAMS);
        let upstreams = upstreams.map(|it| UpstreamReport {
            error: it.error.map(|error| printable(&error, REASON)),
            ..it
        });
        // Each once: there are few kinds.
        let queries = report.queries.into_iter();
        let queries = queries.map(|it| ((it.transport, it.kind, it.outcome), it));
        let queries: BTreeMap<_, _> = queries.collect();
        self.heard = Some(HeardOfDns {
            listeners: listeners.collect(),
            zone: report.zone,
            upstreams: upstreams.collect(),
            queries: queries.into_values().collect(),
            cached: report.cached,
            forwards: report.forwards,
            at: monotonic(),
        });
    }

    /// Where questions that were sent to others are answered, as the last report has it; or why nowhere.
    fn listening(&self) -> Result<Listening, String> {
        let Some(heard) = &self.heard else {
            return Err("the agent has said nothing of it yet".to_owned());
        };
        if !heard.forwards {
            return Err("no upstream answers".to_owned());
        }
        let serving = heard.listeners.iter().filter(|(_, error)| error.is_none());
        // One that nothing but this host reaches goes first.
        let mut serving: Vec<SocketAddr> = serving.map(|(at, _)| *at).collect();
        serving.sort_by_key(|at| (!at.ip().is_loopback(), *at));
        let of = |is_meant: fn(&SocketAddr) -> bool, own: IpAddr| {
            let at = serving.iter().find(|at| is_meant(at))?;
            let ip = if at.ip().is_unspecified() {
                own
            } else {
                at.ip()
            };
            Some(SocketAddr::new(ip, at.port()))
        };
        let listening = Listening {
            v4: of(SocketAddr::is_ipv4, Ipv4Addr::LOCALHOST.into()),
            v6: of(SocketAddr::is_ipv6, Ipv6Addr::LOCALHOST.into()),
        };
        match listening {
            Listening { v4: None, v6: None } => {
                Err("the agent listens at no address of `[dns] listen`".to_owned())
            }
            listening => Ok(listening),
        }
    }

    /// Whether questions are captured, as the programs judge it.
    fn capture(&self, away: bool) -> Option<CaptureStatus> {
        let cgroups = self.captured.clone()?;
        let age = |heard: &HeardOfDns| monotonic().saturating_sub(heard.at);
        let silence = self.heard.as_ref().map_or(u64::MAX, age);
        let skipped = match self.listening() {
            Err(why) => Some(why),
            Ok(_) if away || silence >= Nameserver::PATIENCE => {
                Some("the agent is not heard of".to_owned())
            }
            Ok(_) => None,
        };
        Some(CaptureStatus {
            cgroups,
            on: skipped.is_none(),
            skipped,
        })
    }

    /// None where no names are served. `away`: whether the agent is not heard of.
    pub fn status(&self, away: bool, base: TimeBase) -> Option<DnsStatus> {
        let serving = self.serving.as_ref()?;
        let heard = self.heard.as_ref();
        let now = monotonic();
        let listener = |at: &SocketAddr| {
            let told = heard.and_then(|heard| heard.listeners.get(at));
            ListenerStatus {
                listen: at.to_string(),
                serving: !away && told == Some(&None),
                error: told.cloned().flatten(),
            }
        };
        let upstream = |it: &UpstreamReport| UpstreamStatus {
            address: it.address.to_string(),
            error: it.error.clone(),
            since: it.since_ns.map(|since| base.tell(since.min(now))),
            sent: it.sent,
            failed: it.failed,
        };
        Some(DnsStatus {
            domain: serving.domain.clone(),
            listeners: serving.listen.iter().map(listener).collect(),
            names: self.zone.len(),
            behind: away || heard.and_then(|heard| heard.zone) != Some(self.zone.revision()),
            upstreams: heard
                .map_or_else(Vec::new, |it| it.upstreams.iter().map(upstream).collect()),
            queries: heard.map_or_else(Vec::new, |heard| heard.queries.clone()),
            cached: heard.map_or(0, |heard| heard.cached),
            capture: self.capture(away),
        })
    }
}

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    /// Publishes the names of the mesh as the last pass left it.
    pub(super) fn publish(&mut self) {
        if let Some(built) = self.datapath.built() {
            self.state.published.follow(Basis {
                mesh: &built.mesh,
                standings: &built.facts.standings,
                vips: &built.vips,
            });
        }
        let serving = self.state.published.serving();
        self.state.roster.serve(serving, &self.state.health);
        self.split_zone.follow(serving);
    }

    /// Takes a report. Each good one is a heartbeat: it captures questions for a while, and a bad one no more.
    pub(super) fn hear_of_dns(&mut self, report: DnsReport) {
        let published = &mut self.state.published;
        published.hear(report);
        if published.captured.is_none() {
            return;
        }
        if let Err(error) = self.datapath.hear_nameserver(published.listening().ok()) {
            warn!("{}", crate::log::chain(&error));
        }
    }

    /// Where a name leads.
    pub(super) fn explain_name(&mut self, name: &str) -> Result<NameExplanation, Failure> {
        let held = self.state.applied.as_ref().or(self.state.mesh.as_ref());
        let mesh =
            held.ok_or_else(|| Failure::new(FailureKind::NotFound, "there is no mesh yet"))?;
        report::explain_name(mesh, &self.state.published.zone, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ListenerReport, QueryKind, QueryOutcome, Transport, UpstreamOrder};
    use crate::config::{Fragments, Host, Loader, Origin};
    use crate::model::{Facts, Mesh};
    use crate::tables::{Actual, build};
    use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};

    const SERVED: &str = "dns.listen = '127.0.0.1:53'
        services.a = { vips = ['10.96.0.1'], ports = [80] }";

    fn mesh(text: &str) -> Mesh {
        let fragments = Fragments::from_iter([(Origin::new("mesh.toml"), text.to_owned())]);
        let loaded = Loader::default().load(&fragments, &Host::default());
        let problems: Vec<_> = loaded.problems.iter().map(|it| it.to_string()).collect();
        loaded.mesh.unwrap_or_else(|| panic!("{problems:?}"))
    }

    fn follow(published: &mut Published, text: &str) {
        let built = build(&mesh(text), &Facts::default(), &Actual::default(), 1_000).unwrap();
        published.follow(Basis {
            mesh: &built.mesh,
            standings: &built.facts.standings,
            vips: &built.vips,
        });
    }

    fn ask(
        published: &mut Published,
        since: Option<u64>,
        wait: bool,
    ) -> Receiver<Result<Later<ToldZone>, Failure>> {
        let (reply, answer) = oneshot::channel();
        published.tell(since, wait, reply);
        answer
    }

    fn told(mut answer: Receiver<Result<Later<ToldZone>, Failure>>) -> ToldZone {
        answer.try_recv().unwrap().unwrap().make().unwrap()
    }

    #[test]
    fn an_agent_is_told_what_there_is_and_then_what_differs() {
        let mut published = Published::begun();
        // An agent of an earlier daemon is not told that its names are gone.
        let mut early = ask(&mut published, Some(7), true);
        assert_eq!(early.try_recv().unwrap_err(), TryRecvError::Empty);
        let refused = ask(&mut published, Some(7), false).try_recv().unwrap();
        assert_eq!(refused.unwrap_err().kind, FailureKind::Unavailable);
        follow(&mut published, SERVED);
        let first = told(early);
        assert_eq!(first.since, None);
        let names: Vec<_> = first.names.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["1.0.96.10.in-addr.arpa", "_80._tcp.a.mesh", "a.mesh"]
        );

        let mut next = ask(&mut published, Some(first.revision), true);
        follow(&mut published, SERVED);
        assert_eq!(next.try_recv().unwrap_err(), TryRecvError::Empty);
        // One that asks no more to wait is told that nothing differs.
        let nothing = told(ask(&mut published, Some(first.revision), false));
        assert_eq!(
            (nothing.since, nothing.names.len()),
            (Some(first.revision), 0)
        );
        follow(&mut published, &SERVED.replace("10.96.0.1", "10.96.0.2"));
        let difference = told(next);
        assert_eq!(difference.since, Some(first.revision));
        assert_eq!(difference.names["1.0.96.10.in-addr.arpa"], None);
        assert_eq!(
            difference.names.len(),
            3,
            "the SRV record leads to the same name"
        );
        // Whoever knows something else is told everything.
        let all = told(ask(&mut published, Some(3), true));
        assert_eq!((all.since, all.names.len()), (None, 3));

        let mut last = ask(&mut published, Some(all.revision), true);
        published.dismiss();
        assert_eq!(last.try_recv().unwrap_err(), TryRecvError::Closed);
    }

    #[test]
    fn questions_are_captured_by_listeners_that_serve_while_an_upstream_answers() {
        let mut published = Published::begun();
        follow(
            &mut published,
            "dns = { listen = ['0.0.0.0:53', '10.0.0.5:54', '[::1]:55'], capture = 'sshd.service' }
            services.a = { vips = ['10.96.0.1'], ports = [80] }",
        );
        let listener = |listen: &str, error: Option<&str>| ListenerReport {
            listen: listen.parse().unwrap(),
            error: error.map(str::to_owned),
        };
        let skipped = |published: &Published| {
            let capture = published.capture(false).unwrap();
            assert_eq!(
                (capture.cgroups, capture.on),
                (vec!["sshd.service".to_owned()], capture.skipped.is_none())
            );
            capture.skipped
        };
        assert!(skipped(&published).unwrap().contains("has said nothing"));
        let report = |forwards, listeners| DnsReport {
            listeners,
            forwards,
            ..DnsReport::default()
        };
        published.hear(report(true, vec![listener("0.0.0.0:53", Some("taken"))]));
        assert!(
            skipped(&published)
                .unwrap()
                .contains("listens at no address")
        );
        let listeners = vec![
            listener("0.0.0.0:53", None),
            listener("10.0.0.5:54", None),
            listener("[::1]:55", None),
        ];
        published.hear(report(false, listeners.clone()));
        assert_eq!(skipped(&published).unwrap(), "no upstream answers");
        published.hear(report(true, listeners));
        assert_eq!(skipped(&published), None);
        let listening = published.listening().unwrap();
        assert_eq!(listening.v4, Some("127.0.0.1:53".parse().unwrap()));
        assert_eq!(listening.v6, Some("[::1]:55".parse().unwrap()));
        let away = published.capture(true).unwrap();
        assert_eq!(away.skipped.unwrap(), "the agent is not heard of");
    }

    #[test]
    fn a_report_is_about_our_addresses_and_is_cut() {
        let mut published = Published::begun();
        let base = TimeBase::new(monotonic());
        published.hear(DnsReport::default());
        assert_eq!(published.status(false, base), None);
        follow(&mut published, SERVED);
        assert_eq!(published.serving().unwrap().order, UpstreamOrder::InOrder);
        let status = published.status(true, base).unwrap();
        assert!(!status.listeners[0].serving && status.behind);
        let listener = |listen: &str| ListenerReport {
            listen: listen.parse().unwrap(),
            error: None,
        };
        let upstream = UpstreamReport {
            address: "10.0.0.53:53".parse().unwrap(),
            error: Some("\u{1b}".repeat(1000)),
            since_ns: Some(u64::MAX),
            sent: 2,
            failed: 1,
        };
        let count = QueryCount {
            transport: Transport::Udp,
            kind: QueryKind::A,
            outcome: QueryOutcome::Answered,
            count: 3,
        };
        published.hear(DnsReport {
            listeners: vec![listener("127.0.0.1:53"), listener("127.0.0.1:22")],
            zone: Some(published.zone.revision()),
            upstreams: vec![upstream; 100],
            queries: vec![count; 100],
            cached: 4,
            forwards: true,
        });
        let status = published.status(false, base).unwrap();
        assert_eq!(status.listeners.len(), 1);
        assert!(status.listeners[0].serving && !status.behind);
        assert_eq!(status.upstreams.len(), MOST_UPSTREAMS);
        assert_eq!(status.upstreams[0].error, Some(" ".repeat(REASON)));
        assert_eq!((status.queries.len(), status.cached), (1, 4));
    }
}
