//! What can be asked.

use super::peer::{Peer, Right};
use crate::daemon::api::{Dump, Explanation, Failure, FailureKind, PlanText, Reloaded, Status};
use crate::daemon::event::{Event, Reply, Request};
use crate::model::Protocol;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Of a request's body.
const BODY_BYTES: usize = 64 * 1024;
/// For the loop to answer.
const ANSWER: Duration = Duration::from_secs(60);

type Answer<T> = Result<Json<T>, Failure>;
type Asker = State<Sender<Event>>;

pub fn router(events: Sender<Event>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/explain", get(explain))
        .route("/v1/dump", get(dump))
        .route("/v1/plan", post(plan))
        .route("/v1/reload", post(reload))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(events)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusQuery {
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainQuery {
    address: String,
    protocol: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanBody {
    path: Option<PathBuf>,
}

async fn status(
    State(events): Asker,
    Extension(peer): Extension<Peer>,
    query: Result<Query<StatusQuery>, QueryRejection>,
) -> Answer<Status> {
    allow(peer, Right::Read)?;
    let name = parse(query)?.name;
    ask(&events, |reply| Request::Status { name, reply }).await
}

async fn explain(
    State(events): Asker,
    Extension(peer): Extension<Peer>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Answer<Explanation> {
    allow(peer, Right::Read)?;
    let query = parse(query)?;
    let address: SocketAddr = query.address.parse().map_err(|_| {
        bad(format!(
            "`address` is not ADDR:PORT or [ADDR]:PORT but {:?}",
            query.address
        ))
    })?;
    let protocol = match query.protocol.as_deref() {
        None | Some("tcp") => Protocol::Tcp,
        Some("udp") => Protocol::Udp,
        Some(other) => return Err(bad(format!("`protocol` is not tcp or udp but {other:?}"))),
    };
    let request = |reply| Request::Explain {
        address,
        protocol,
        reply,
    };
    ask(&events, request).await
}

async fn dump(State(events): Asker, Extension(peer): Extension<Peer>) -> Answer<Dump> {
    allow(peer, Right::Read)?;
    ask(&events, |reply| Request::Dump { reply }).await
}

/// The body is read as JSON whatever its declared type: curl declares a form.
async fn plan(
    State(events): Asker,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Answer<PlanText> {
    allow(peer, Right::Read)?;
    let body: PlanBody = if body.is_empty() {
        PlanBody::default()
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| bad(format!("the body is not {{\"path\": ...}}: {error}")))?
    };
    if let Some(path) = &body.path {
        if peer.right < Right::Change {
            return Err(Failure::new(
                FailureKind::Forbidden,
                "only root and the daemon's own user may plan another file than the daemon's own",
            ));
        }
        if !path.is_absolute() {
            return Err(bad(format!(
                "`path` is not absolute: {:?}",
                path.display().to_string()
            )));
        }
    }
    ask(&events, |reply| Request::Plan {
        path: body.path,
        reply,
    })
    .await
}

async fn reload(State(events): Asker, Extension(peer): Extension<Peer>) -> Answer<Reloaded> {
    allow(peer, Right::Change)?;
    let caller = peer.caller;
    ask(&events, |reply| Request::Reload { caller, reply }).await
}

async fn unknown() -> Failure {
    Failure::new(
        FailureKind::NotFound,
        "there is /v1/status, /v1/explain, /v1/dump, /v1/plan and /v1/reload",
    )
}

async fn wrong_method() -> Failure {
    bad("GET reads; /v1/plan and /v1/reload want POST")
}

fn allow(peer: Peer, needed: Right) -> Result<(), Failure> {
    if peer.right >= needed {
        return Ok(());
    }
    let error = match needed {
        Right::Change => "only root and the daemon's own user may do that",
        Right::Read | Right::None => {
            "only root, the daemon's own user and the group of the control socket may do that"
        }
    };
    Err(Failure::new(FailureKind::Forbidden, error))
}

fn parse<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Failure> {
    query
        .map(|Query(query)| query)
        .map_err(|rejection| bad(rejection.body_text()))
}

fn bad(error: impl Into<String>) -> Failure {
    Failure::new(FailureKind::BadRequest, error)
}

/// Puts a request into the loop's queue and waits for the answer.
async fn ask<T>(events: &Sender<Event>, request: impl FnOnce(Reply<T>) -> Request) -> Answer<T> {
    let unavailable = |error| Failure::new(FailureKind::Unavailable, error);
    let (reply, answer) = oneshot::channel();
    events
        .send(Event::Request(request(reply)))
        .map_err(|_| unavailable("the daemon is stopping"))?;
    match timeout(ANSWER, answer).await {
        Ok(Ok(answer)) => answer.map(Json),
        Ok(Err(_)) => Err(unavailable("the daemon is stopping")),
        Err(_) => Err(unavailable("the daemon is busy and did not answer in time")),
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.kind {
            FailureKind::InvalidConfiguration => StatusCode::UNPROCESSABLE_ENTITY,
            FailureKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            FailureKind::BadRequest => StatusCode::BAD_REQUEST,
            FailureKind::Forbidden => StatusCode::FORBIDDEN,
            FailureKind::NotFound => StatusCode::NOT_FOUND,
            FailureKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(self)).into_response()
    }
}
