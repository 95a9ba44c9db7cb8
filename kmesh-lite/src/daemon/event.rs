//! Everything that can happen to the daemon, in the order in which it is dealt with.

use super::settle::Settle;
use crate::api::HealthReport;
use crate::control::{Reply, Request};
use crate::sources::Completion;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// One thing that happened.
#[derive(Debug)]
pub enum Event {
    /// The source of the configuration may have changed.
    SourceChanged(Completion),
    /// A cgroup that the mesh names, or one in which there may be such, came or went.
    CgroupsChanged,
    /// The agent found something.
    Findings(Vec<Found>),
    Signal(Signal),
    Timer(Timer),
    Request(Request),
}

/// A report of the agent, and who waits until it has taken effect.
#[derive(Debug)]
pub struct Found {
    pub report: HealthReport,
    pub reply: Reply<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Reload,
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// Compare with the kernel.
    Resync,
    /// Look at the connections of endpoints that were removed.
    Departures,
    /// Tell systemd that the loop turns.
    Watchdog,
    /// Endpoints that come back get more of their share.
    Health,
    /// Nobody confirmed what was applied.
    Trial,
    /// Nothing of the cgroups that went has come back.
    Vacated,
}

/// The queue of events, with the timers that turn into events when they are due.
pub struct Events {
    queue: Receiver<Event>,
    /// Taken out of the queue already.
    next: Option<Event>,
    settle: Settle,
    resync: Periodic,
    /// When [`Timer::Health`] is due.
    health: Option<Instant>,
    /// When [`Timer::Trial`] is due.
    trial: Option<Instant>,
    /// When [`Timer::Vacated`] is due.
    vacated: Option<Instant>,
    watchdog: Option<Periodic>,
    /// While there are some.
    departures: Option<Periodic>,
}

/// How often it is looked at the connections of endpoints that were removed.
const DEPARTURES: Duration = Duration::from_secs(1);

struct Periodic {
    every: Duration,
    due: Instant,
}

impl Events {
    pub fn new(queue: Receiver<Event>, resync: Duration, watchdog: Option<Duration>) -> Self {
        Self {
            queue,
            next: None,
            settle: Settle::default(),
            resync: Periodic::new(resync),
            health: None,
            trial: None,
            vacated: None,
            watchdog: watchdog.map(Periodic::new),
            departures: None,
        }
    }

    /// Whether connections of endpoints that were removed are to be looked at.
    pub fn look_after_departures(&mut self, wanted: bool) {
        match (wanted, &self.departures) {
            (true, None) => self.departures = Some(Periodic::new(DEPARTURES)),
            (false, Some(_)) => self.departures = None,
            _ => {}
        }
    }

    /// Waits for the next event. Changes of the source come out once they have settled. None when nobody is
    /// left who could send one.
    pub fn next(&mut self) -> Option<Event> {
        loop {
            let now = Instant::now();
            // Due timers go first, so that a flood of requests cannot starve them.
            if let Some(watchdog) = &mut self.watchdog
                && watchdog.expire(now)
            {
                return Some(Event::Timer(Timer::Watchdog));
            }
            // Before a change that came at the same time: what is taken back is what had its time.
            if self.trial.take_if(|due| *due <= now).is_some() {
                return Some(Event::Timer(Timer::Trial));
            }
            if self.settle.expire(now) {
                return Some(Event::SourceChanged(Completion::Complete));
            }
            if self.vacated.take_if(|due| *due <= now).is_some() {
                return Some(Event::Timer(Timer::Vacated));
            }
            if self.resync.expire(now) {
                return Some(Event::Timer(Timer::Resync));
            }
            if let Some(departures) = &mut self.departures
                && departures.expire(now)
            {
                return Some(Event::Timer(Timer::Departures));
            }
            if self.health.take_if(|due| *due <= now).is_some() {
                return Some(Event::Timer(Timer::Health));
            }
            let due = [
                self.departures.as_ref().map(|departures| departures.due),
                Some(self.resync.due),
                self.watchdog.as_ref().map(|watchdog| watchdog.due),
                self.settle.due(),
                self.health,
                self.trial,
                self.vacated,
            ];
            let due = due.into_iter().flatten().min().unwrap_or(now);
            let event = match self.next.take() {
                Some(event) => Ok(event),
                None => self.queue.recv_timeout(due.duration_since(now)),
            };
            match event {
                Ok(Event::Findings(found)) => return Some(self.all_findings(found)),
                Ok(Event::SourceChanged(completion)) => {
                    self.settle.change(Instant::now(), completion);
                }
                Ok(event) => return Some(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

impl Events {
    /// From now on [`Timer::Health`] is due in so long a time, or never.
    pub fn wake_in(&mut self, time: Option<Duration>) {
        self.health = time.map(|time| Instant::now() + time);
    }

    /// From now on [`Timer::Trial`] is due in so long a time, or never.
    pub fn take_back_in(&mut self, time: Option<Duration>) {
        self.trial = time.map(|time| Instant::now() + time);
    }

    /// From now on [`Timer::Vacated`] is due in so long a time, or never.
    pub fn vacate_in(&mut self, time: Option<Duration>) {
        self.vacated = time.map(|time| Instant::now() + time);
    }

    /// Findings with those that came in meanwhile: one pass is for all of them.
    fn all_findings(&mut self, mut found: Vec<Found>) -> Event {
        while self.next.is_none() {
            match self.queue.try_recv() {
                Ok(Event::Findings(more)) => found.extend(more),
                Ok(other) => self.next = Some(other),
                Err(_) => break,
            }
        }
        Event::Findings(found)
    }
}

impl Periodic {
    fn new(every: Duration) -> Self {
        Self {
            every,
            due: Instant::now() + every,
        }
    }

    fn expire(&mut self, now: Instant) -> bool {
        let expired = self.due <= now;
        if expired {
            self.due = now + self.every;
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tokio::sync::oneshot;

    fn found(revision: u64) -> Event {
        let (reply, _) = oneshot::channel();
        let report = HealthReport {
            revision,
            findings: Vec::new(),
        };
        Event::Findings(vec![Found { report, reply }])
    }

    #[test]
    fn findings_that_wait_come_out_together_and_overtake_nothing() {
        let (sender, queue) = mpsc::channel();
        let mut events = Events::new(queue, Duration::from_secs(3600), None);
        for event in [found(1), found(2), Event::CgroupsChanged, found(3)] {
            sender.send(event).unwrap();
        }
        let mut out = || match events.next() {
            Some(Event::Findings(found)) => found.iter().map(|it| it.report.revision).collect(),
            Some(Event::CgroupsChanged) => Vec::<u64>::new(),
            other => panic!("{other:?}"),
        };
        assert_eq!(out(), [1, 2]);
        assert!(out().is_empty());
        assert_eq!(out(), [3]);
    }
}
