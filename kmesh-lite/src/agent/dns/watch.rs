//! Questions as they are answered, for whoever wants to know. While nobody does, there is no watch, and nothing is made or kept.
//!
//! In: questions, on the thread that answers, which never waits. Out: reports, for a task that may. What there is no room for between
//! the two is counted.

use super::upstreams::now;
use crate::api::{QueriesReport, QueryOutcome, ToldQuery, Transport};
use crate::dns::{Asked, code_name, presentation, type_name};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{sleep, timeout};

/// Questions that wait to be told.
const WAITING: usize = 4_096;
/// What is answered within this time is one report.
const BATCH: Duration = Duration::from_millis(50);
/// Between reports, where nothing is asked.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Where the thread that answers tells questions.
pub struct Watch {
    queries: Sender<ToldQuery>,
    lost: Arc<AtomicU64>,
}

/// What was told.
pub struct Watched {
    queries: Receiver<ToldQuery>,
    lost: Arc<AtomicU64>,
}

/// A question that is watched, before it is answered.
pub struct Witnessed {
    begun: u64,
    transport: Transport,
    client: Option<SocketAddr>,
    /// Its name, and which records are meant; none if it cannot be read.
    question: Option<(String, String)>,
}

pub fn watch() -> (Watch, Watched) {
    let (queries, waiting) = mpsc::channel(WAITING);
    let lost = Arc::new(AtomicU64::new(0));
    let watch = Watch {
        queries,
        lost: Arc::clone(&lost),
    };
    let queries = waiting;
    (watch, Watched { queries, lost })
}

impl Witnessed {
    /// The bytes of a question, and who asks.
    pub fn new(bytes: &[u8], transport: Transport, client: Option<SocketAddr>) -> Box<Self> {
        let begun = now();
        let asked = Asked::of(bytes, transport);
        let question = asked.map(|asked| (presentation(&asked.name), type_name(asked.kind)));
        // One of IPv4 at a listener of IPv6 as well.
        let client = client.map(|at| SocketAddr::new(at.ip().to_canonical(), at.port()));
        Box::new(Self {
            begun,
            transport,
            client,
            question,
        })
    }
}

impl Watch {
    /// What came of a question. `passed` is the answer of others, and who gave it, if that is known.
    pub fn tell(
        &self,
        query: Witnessed,
        outcome: QueryOutcome,
        passed: Option<(&[u8], Option<SocketAddr>)>,
    ) {
        let at_ns = now();
        let (name, record_type) = query.question.unzip();
        let told = self.queries.try_send(ToldQuery {
            at_ns,
            took_ns: at_ns.saturating_sub(query.begun),
            transport: query.transport,
            outcome,
            client: query.client,
            name,
            record_type,
            upstream: passed.and_then(|(_, upstream)| upstream),
            code: passed.and_then(|(answer, _)| code_name(answer)),
        });
        // Nobody wants to know any more where the other end is gone.
        if let Err(TrySendError::Full(_)) = told {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Watched {
    /// What was told since the last time. Waits for something, for a while; none when there is nothing more to come.
    pub async fn report(&mut self) -> Option<QueriesReport> {
        let mut queries = Vec::new();
        match timeout(HEARTBEAT, self.queries.recv()).await {
            Ok(Some(first)) => queries.push(first),
            Ok(None) => return None,
            Err(_) => {}
        }
        if !queries.is_empty() && self.queries.len() < QueriesReport::MOST {
            sleep(BATCH).await;
        }
        while queries.len() < QueriesReport::MOST
            && let Ok(query) = self.queries.try_recv()
        {
            queries.push(query);
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        Some(QueriesReport { lost, queries })
    }

    /// A report that nobody took. What waits meanwhile is too old when somebody does.
    pub fn lose(&mut self, report: &QueriesReport) {
        let mut lost = report.lost + report.queries.len() as u64;
        while self.queries.try_recv().is_ok() {
            lost += 1;
        }
        self.lost.fetch_add(lost, Ordering::Relaxed);
    }
}
