//! Everything that can happen to the daemon, in the order in which it is dealt with.

use super::settle::Settle;
use crate::control::Request;
use crate::model::EndpointFact;
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
    /// Something became true of endpoints: whether they may take new connections.
    EndpointFacts(Vec<EndpointFact>),
    Signal(Signal),
    Timer(Timer),
    Request(Request),
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
}

/// The queue of events, with the timers that turn into events when they are due.
pub struct Events {
    queue: Receiver<Event>,
    /// Taken out of the queue already.
    next: Option<Event>,
    settle: Settle,
    resync: Periodic,
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
            if self.settle.expire(now) {
                return Some(Event::SourceChanged(Completion::Complete));
            }
            if self.resync.expire(now) {
                return Some(Event::Timer(Timer::Resync));
            }
            if let Some(departures) = &mut self.departures
                && departures.expire(now)
            {
                return Some(Event::Timer(Timer::Departures));
            }
            let due = [
                self.departures.as_ref().map(|departures| departures.due),
                Some(self.resync.due),
                self.watchdog.as_ref().map(|watchdog| watchdog.due),
                self.settle.due(),
            ];
            let due = due.into_iter().flatten().min().unwrap_or(now);
            let event = match self.next.take() {
                Some(event) => Ok(event),
                None => self.queue.recv_timeout(due.duration_since(now)),
            };
            match event {
                Ok(Event::EndpointFacts(facts)) => return Some(self.all_facts(facts)),
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
    /// Facts with those that came in meanwhile: one pass is for all of them.
    fn all_facts(&mut self, mut facts: Vec<EndpointFact>) -> Event {
        while self.next.is_none() {
            match self.queue.try_recv() {
                Ok(Event::EndpointFacts(more)) => facts.extend(more),
                Ok(other) => self.next = Some(other),
                Err(_) => break,
            }
        }
        Event::EndpointFacts(facts)
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
    use crate::model::Membership;
    use std::sync::mpsc;

    fn fact(number: u8) -> EndpointFact {
        EndpointFact {
            service: "a".parse().unwrap(),
            endpoint: Membership {
                address: [10, 0, 0, number].into(),
                ports: Vec::new(),
            },
            usable: false,
        }
    }

    #[test]
    fn facts_that_wait_come_out_together_and_overtake_nothing() {
        let (sender, queue) = mpsc::channel();
        let mut events = Events::new(queue, Duration::from_secs(3600), None);
        let facts = |number| Event::EndpointFacts(vec![fact(number)]);
        for event in [facts(1), facts(2), Event::CgroupsChanged, facts(3)] {
            sender.send(event).unwrap();
        }
        let mut out = || match events.next() {
            Some(Event::EndpointFacts(facts)) => facts,
            Some(Event::CgroupsChanged) => Vec::new(),
            other => panic!("{other:?}"),
        };
        assert_eq!(out(), [fact(1), fact(2)]);
        assert_eq!(out(), []);
        assert_eq!(out(), [fact(3)]);
    }
}
