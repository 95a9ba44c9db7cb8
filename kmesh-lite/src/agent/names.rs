//! Names: what endpoints are called is looked up again and again, and the daemon is told what the resolver says.
//!
//! In: duties. Out: reports. One task holds all of it; a question under way is a task besides. Nothing is made
//! before there is a question.

mod aliases;
mod ask;
mod hosts;
mod lookup;
mod servers;

use super::health::Taken;
use crate::api::{
    Duties, NameFinding, NamesReport, Question, Record, RecordKind, Resolving, TroubleKind,
};
use lookup::{Found, Lookup, Outcome};
pub use servers::{ResolvConf, Servers};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

/// What is found within this time is one report.
const BATCH: Duration = Duration::from_millis(20);
/// Before a report that the daemon did not take is tried again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// The same where other duties are on their way.
const SUPERSEDED: Duration = Duration::from_secs(30);
/// Questions under way at a time, and exchanges.
const MOST: usize = 32;
/// Of one report.
const FINDINGS: usize = 200;
const RECORDS: usize = 2_000;
/// Before a question that failed is asked again, at most: first it is the shortest TTL, and then ever longer.
const LONGEST_FAILURE: Duration = Duration::from_secs(30);
/// For what the resolver says that there is none of, unless it says for how long.
const NOTHING: Duration = Duration::from_secs(30);

/// Who takes reports.
pub trait Daemon: Send + Sync + 'static {
    fn hear(&self, report: NamesReport) -> impl Future<Output = Taken> + Send;
}

/// Looks up what the newest of `duties` say, until nobody can give others. `conf` says whom the host asks.
pub async fn run<D: Daemon>(
    mut duties: watch::Receiver<Arc<Duties>>,
    daemon: Arc<D>,
    conf: PathBuf,
) {
    let mut names = Names::new(daemon, conf);
    duties.mark_changed();
    loop {
        names.begin();
        names.send();
        let next = names.next();
        tokio::select! {
            changed = duties.changed() => {
                if changed.is_err() {
                    return;
                }
                let duties = Arc::clone(&duties.borrow_and_update());
                names.follow(&duties);
            }
            Some(over) = names.flights.join_next_with_id() => names.land(over),
            Some(over) = names.sending.join_next() => names.sent(over.ok()),
            () = at(next) => {}
        }
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

type Key = (String, RecordKind);

/// What is known of one question.
struct State {
    /// Its place in the duties.
    place: u32,
    /// Whether IPv6 addresses of the hosts that SRV records name are wanted.
    ipv6: bool,
    due: Instant,
    is_flying: bool,
    /// What is asked, or who is, was changed meanwhile.
    is_outdated: bool,
    /// In a row.
    failures: u32,
    found: Option<Found>,
    /// Counts what was found.
    change: u64,
    /// What of that the daemon was told.
    told: Option<u64>,
}

impl State {
    fn is_untold(&self) -> bool {
        self.found.is_some() && self.told != Some(self.change)
    }
}

/// A report on its way: which findings it tells.
struct Told {
    revision: u64,
    changes: Vec<(Key, u64)>,
}

struct Names<D> {
    revision: u64,
    resolving: Option<Resolving>,
    conf: ResolvConf,
    states: BTreeMap<Key, State>,
    flights: JoinSet<Outcome>,
    flying: HashMap<task::Id, Key>,
    /// For exchanges with servers: a question of SRV records may take many.
    places: Arc<Semaphore>,
    daemon: Arc<D>,
    /// At most one at a time: reports keep their order.
    sending: JoinSet<(Told, Taken)>,
    /// When the next report may leave.
    report: Option<Instant>,
    pause: Duration,
}

impl<D: Daemon> Names<D> {
    fn new(daemon: Arc<D>, conf: PathBuf) -> Self {
        Self {
            revision: 0,
            resolving: None,
            conf: ResolvConf::new(conf),
            states: BTreeMap::new(),
            flights: JoinSet::new(),
            flying: HashMap::new(),
            places: Arc::new(Semaphore::new(MOST)),
            daemon,
            sending: JoinSet::new(),
            report: None,
            pause: PAUSES.0,
        }
    }

    /// Takes over other duties, or hears that the daemon is there. What it knows may be what somebody else told it, so
    /// everything is told again.
    fn follow(&mut self, duties: &Duties) {
        let now = Instant::now();
        self.revision = duties.revision;
        let is_other = self.resolving != duties.resolving;
        self.resolving.clone_from(&duties.resolving);
        let mut before = std::mem::take(&mut self.states);
        for (place, question) in (0_u32..).zip(&duties.questions) {
            let Question { name, kind, ipv6 } = question;
            let key = (name.clone(), *kind);
            let known = before.remove(&key);
            let mut state = known.unwrap_or(State {
                place,
                ipv6: *ipv6,
                due: now,
                is_flying: false,
                is_outdated: false,
                failures: 0,
                found: None,
                change: 0,
                told: None,
            });
            let is_other = is_other || state.ipv6 != *ipv6;
            (state.place, state.ipv6, state.told) = (place, *ipv6, None);
            if is_other {
                (state.due, state.is_outdated) = (now, state.is_flying);
            }
            self.states.insert(key, state);
        }
        self.pause = PAUSES.0;
        self.report = self.has_untold().then(|| now + BATCH);
    }

    fn has_untold(&self) -> bool {
        self.states.values().any(State::is_untold)
    }

    /// When there is something to do that nothing else wakes us for.
    fn next(&self) -> Option<Instant> {
        let report = self.report.filter(|_| self.sending.is_empty());
        let has_place = self.flights.len() < MOST;
        let waiting = self.states.values().filter(|it| has_place && !it.is_flying);
        let due = waiting.map(|it| it.due).min();
        report.into_iter().chain(due).min()
    }

    /// Asks what is due.
    fn begin(&mut self) {
        let Some(resolving) = self.resolving.clone() else {
            return;
        };
        let now = Instant::now();
        let mut servers: Option<Arc<Servers>> = None;
        for (key, state) in &mut self.states {
            if self.flights.len() >= MOST {
                break;
            }
            if state.is_flying || state.due > now {
                continue;
            }
            state.is_flying = true;
            let servers = servers.get_or_insert_with(|| self.conf.servers(&resolving.resolvers));
            let lookup = Lookup::new(Arc::clone(servers), Arc::clone(&self.places));
            let ((name, kind), ipv6) = (key.clone(), state.ipv6);
            let question = async move { lookup.question(&name, kind, ipv6).await };
            let id = self.flights.spawn(question).id();
            self.flying.insert(id, key.clone());
        }
    }

    /// Takes what came of a question, and says when it is asked again.
    fn land(&mut self, over: Result<(task::Id, Outcome), JoinError>) {
        let (id, outcome) = match over {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Outcome::broken()),
        };
        let state = self.flying.remove(&id);
        let state = state.and_then(|key| self.states.get_mut(&key));
        let (Some(state), Some(resolving)) = (state, &self.resolving) else {
            return;
        };
        state.is_flying = false;
        let least = Duration::from_millis(resolving.ttl_min.max(1));
        let most = Duration::from_millis(resolving.ttl_max).max(least);
        let found = outcome.found;
        let is_failure = found.trouble == Some(TroubleKind::Failure);
        state.failures = if is_failure { state.failures + 1 } else { 0 };
        let wait = match (found.trouble, outcome.ttl) {
            (Some(TroubleKind::Failure), ttl) => {
                let longer = least.saturating_mul(1 << (state.failures - 1).min(16));
                let longer = longer.min(LONGEST_FAILURE.max(least)).min(most);
                // What was found beside the failure counts no longer than it says.
                ttl.map_or(longer, |ttl| longer.min(ttl.max(least)))
            }
            (_, Some(ttl)) => ttl.clamp(least, most),
            (_, None) => NOTHING.clamp(least, most),
        };
        // Somebody else is to be asked by now.
        let wait = if state.is_outdated {
            Duration::ZERO
        } else {
            wait
        };
        state.is_outdated = false;
        state.due = Instant::now() + wait;
        if state.found.as_ref() != Some(&found) {
            state.found = Some(found);
            state.change += 1;
        }
        if state.is_untold() && self.report.is_none() {
            self.report = Some(Instant::now() + BATCH);
        }
    }

    /// Sends a report if there is something to tell.
    fn send(&mut self) {
        let is_due = self.report.is_some_and(|at| at <= Instant::now());
        if !is_due || !self.sending.is_empty() {
            return;
        }
        self.report = None;
        let (mut findings, mut changes, mut records) = (Vec::new(), Vec::new(), 0);
        for (key, state) in self.states.iter().filter(|(_, it)| it.is_untold()) {
            let Some(found) = &state.found else { continue };
            records += found.records.len() + found.kept.len();
            if findings.len() == FINDINGS || (records > RECORDS && !findings.is_empty()) {
                break;
            }
            findings.push(NameFinding {
                question: state.place,
                records: found.records.iter().map(Record::from).collect(),
                left_out: found.left_out,
                kept: found.kept.clone(),
                trouble: found.trouble,
                reason: found.reason.clone(),
            });
            changes.push((key.clone(), state.change));
        }
        if findings.is_empty() {
            return;
        }
        let revision = self.revision;
        let report = NamesReport { revision, findings };
        let told = Told { revision, changes };
        let daemon = Arc::clone(&self.daemon);
        self.sending
            .spawn(async move { (told, daemon.hear(report).await) });
    }

    fn sent(&mut self, over: Option<(Told, Taken)>) {
        let wait = match over {
            Some((told, Taken::Yes)) => {
                self.pause = PAUSES.0;
                // Whoever gives other duties is told everything.
                let is_of_now = told.revision == self.revision;
                for (key, change) in told.changes.into_iter().filter(|_| is_of_now) {
                    if let Some(state) = self.states.get_mut(&key) {
                        state.told = Some(change);
                    }
                }
                Duration::ZERO
            }
            Some((_, Taken::Superseded)) => SUPERSEDED,
            _ => {
                let pause = self.pause;
                self.pause = (pause * 2).min(PAUSES.1);
                pause
            }
        };
        // Duties that came meanwhile have said when.
        let at = Instant::now() + wait;
        let at = self.report.map_or(at, |report| report.min(at));
        self.report = self.has_untold().then_some(at);
    }
}

#[cfg(test)]
mod tests;
