//! Readers of what the agent is asked.
//!
//! In: reports of the agent, which it makes while there is a reader. Out: lines, into bounded queues. An agent that is not heard of is
//! an event as well: a reader that is told nothing must not take it for silence.

use super::Listeners;
use super::reader::Reader;
use crate::api::{QueriesReport, QueryEvent};
use crate::control::{Begun, Idle, Lines, QueryFilter};
use crate::host::monotonic;
use crate::report::query_event;
use crate::zone::Owners;
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// After this long without a report the agent counts as away. It reports once a second.
const SILENCE: Duration = Duration::from_secs(3);
/// More are lost in no report that is to be believed.
const MOST_LOST: u64 = 1 << 32;

#[derive(Default)]
pub struct QueryReaders {
    readers: Vec<Arc<QueryReader>>,
    /// The last report, while somebody reads.
    heard: Option<Instant>,
    /// Who waits for the next one.
    waiting: Vec<oneshot::Sender<()>>,
}

struct QueryReader {
    reader: Reader<QueryFilter>,
    /// Whether it knows that the agent is not heard of.
    is_told: Arc<AtomicBool>,
}

impl QueryReaders {
    /// Forgets those that have gone.
    pub fn tidy(&mut self) {
        self.readers.retain(|it| it.reader.is_there());
        self.waiting.retain(|it| !it.is_closed());
        if self.readers.is_empty() {
            // The next one has to wait for the agent again.
            self.heard = None;
        }
    }

    /// Whether each of them is root, or the daemon's own user.
    pub fn are_own(&self) -> impl Iterator<Item = bool> {
        self.readers.iter().map(|it| it.reader.is_own)
    }

    pub fn len(&self) -> usize {
        self.readers.len()
    }
}

impl Listeners {
    /// A new reader of questions, or how many readers there are where there are too many. `is_served`: whether there are names
    /// to ask for.
    pub fn join_queries(
        &self,
        filter: QueryFilter,
        is_own: bool,
        is_served: bool,
    ) -> Result<(Lines, Option<Begun>), usize> {
        let mut inside = self.inside();
        inside.admit(is_own)?;
        let (reader, lines, lost) = Reader::new(filter, is_own);
        let is_told = Arc::new(AtomicBool::new(!is_served));
        let queries = &mut inside.queries;
        queries.readers.push(Arc::new(QueryReader {
            reader,
            is_told: Arc::clone(&is_told),
        }));
        let is_heard = queries.heard.is_some_and(|at| at.elapsed() < SILENCE);
        let begun = (is_served && !is_heard).then(|| {
            let (tell, heard) = oneshot::channel();
            queries.waiting.push(tell);
            Begun {
                heard,
                is_told: Arc::clone(&is_told),
            }
        });
        drop(inside);
        let lines = Lines {
            idle: Some(self.silence(is_told)),
            before: Vec::new(),
            lines,
            lost,
        };
        Ok((lines, begun))
    }

    /// Says once that the agent is not heard of.
    fn silence(&self, is_told: Arc<AtomicBool>) -> Idle {
        // It must not keep them: a daemon that stops has none, and then its answers end.
        let (shared, joined) = (Arc::downgrade(&self.0), Instant::now());
        Idle::new(move || {
            let heard = Listeners(shared.upgrade()?).inside().queries.heard;
            let since = heard.map_or(joined, |heard| heard.max(joined));
            if since.elapsed() < SILENCE || is_told.swap(true, Ordering::Relaxed) {
                return None;
            }
            let text = "the agent does not tell what it is asked: it is away, or answers no names any more";
            QueryEvent::notice("away", text).line().ok()
        })
    }

    /// Whether somebody wants to know what the agent is asked.
    pub fn wants_queries(&self) -> bool {
        let mut inside = self.inside();
        inside.queries.tidy();
        inside.queries.len() > 0
    }

    /// Takes a report, as the word of a stranger, and tells it to all readers. Words are made where nobody waits for them.
    pub fn tell_queries(&self, report: QueriesReport, owners: &Owners) {
        let readers = {
            let mut inside = self.inside();
            let queries = &mut inside.queries;
            queries.tidy();
            if queries.readers.is_empty() {
                return;
            }
            queries.heard = Some(Instant::now());
            for waiting in queries.waiting.drain(..) {
                // It may not wait any more.
                let _ = waiting.send(());
            }
            queries.readers.clone()
        };
        let mut back = None;
        for it in &readers {
            if it.is_told.swap(false, Ordering::Relaxed) {
                let text = "the agent tells what it is asked, from now on";
                let back = back.get_or_insert_with(|| QueryEvent::notice("back", text).line());
                if let Ok(line) = back {
                    it.reader.send(line);
                }
            }
            it.reader.lose(report.lost.min(MOST_LOST));
        }
        let clocks = (monotonic(), Timestamp::now());
        for told in report.queries {
            let event = query_event(told, owners, clocks);
            let mut text = None;
            let wanted = |it: &&Arc<QueryReader>| it.reader.filter.lets(&event);
            for it in readers.iter().filter(wanted) {
                let text = text.get_or_insert_with(|| event.line().unwrap_or_default());
                it.reader.send(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{QueryOutcome, ToldQuery, Transport};
    use crate::control::NamePattern;

    fn query(name: &str, outcome: QueryOutcome) -> ToldQuery {
        ToldQuery {
            at_ns: monotonic(),
            took_ns: 1_500,
            transport: Transport::Udp,
            outcome,
            client: "127.0.0.1:4242".parse().ok(),
            name: Some(name.to_owned()),
            record_type: Some("A".to_owned()),
            upstream: None,
            code: None,
        }
    }

    fn report(names: &[&str]) -> QueriesReport {
        let queries = names.iter();
        let queries = queries.map(|name| query(name, QueryOutcome::Answered));
        QueriesReport {
            lost: 0,
            queries: queries.collect(),
        }
    }

    fn join(listeners: &Listeners, filter: QueryFilter) -> (Lines, Option<Begun>) {
        listeners.join_queries(filter, true, true).unwrap()
    }

    /// What a reader was told since the last time.
    fn told(lines: &mut Lines) -> Vec<QueryEvent> {
        let mut events = Vec::new();
        while let Ok(line) = lines.lines.try_recv() {
            assert!(line.ends_with('\n'));
            events.push(serde_json::from_str(&line).unwrap());
        }
        events
    }

    fn names(lines: &mut Lines) -> Vec<String> {
        let events = told(lines).into_iter();
        events.filter_map(|event| event.name).collect()
    }

    #[test]
    fn readers_are_told_what_agrees_with_their_filters_and_the_agent_is_not_asked_without_them() {
        let listeners = Listeners::default();
        assert!(!listeners.wants_queries());
        let (mut all, begun) = join(&listeners, QueryFilter::default());
        assert!(listeners.wants_queries());
        let filter = QueryFilter {
            name: NamePattern::read("*.mesh").ok(),
            ..QueryFilter::default()
        };
        let (mut some, _) = join(&listeners, filter);
        let mut heard = begun.unwrap().heard;
        assert!(heard.try_recv().is_err(), "nothing was told yet");
        listeners.tell_queries(report(&["web.mesh", "www.internal"]), &Owners::default());
        assert!(heard.try_recv().is_ok());
        assert_eq!(names(&mut all), ["web.mesh", "www.internal"]);
        assert_eq!(names(&mut some), ["web.mesh"]);
        // Who comes later has not to wait.
        assert!(join(&listeners, QueryFilter::default()).1.is_none());
        assert!(listeners.wants_queries());
        assert_eq!(listeners.status().dns_readers, 2, "it has gone");
        drop((all, some));
        assert!(!listeners.wants_queries());
        assert_eq!(listeners.status().dns_readers, 0);
        assert!(join(&listeners, QueryFilter::default()).1.is_some());
    }

    #[test]
    fn what_is_lost_on_the_way_and_by_a_slow_reader_is_counted() {
        let listeners = Listeners::default();
        let (mut lines, _) = join(&listeners, QueryFilter::default());
        let lost = |lines: &Lines| lines.lost.swap(0, Ordering::Relaxed);
        let most = QueriesReport {
            lost: 7,
            ..report(&["web.mesh"; QueriesReport::MOST])
        };
        for _ in 0..5 {
            listeners.tell_queries(most.clone(), &Owners::default());
        }
        let heard = told(&mut lines).len();
        assert!(heard < 5 * QueriesReport::MOST, "its queue has a bound");
        assert_eq!(
            lost(&lines),
            (5 * QueriesReport::MOST - heard) as u64 + 5 * 7
        );
    }

    #[test]
    fn an_agent_that_is_not_heard_of_is_told_once_and_so_is_that_it_is_back() {
        let listeners = Listeners::default();
        let (mut lines, begun) = join(&listeners, QueryFilter::default());
        assert!(lines.idle.as_mut().unwrap().say().is_none(), "too early");
        // As whoever waits for it in vain does.
        begun.unwrap().is_told.store(true, Ordering::Relaxed);
        listeners.tell_queries(report(&["web.mesh"]), &Owners::default());
        let events = told(&mut lines);
        assert_eq!(events[0].event, "back");
        assert_eq!(events[1].name.as_deref(), Some("web.mesh"));
        let long_ago = Instant::now().checked_sub(2 * SILENCE);
        listeners.inside().queries.heard = long_ago;
        lines.idle = Some(listeners.silence(Arc::new(AtomicBool::new(false))));
        // It has joined just now.
        assert!(lines.idle.as_mut().unwrap().say().is_none());
    }

    #[test]
    fn readers_of_questions_and_of_connections_are_bounded_together() {
        let listeners = Listeners::default();
        let of_connections: Vec<_> = (0..6)
            .map(|_| listeners.join(Default::default(), Duration::ZERO, true))
            .collect();
        assert!(of_connections.iter().all(Result::is_ok));
        let of_queries: Vec<_> = (0..2)
            .map(|_| join(&listeners, QueryFilter::default()))
            .collect();
        let ninth = listeners.join_queries(QueryFilter::default(), true, true);
        assert_eq!(ninth.unwrap_err(), 8);
        let ninth = listeners.join(Default::default(), Duration::ZERO, true);
        assert_eq!(ninth.unwrap_err(), 8);
        drop(of_queries);
        assert!(
            listeners
                .join_queries(QueryFilter::default(), true, true)
                .is_ok()
        );
    }
}
