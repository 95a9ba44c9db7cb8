//! What can be asked.

use super::peer::{Peer, Right};
use crate::api::{
    Dump, Explanation, Failure, FailureKind, PlanRequest, PlanText, Reloaded, Status,
};
use crate::control::{Reply, Request, Requests};
use crate::model::{CgroupRef, Protocol};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// Of a request's body.
const BODY_BYTES: usize = 64 * 1024;
/// Of a plan's: 64 MiB of files, with what JSON adds to them.
const PLAN_BYTES: usize = 96 * 1024 * 1024;
/// At a time, because each may take that much.
const PLANS: usize = 2;
/// For the loop to answer.
const ANSWER: Duration = Duration::from_secs(60);

type Answer<T> = Result<Json<T>, Failure>;
type Asker = State<Requests>;

pub fn router(requests: Requests) -> Router {
    let plans = Arc::new(Semaphore::new(PLANS));
    let in_turn = move |request: HttpRequest, next: Next| {
        let plans = Arc::clone(&plans);
        async move {
            let _permit = plans.acquire().await;
            next.run(request).await
        }
    };
    let plan = post(plan)
        .layer(DefaultBodyLimit::max(PLAN_BYTES))
        .layer(middleware::from_fn(in_turn));
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/explain", get(explain))
        .route("/v1/dump", get(dump))
        .route("/v1/plan", plan)
        .route("/v1/reload", post(reload))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(requests)
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
    cgroup: Option<String>,
    pid: Option<u32>,
}

async fn status(
    State(requests): Asker,
    Extension(peer): Extension<Peer>,
    query: Result<Query<StatusQuery>, QueryRejection>,
) -> Answer<Status> {
    allow(peer, Right::Read)?;
    let name = parse(query)?.name;
    ask(&requests, |reply| Request::Status { name, reply }).await
}

async fn explain(
    State(requests): Asker,
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
        cgroup: query.cgroup.as_deref().map(CgroupRef::from),
        pid: query.pid,
        reply,
    };
    ask(&requests, request).await
}

async fn dump(State(requests): Asker, Extension(peer): Extension<Peer>) -> Answer<Dump> {
    allow(peer, Right::Read)?;
    ask(&requests, |reply| Request::Dump { reply }).await
}

/// The body is read as JSON whatever its declared type: curl declares a form.
async fn plan(
    State(requests): Asker,
    Extension(peer): Extension<Peer>,
    body: Result<Bytes, BytesRejection>,
) -> Answer<PlanText> {
    allow(peer, Right::Read)?;
    let body = body.map_err(|rejection| bad(rejection.body_text()))?;
    let request = if body.is_empty() {
        PlanRequest::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            bad(format!(
                "the body is not {{\"files\": [{{\"path\": ..., \"text\": ...}}]}}: {error}"
            ))
        })?
    };
    drop(body);
    let texts = request.files;
    if texts.as_ref().is_some_and(Vec::is_empty) {
        return Err(bad("`files` is empty: leave it out for the daemon's own"));
    }
    ask(&requests, |reply| Request::Plan { texts, reply }).await
}

async fn reload(State(requests): Asker, Extension(peer): Extension<Peer>) -> Answer<Reloaded> {
    allow(peer, Right::Change)?;
    let caller = peer.caller;
    ask(&requests, |reply| Request::Reload { caller, reply }).await
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
async fn ask<T>(requests: &Requests, request: impl FnOnce(Reply<T>) -> Request) -> Answer<T> {
    let unavailable = |error| Failure::new(FailureKind::Unavailable, error);
    let (reply, answer) = oneshot::channel();
    if !requests(request(reply)) {
        return Err(unavailable("the daemon is stopping"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Caller;

    fn peer(right: Right) -> Extension<Peer> {
        let caller = Caller { uid: 1, pid: None };
        Extension(Peer { caller, right })
    }

    fn run<T>(answer: impl Future<Output = Answer<T>>) -> FailureKind {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        match runtime.block_on(answer) {
            Ok(_) => panic!("there is no loop that could answer"),
            Err(failure) => failure.kind,
        }
    }

    #[test]
    fn the_group_reads_and_changes_nothing() {
        // Whatever gets as far as the queue finds that nobody listens.
        let requests = || -> Asker { State(Arc::new(|_| false)) };
        let (passed, refused) = (FailureKind::Unavailable, FailureKind::Forbidden);
        let own = || Ok(Bytes::new());
        let other = || {
            let body = br#"{"files": [{"path": "mesh.toml", "text": ""}]}"#;
            Ok(Bytes::from_static(body))
        };

        assert_eq!(run(dump(requests(), peer(Right::None))), refused);
        assert_eq!(run(dump(requests(), peer(Right::Read))), passed);
        assert_eq!(run(plan(requests(), peer(Right::None), other())), refused);
        assert_eq!(run(plan(requests(), peer(Right::Read), own())), passed);
        assert_eq!(run(plan(requests(), peer(Right::Read), other())), passed);
        assert_eq!(run(reload(requests(), peer(Right::Read))), refused);
        assert_eq!(run(reload(requests(), peer(Right::Change))), passed);
    }
}
