//! What can be asked.

use super::asker::{
    AboutService, Answer, Asker, PLAN_BYTES_OF_READERS, allow, bad, elsewhere, json, of_json,
    parse, receive, unavailable,
};
use super::body;
use super::events::{trace, trace_dns};
use super::peer::{Peer, Right};
use super::slots::{Length, Turn, Turns};
use crate::api::{
    Confirmed, DnsReport, Duties, Failure, FailureKind, HealthReport, Killed, NamesReport, Ordered,
    PlanRequest, QueriesReport, ReloadRequest, Reloaded, SimulateRequest,
};
use crate::control::{ExplainFor, Request, Requests, Text};
use crate::model::{CgroupRef, Protocol};
use crate::report::Format;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

/// Of the body of a plan: 64 MiB of files, with what JSON adds to them.
const PLAN_BYTES: usize = 96 * 1024 * 1024;
/// Of a report of the agent, an order, or an end of connections.
const REPORT_BYTES: usize = 16 * 1024;
/// For a change of what an agent is to do; then it is told the same again.
const POLL: Duration = Duration::from_secs(25);
pub fn router(requests: Requests) -> Router {
    let turns = Turns::new();
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/connections", get(connections))
        .route("/v1/traffic", get(traffic))
        .route("/v1/policies", get(policies))
        .route("/v1/policies/suggestion", get(suggestion))
        .route("/v1/explain", get(explain))
        .route("/v1/dump", get(dump))
        .route("/v1/trace", get(trace))
        .route("/v1/trace/dns", get(trace_dns))
        .route("/v1/agent", get(duties).post(agent))
        .route("/v1/agent/health", post(health))
        .route("/v1/agent/names", post(names))
        .route("/v1/agent/zone", get(zone))
        .route("/v1/agent/dns", post(dns))
        .route("/v1/agent/dns/queries", post(queries))
        .route("/v1/name", get(name))
        .route("/metrics", get(metrics))
        .route("/v1/plan", post(plan))
        .route("/v1/simulate", post(simulate))
        .route("/v1/reload", post(reload))
        .route("/v1/confirm", post(confirm))
        .route("/v1/order", post(order))
        .route("/v1/kill", post(kill))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Asker { requests, turns })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainQuery {
    address: String,
    protocol: Option<String>,
    cgroup: Option<String>,
    pid: Option<u32>,
    user: Option<u32>,
    group: Option<u32>,
    from: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SuggestionQuery {
    /// In seconds.
    since: Option<u64>,
}

async fn status(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    query: AboutService,
) -> Answer {
    let request = |name, reply| Request::Status { name, reply };
    asker.about(peer, query, Length::Short, request).await
}

async fn connections(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    query: AboutService,
) -> Answer {
    let request = |name, reply| Request::Connections { name, reply };
    asker.about(peer, query, Length::Long, request).await
}

async fn traffic(State(asker): State<Asker>, Extension(peer): Extension<Peer>) -> Answer {
    allow(peer, Right::Read)?;
    let turn = asker.turn(&peer, Length::Short).await?;
    let later = asker.ask(|reply| Request::Traffic { reply }).await?;
    elsewhere(move || json(&later.make()?, turn)).await
}

async fn policies(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    query: AboutService,
) -> Answer {
    let request = |name, reply| Request::Policies { name, reply };
    asker.about(peer, query, Length::Long, request).await
}

async fn suggestion(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<SuggestionQuery>, QueryRejection>,
) -> Answer {
    allow(peer, Right::Read)?;
    let within = parse(query)?.since;
    let turn = asker.turn(&peer, Length::Long).await?;
    let request = |reply| Request::Suggest { within, reply };
    let later = asker.ask(request).await?;
    elsewhere(move || json(&later.make()?, turn)).await
}

async fn explain(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Answer {
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
    let from = query.from.as_deref().map(|from| {
        from.parse()
            .map_err(|_| bad(format!("`from` is not an address but {from:?}")))
    });
    let of_program = query.cgroup.is_some()
        || query.pid.is_some()
        || query.user.is_some()
        || query.group.is_some();
    let whose = match from.transpose()? {
        Some(_) if of_program => {
            return Err(bad(
                "`from` is an address, and no program of this host".to_owned()
            ));
        }
        Some(from) => ExplainFor::Arrival(from),
        None => ExplainFor::Program {
            cgroup: query.cgroup.as_deref().map(CgroupRef::from),
            pid: query.pid,
            user: query.user,
            group: query.group,
        },
    };
    let request = |reply| Request::Explain {
        address,
        protocol,
        whose,
        reply,
    };
    let turn = asker.turn(&peer, Length::Short).await?;
    let explanation = asker.ask(request).await?;
    json(&explanation, turn)
}

async fn dump(State(asker): State<Asker>, Extension(peer): Extension<Peer>) -> Answer {
    allow(peer, Right::Read)?;
    let turn = asker.turn(&peer, Length::Long).await?;
    let text = asker.ask(|reply| Request::Dump { reply }).await?;
    Ok(of_json(streamed(text, turn)))
}

async fn metrics(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Answer {
    allow(peer, Right::Read)?;
    let accept = headers.get(header::ACCEPT);
    let format = Format::accepted(accept.and_then(|accept| accept.to_str().ok()));
    let turn = asker.turn(&peer, Length::Long).await?;
    let request = |reply| Request::Metrics { format, reply };
    let text = asker.ask(request).await?;
    let kind = [(header::CONTENT_TYPE, format.content_type())];
    Ok((kind, streamed(text, turn)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DutiesQuery {
    revision: Option<u64>,
}

/// Waits for a change, if the caller knows what there is.
async fn duties(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<DutiesQuery>, QueryRejection>,
) -> Result<Json<Duties>, Failure> {
    allow(peer, Right::Read)?;
    let known = parse(query)?.revision;
    let ask = |known| asker.ask(move |reply| Request::Duties { known, reply });
    match timeout(POLL, ask(known)).await {
        Ok(answer) => answer.map(Json),
        Err(_) => ask(None).await.map(Json),
    }
}

async fn agent(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<StatusCode, Failure> {
    allow(peer, Right::Report)?;
    let body = receive(body, REPORT_BYTES).await?;
    let report = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("the body is no report of an agent: {error}")))?;
    let caller = peer.caller;
    let request = |reply| Request::Agent {
        report,
        caller,
        reply,
    };
    asker.ask(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn health(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<StatusCode, Failure> {
    allow(peer, Right::Report)?;
    let body = receive(body, HealthReport::BYTES).await?;
    let report = HealthReport::read(&body)?;
    drop(body);
    asker.ask(|reply| Request::Health { report, reply }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn names(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<StatusCode, Failure> {
    allow(peer, Right::Report)?;
    let body = receive(body, NamesReport::BYTES).await?;
    let report = NamesReport::read(&body)?;
    drop(body);
    asker.ask(|reply| Request::Names { report, reply }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ZoneQuery {
    since: Option<u64>,
}

/// Waits for a change, if the caller knows what there is. When nothing changes for long, it is told so.
async fn zone(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<ZoneQuery>, QueryRejection>,
) -> Answer {
    allow(peer, Right::Read)?;
    let since = parse(query)?.since;
    let ask = |wait| asker.ask(move |reply| Request::Zone { since, wait, reply });
    let later = match timeout(POLL, ask(true)).await {
        Ok(answer) => answer?,
        Err(_) => ask(false).await?,
    };
    let turn = asker.turn(&peer, Length::Long).await?;
    elsewhere(move || json(&later.make()?, turn)).await
}

async fn dns(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<StatusCode, Failure> {
    allow(peer, Right::Report)?;
    let body = receive(body, DnsReport::BYTES).await?;
    let report = DnsReport::read(&body)?;
    drop(body);
    let caller = peer.caller;
    let request = |reply| Request::Dns {
        report,
        caller,
        reply,
    };
    asker.ask(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The answer comes when readers have it, so reports keep their order.
async fn queries(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Answer {
    allow(peer, Right::Report)?;
    let body = receive(body, QueriesReport::BYTES).await?;
    let report = QueriesReport::read(&body)?;
    drop(body);
    let later = asker
        .ask(|reply| Request::Queries { report, reply })
        .await?;
    elsewhere(move || {
        later.make()?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameOfMeshQuery {
    name: String,
}

async fn name(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<NameOfMeshQuery>, QueryRejection>,
) -> Answer {
    allow(peer, Right::Read)?;
    let name = parse(query)?.name;
    let turn = asker.turn(&peer, Length::Short).await?;
    let explanation = asker.ask(|reply| Request::Name { name, reply }).await?;
    json(&explanation, turn)
}

/// Written while it is read: neither side ever holds all of it.
fn streamed(text: Text, turn: Turn) -> Body {
    let (body, mut pieces) = body::streamed(turn);
    tokio::task::spawn_blocking(move || {
        let written = text.write(&mut pieces);
        pieces.end(written);
    });
    body
}

/// The body is read as JSON whatever its declared type: curl declares a form.
async fn plan(State(asker): State<Asker>, Extension(peer): Extension<Peer>, body: Body) -> Answer {
    allow(peer, Right::Read)?;
    // Before the body: bodies that wait for their turn would take memory.
    let turn = asker.turn(&peer, Length::Long).await?;
    let most = match peer.right {
        Right::Change => PLAN_BYTES,
        Right::Report | Right::Read | Right::None => PLAN_BYTES_OF_READERS,
    };
    let body = receive(body, most).await?;
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
    let PlanRequest {
        files: texts,
        session,
    } = request;
    if texts.as_ref().is_some_and(Vec::is_empty) {
        return Err(bad("`files` is empty: leave it out for the daemon's own"));
    }
    let plan = asker
        .ask(|reply| Request::Plan {
            texts,
            session,
            reply,
        })
        .await?;
    json(&plan, turn)
}

async fn simulate(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Answer {
    allow(peer, Right::Read)?;
    let turn = asker.turn(&peer, Length::Long).await?;
    let body = receive(body, REPORT_BYTES).await?;
    let SimulateRequest { down } = serde_json::from_slice(&body).map_err(|error| {
        bad(format!(
            "the body is not {{\"down\": [\"zone=a\"]}}: {error}"
        ))
    })?;
    let later = asker.ask(|reply| Request::Simulate { down, reply }).await?;
    elsewhere(move || json(&later.make()?, turn)).await
}

async fn reload(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<Json<Reloaded>, Failure> {
    allow(peer, Right::Change)?;
    let body = receive(body, REPORT_BYTES).await?;
    let request = match body.as_slice() {
        [] => ReloadRequest::default(),
        body => serde_json::from_slice(body)
            .map_err(|error| bad(format!("the body is not {{\"confirm_s\": 60}}: {error}")))?,
    };
    let caller = peer.caller;
    let request = |reply| Request::Reload {
        request,
        caller,
        reply,
    };
    asker.ask(request).await.map(Json)
}

async fn confirm(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<Confirmed>, Failure> {
    allow(peer, Right::Change)?;
    let caller = peer.caller;
    let request = |reply| Request::Confirm { caller, reply };
    asker.ask(request).await.map(Json)
}

async fn order(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<Json<Ordered>, Failure> {
    allow(peer, Right::Change)?;
    let body = receive(body, REPORT_BYTES).await?;
    let order = serde_json::from_slice(&body).map_err(|error| {
        bad(format!(
            "the body is not {{\"endpoint\": \"SERVICE/ENDPOINT\", \"change\": \"drain\"}}: {error}"
        ))
    })?;
    let caller = peer.caller;
    let request = |reply| Request::Order {
        order,
        caller,
        reply,
    };
    asker.ask(request).await.map(Json)
}

async fn kill(
    State(asker): State<Asker>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<Json<Killed>, Failure> {
    allow(peer, Right::Change)?;
    let body = receive(body, REPORT_BYTES).await?;
    let kill = serde_json::from_slice(&body).map_err(|error| {
        bad(format!(
            "the body is not {{\"endpoint\": \"SERVICE/ENDPOINT\"}}: {error}"
        ))
    })?;
    let caller = peer.caller;
    let request = |reply| Request::Kill {
        kill,
        caller,
        reply,
    };
    asker.ask(request).await.map(Json)
}

async fn unknown() -> Failure {
    Failure::new(
        FailureKind::NotFound,
        "there is /v1/status, /v1/connections, /v1/traffic, /v1/policies, /v1/policies/suggestion, /v1/explain, /v1/dump, /v1/trace, /v1/trace/dns, /v1/plan, /v1/simulate, /v1/reload, /v1/confirm, /v1/order, /v1/kill, /v1/name, /v1/agent, /v1/agent/health, /v1/agent/names, /v1/agent/zone, /v1/agent/dns, /v1/agent/dns/queries and /metrics",
    )
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let allowed = match uri.path() {
        "/v1/plan"
        | "/v1/simulate"
        | "/v1/reload"
        | "/v1/confirm"
        | "/v1/order"
        | "/v1/kill"
        | "/v1/agent/health"
        | "/v1/agent/names"
        | "/v1/agent/dns"
        | "/v1/agent/dns/queries" => "POST",
        "/v1/agent" => "GET, HEAD, POST",
        _ => "GET, HEAD",
    };
    let failure = bad(format!("{} takes {allowed}, not {method}", uri.path()));
    let allow = [(header::ALLOW, allowed)];
    (StatusCode::METHOD_NOT_ALLOWED, allow, Json(failure)).into_response()
}

/// The answer to a connection for which there is no slot.
pub async fn crowded() -> Failure {
    unavailable("too many requests of this user are under way; ask again when some are over")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Caller;
    use std::sync::Arc;

    fn peer(right: Right) -> Extension<Peer> {
        let caller = Caller { uid: 1, pid: None };
        Extension(Peer { caller, right })
    }

    fn run<T>(answer: impl Future<Output = Result<T, Failure>>) -> FailureKind {
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
        let requests = || {
            State(Asker {
                requests: Arc::new(|_| false),
                turns: Turns::new(),
            })
        };
        let (passed, refused) = (FailureKind::Unavailable, FailureKind::Forbidden);
        let own = Body::empty;
        let other = || {
            let body = br#"{"files": [{"path": "mesh.toml", "text": ""}]}"#;
            Body::from(body.as_slice())
        };

        assert_eq!(run(dump(requests(), peer(Right::None))), refused);
        assert_eq!(run(dump(requests(), peer(Right::Read))), passed);
        assert_eq!(run(plan(requests(), peer(Right::None), other())), refused);
        assert_eq!(run(plan(requests(), peer(Right::Read), own())), passed);
        assert_eq!(run(plan(requests(), peer(Right::Read), other())), passed);
        let report = || Body::from(br#"{"metrics": []}"#.as_slice());
        assert_eq!(run(agent(requests(), peer(Right::Read), report())), refused);
        assert_eq!(
            run(agent(requests(), peer(Right::Report), report())),
            passed
        );
        assert_eq!(run(reload(requests(), peer(Right::Report), own())), refused);
        assert_eq!(run(reload(requests(), peer(Right::Read), own())), refused);
        assert_eq!(run(reload(requests(), peer(Right::Change), own())), passed);
        assert_eq!(run(confirm(requests(), peer(Right::Read))), refused);
        assert_eq!(run(confirm(requests(), peer(Right::Change))), passed);
    }
}
