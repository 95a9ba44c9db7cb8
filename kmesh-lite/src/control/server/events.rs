//! Events as they happen: of connections, and of questions to the agent. Readers take nobody's turn, and lose what they do not read.

use super::asker::{Answer, Asker, allow, bad, elsewhere, parse};
use super::body;
use super::peer::{Peer, Right};
use super::stall::Patience;
use crate::control::{
    Begun, Filter, Later, Lines, NamePattern, QueryFilter, Request, Trace, TraceDns, WARNING,
};
use crate::report::{no_such_outcome, query_outcome};
use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

/// For an agent to begin to tell what it is asked.
const BEGIN: Duration = Duration::from_secs(2);
/// What a reader is told otherwise.
const ABSENT: &str = "the agent does not tell what it is asked: it is not there, hangs, or is of another version. `kmesh-lite status` \
                      says when it was heard of; its questions are shown once it tells them";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceQuery {
    service: Option<String>,
    unit: Option<String>,
    endpoint: Option<String>,
    outcome: Option<String>,
    policy: Option<String>,
    /// In seconds.
    since: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceDnsQuery {
    service: Option<String>,
    name: Option<String>,
    outcome: Option<String>,
}

/// Ends when the reader goes or the daemon stops.
pub async fn trace(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    Extension(patience): Extension<Patience>,
    query: Result<Query<TraceQuery>, QueryRejection>,
) -> Answer {
    allow(peer, Right::Read)?;
    let query = parse(query)?;
    if let Some(why) = query.outcome.as_deref().and_then(no_such_outcome) {
        return Err(bad(why));
    }
    let filter = Filter {
        service: query.service,
        unit: query.unit,
        endpoint: query.endpoint,
        outcome: query.outcome,
        policy: query.policy,
    };
    let since = Duration::from_secs(query.since.unwrap_or_default());
    let request = |reply| Request::Trace {
        filter,
        since,
        is_own: peer.right == Right::Change,
        reply,
    };
    let Trace { lines, warnings } = asker.ask(request).await?;
    patience.never_ends();
    let body = body_of(&asker, lines);
    events(body, warnings, Vec::new()).await
}

/// The same of questions to the agent.
pub async fn trace_dns(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    Extension(patience): Extension<Patience>,
    query: Result<Query<TraceDnsQuery>, QueryRejection>,
) -> Answer {
    allow(peer, Right::Read)?;
    let query = parse(query)?;
    let outcome = query.outcome.as_deref().map(query_outcome);
    let name = query.name.as_deref().map(NamePattern::read);
    let wrong = |why| bad(format!("`name` is wrong: {why}"));
    let filter = QueryFilter {
        service: query.service,
        name: name.transpose().map_err(wrong)?,
        outcome: outcome.transpose().map_err(bad)?,
    };
    let request = |reply| Request::TraceDns {
        filter,
        is_own: peer.right == Right::Change,
        reply,
    };
    let TraceDns {
        lines,
        warnings,
        begun,
    } = asker.ask(request).await?;
    patience.never_ends();
    // Before it waits: whoever goes meanwhile is no reader any more.
    let body = body_of(&asker, lines);
    let others = absent(begun).await;
    events(body, warnings, others).await
}

/// Waits until the agent tells what it is asked, and says so if it does not.
async fn absent(begun: Option<Begun>) -> Vec<String> {
    let Some(Begun { heard, is_told }) = begun else {
        return Vec::new();
    };
    match timeout(BEGIN, heard).await {
        Ok(Ok(())) => Vec::new(),
        _ => {
            is_told.store(true, Ordering::Relaxed);
            vec![ABSENT.to_owned()]
        }
    }
}

/// Lines of events, as they come. The loop is told when it is over.
fn body_of(asker: &Asker, lines: Lines) -> Body {
    let requests = Arc::clone(&asker.requests);
    body::endless(lines, move || {
        requests(Request::TraceEnded);
    })
}

async fn events(body: Body, warnings: Later<Vec<String>>, others: Vec<String>) -> Answer {
    elsewhere(move || {
        let kind = [(header::CONTENT_TYPE, "application/jsonl")];
        let mut response = (kind, body).into_response();
        for warning in warnings.make()?.into_iter().chain(others) {
            // Everything but control characters, of which there are none.
            if let Ok(value) = HeaderValue::from_bytes(warning.as_bytes()) {
                response.headers_mut().append(WARNING, value);
            }
        }
        Ok(response)
    })
    .await
}
