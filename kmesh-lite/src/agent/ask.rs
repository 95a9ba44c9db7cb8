//! What the agent asks the daemon, and tells it.

use super::health::{Daemon, Taken};
use super::listeners::States;
use super::names;
use crate::api::{
    AgentReport, DnsReport, Duties, FailureKind, HealthReport, ListenerReport, NamesReport,
    QueriesReport,
};
use crate::control::{Client, ClientError, request};
use axum::http::{HeaderValue, Method, header};
use hyper::Response;
use hyper::body::{Bytes, Incoming};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// For an answer: longer than the daemon waits for a change, and for its loop to be free.
const PATIENCE: Duration = Duration::from_secs(90);
/// For the answer to a scrape to begin.
const SCRAPE: Duration = Duration::from_secs(20);

/// What is to be done. Waits for a change of what is `known`, for a while.
pub async fn duties(daemon: &Client, known: Option<u64>) -> Result<Duties, ClientError> {
    let path = match known {
        Some(revision) => format!("/v1/agent?revision={revision}"),
        None => "/v1/agent".to_owned(),
    };
    let request = request(Method::GET, &path, Bytes::new())?;
    daemon.value(request, PATIENCE).await
}

/// The names of the mesh, in the words of the control socket: all of them, or what is other than in the revision that is `known`,
/// for which it waits a while.
pub async fn zone(daemon: &Client, known: Option<u64>) -> Result<Vec<u8>, ClientError> {
    let path = match known {
        Some(revision) => format!("/v1/agent/zone?since={revision}"),
        None => "/v1/agent/zone".to_owned(),
    };
    let request = request(Method::GET, &path, Bytes::new())?;
    daemon.text(request, PATIENCE).await
}

/// How serving names gets on.
pub async fn tell_dns(daemon: &Client, report: &DnsReport) -> Result<(), ClientError> {
    send(daemon, "/v1/agent/dns", report).await
}

/// What was asked since the last time.
pub async fn tell_queries(daemon: &Client, report: &QueriesReport) -> Result<(), ClientError> {
    send(daemon, "/v1/agent/dns/queries", report).await
}

/// The metrics in the format that `accept` asks for; the body is still to come.
pub async fn metrics(
    daemon: &Client,
    accept: Option<HeaderValue>,
) -> Result<Response<Incoming>, ClientError> {
    let mut request = request(Method::GET, "/metrics", Bytes::new())?;
    if let Some(accept) = accept {
        request.headers_mut().insert(header::ACCEPT, accept);
    }
    Ok(daemon.send(request, SCRAPE).await?.0)
}

/// Reports whenever something is other than before, and when it is `due`.
pub async fn report(daemon: Arc<Client>, mut states: watch::Receiver<States>, due: Arc<Notify>) {
    loop {
        tokio::select! {
            changed = states.changed() => if changed.is_err() {
                return;
            },
            () = due.notified() => {}
        }
        let report = {
            let states = states.borrow_and_update();
            let metrics = states.iter().map(|(at, error)| ListenerReport {
                listen: *at,
                error: error.clone(),
            });
            AgentReport {
                metrics: metrics.collect(),
            }
        };
        if let Err(error) = send(&daemon, "/v1/agent", &report).await {
            // The next one tells the same.
            log::debug!("cannot report to the daemon: {}", crate::log::chain(&error));
        }
    }
}

impl Daemon for Client {
    async fn take(&self, report: HealthReport) -> Taken {
        taken(send(self, "/v1/agent/health", &report).await)
    }
}

impl names::Daemon for Client {
    async fn hear(&self, report: NamesReport) -> Taken {
        taken(send(self, "/v1/agent/names", &report).await)
    }
}

/// What became of a report.
fn taken(sent: Result<(), ClientError>) -> Taken {
    match sent {
        Ok(()) => Taken::Yes,
        Err(ClientError::Failure(failure)) if failure.kind == FailureKind::Conflict => {
            Taken::Superseded
        }
        Err(error) => {
            log::debug!(
                "the daemon did not take what was found: {}",
                crate::log::chain(&error)
            );
            Taken::No
        }
    }
}

async fn send(daemon: &Client, path: &str, report: &impl Serialize) -> Result<(), ClientError> {
    let body = serde_json::to_vec(report).map_err(ClientError::Encode)?;
    let request = request(Method::POST, path, body.into())?;
    daemon.send(request, PATIENCE).await.map(drop)
}
