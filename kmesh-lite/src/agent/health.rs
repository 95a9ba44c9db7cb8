//! Health: every target is probed in time, and the daemon is told what is found.
//!
//! In: duties. Out: reports. One task holds all of it; a probe under way is a task besides. What is found
//! stays here until the daemon has it, the newest finding of each target, so an hour without a daemon takes
//! no more memory than a second.

mod lag;
mod punctuality;
mod schedule;
mod targets;
mod verdict;

pub use schedule::Room;

use super::dice::Dice;
use super::probe::{Outcome, Probing};
use crate::api::{Check, Duties, HealthReport};
use lag::Lag;
use punctuality::Punctuality;
use schedule::{Lane, Schedule};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use targets::{Id, Targets, Told};
use tokio::sync::watch;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

/// What is found within this time is one report.
const BATCH: Duration = Duration::from_millis(20);
/// Before a report that the daemon did not take is tried again: at first, and at most. New duties, which
/// the daemon gives as soon as it is there, end the wait.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// The same where other duties are on their way.
const SUPERSEDED: Duration = Duration::from_secs(30);
/// Probes of new targets begin at this distance, as long as all of them begin within an interval.
const APART: Duration = Duration::from_millis(1);
/// Probes that begin before anything else has its turn.
const BEGIN: usize = 64;

/// Who takes reports.
pub trait Daemon: Send + Sync + 'static {
    fn take(&self, report: HealthReport) -> impl Future<Output = Taken> + Send;
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Yes,
    /// Its duties are not those of the moment.
    Superseded,
    /// The daemon is away, or did not want it.
    No,
}

/// Checks what the newest of `duties` say, until nobody can give others.
pub async fn run<P: Probing, D: Daemon>(
    mut duties: watch::Receiver<Arc<Duties>>,
    probing: P,
    daemon: Arc<D>,
    room: Room,
) {
    let mut health = Health::new(probing, daemon, room);
    duties.mark_changed();
    loop {
        health.beat();
        health.begin();
        // For the first probes after a rest.
        health.beat();
        health.send();
        let next = health.next();
        tokio::select! {
            changed = duties.changed() => {
                if changed.is_err() {
                    return;
                }
                let duties = Arc::clone(&duties.borrow_and_update());
                health.follow(&duties);
            }
            Some(over) = health.flights.join_next_with_id() => health.land(over),
            Some(over) = health.sending.join_next() => health.sent(over),
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

struct Health<P, D> {
    targets: Targets,
    schedule: Schedule,
    punctuality: Punctuality,
    lag: Lag,
    dice: Dice,
    probing: P,
    flights: JoinSet<Outcome>,
    flying: HashMap<task::Id, Flight>,
    daemon: Arc<D>,
    /// At most one at a time: reports keep their order.
    sending: JoinSet<(Told, Taken)>,
    /// When the next report may leave.
    report: Option<Instant>,
    pause: Duration,
    /// Places are left where the schedule may begin more than one turn does.
    is_behind: bool,
}

/// A probe under way.
struct Flight {
    target: Id,
    lane: Lane,
    check: Arc<Check>,
    begun: Instant,
    late: Duration,
}

impl<P: Probing, D: Daemon> Health<P, D> {
    fn new(probing: P, daemon: Arc<D>, room: Room) -> Self {
        Self {
            targets: Targets::default(),
            schedule: Schedule::new(room),
            punctuality: Punctuality::default(),
            lag: Lag::default(),
            dice: Dice::new(),
            probing,
            flights: JoinSet::new(),
            flying: HashMap::new(),
            daemon,
            sending: JoinSet::new(),
            report: None,
            pause: PAUSES.0,
            is_behind: false,
        }
    }

    /// Takes over other duties, or hears that the daemon is there.
    fn follow(&mut self, duties: &Duties) {
        let begun = self.targets.follow(duties);
        self.schedule.retain(|id| self.targets.get(id).is_some());
        let now = Instant::now();
        // A few begin at once, and many are spread: they stay apart by that.
        let spread = APART * u32::try_from(begun.len()).unwrap_or(u32::MAX);
        for id in begun {
            let check = self.targets.get(id).map(|it| it.check.interval);
            let most = spread.min(Duration::from_millis(check.unwrap_or_default()));
            self.schedule.add(now + self.dice.below(most), id);
        }
        self.probing.follow(duties);
        self.pause = PAUSES.0;
        self.report = self.targets.has_untold().then(|| now + BATCH);
    }

    /// When there is something to do that nothing else wakes us for.
    fn next(&self) -> Option<Instant> {
        if self.is_behind {
            return Some(Instant::now());
        }
        let report = self.report.filter(|_| self.sending.is_empty());
        let wakes = [self.schedule.next(), report, self.lag.due()];
        wakes.into_iter().flatten().min()
    }

    fn beat(&mut self) {
        self.lag.beat(Instant::now(), !self.flights.is_empty());
    }

    /// Begins what is due.
    fn begin(&mut self) {
        let now = Instant::now();
        self.is_behind = true;
        for _ in 0..BEGIN {
            let lane = |id| Some(Lane::of(&self.targets.get(id)?.check));
            let Some((due, target)) = self.schedule.take(now, lane) else {
                self.is_behind = false;
                break;
            };
            let Some(known) = self.targets.get(target) else {
                continue;
            };
            let flight = Flight {
                target,
                lane: Lane::of(&known.check),
                check: Arc::clone(&known.check),
                begun: now,
                late: now - due,
            };
            self.punctuality.note(flight.late, &flight.check);
            let probe = self.probing.probe(known.address, &known.check);
            let id = self.flights.spawn(probe).id();
            self.flying.insert(id, flight);
        }
        self.punctuality.say(now, self.targets.len());
    }

    /// Takes what a probe saw, and says when the next one is due.
    fn land(&mut self, over: Result<(task::Id, Outcome), JoinError>) {
        let (id, outcome) = match over {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Outcome::failure("the probe itself failed")),
        };
        let Some(flight) = self.flying.remove(&id) else {
            return;
        };
        self.schedule.leave(flight.lane);
        let now = Instant::now();
        // Before anything is made of it, and for the others that are still under way.
        self.lag.beat(now, true);
        let timeout = Duration::from_millis(flight.check.timeout);
        let has_timed_out = !outcome.success && now - flight.begun >= timeout;
        let is_ours = has_timed_out && self.lag.since(flight.begun) >= timeout / 2;
        let had = self.targets.has_untold();
        if is_ours {
            self.punctuality.held_up();
        } else {
            let outcome = outcome.begun_late(flight.late);
            self.targets.take(flight.target, outcome);
        }
        if !had && self.targets.has_untold() && self.report.is_none() {
            self.report = Some(now + BATCH);
        }
        let Some(known) = self.targets.get(flight.target) else {
            return;
        };
        // What is too much for this host is no reason to do more of it.
        let pace = match known.verdict.is_settled() || is_ours {
            true => flight.check.interval,
            false => flight.check.fast_interval,
        };
        let pace = Duration::from_millis(pace.max(1));
        let next = flight.begun + self.dice.near(pace, flight.check.jitter);
        self.schedule.add(next.max(now), flight.target);
    }

    /// Sends a report if there is something to tell.
    fn send(&mut self) {
        let is_due = self.report.is_some_and(|at| at <= Instant::now());
        if !is_due || !self.sending.is_empty() {
            return;
        }
        self.report = None;
        let (report, told) = self.targets.report();
        if report.findings.is_empty() {
            return;
        }
        let daemon = Arc::clone(&self.daemon);
        self.sending
            .spawn(async move { (told, daemon.take(report).await) });
    }

    fn sent(&mut self, over: Result<(Told, Taken), JoinError>) {
        let taken = match over {
            Ok((told, Taken::Yes)) => {
                self.targets.taken(told);
                Taken::Yes
            }
            Ok((_, taken)) => taken,
            Err(_) => Taken::No,
        };
        let wait = match taken {
            Taken::Yes => {
                self.pause = PAUSES.0;
                Duration::ZERO
            }
            Taken::Superseded => SUPERSEDED,
            Taken::No => {
                let pause = self.pause;
                self.pause = (pause * 2).min(PAUSES.1);
                pause
            }
        };
        // Duties that came meanwhile have said when.
        let at = Instant::now() + wait;
        let at = self.report.map_or(at, |report| report.min(at));
        self.report = self.targets.has_untold().then_some(at);
    }
}

#[cfg(test)]
pub mod tests;
