//! Asking the loop, and what its answers become: whose turn it is, who may, and what of a request can be read.

use super::body;
use super::peer::{Peer, Right};
use super::slots::{Length, Turn, Turns};
use crate::api::{Failure, FailureKind};
use crate::control::{Later, Reply, Request, Requests};
use axum::Json;
use axum::body::Body;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Of the body of a plan of who may only read, because the daemon parses what it is sent, which takes some
/// forty times as much memory for a moment.
pub const PLAN_BYTES_OF_READERS: usize = 1024 * 1024;
/// For a body to arrive.
const BODY: Duration = Duration::from_secs(10);
/// For a turn.
const TURN: Duration = Duration::from_secs(20);
/// For the loop to answer.
const ANSWER: Duration = Duration::from_secs(60);

pub type Answer = Result<Response, Failure>;

/// What answers are made with.
#[derive(Clone)]
pub struct Asker {
    pub requests: Requests,
    pub turns: Turns,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameQuery {
    name: Option<String>,
}

/// What is asked about one service, or about all of them.
pub type AboutService = Result<Query<NameQuery>, QueryRejection>;

impl Asker {
    /// Waits for the turn of this peer.
    pub async fn turn(&self, peer: &Peer, length: Length) -> Result<Turn, Failure> {
        let turn = timeout(TURN, self.turns.take(peer, length)).await;
        turn.map_err(|_| unavailable("other answers are being read, which takes too long"))
    }

    /// Answers what is asked about a service, or about all of them.
    pub async fn about<T: Serialize + 'static>(
        &self,
        peer: Peer,
        query: AboutService,
        length: Length,
        request: impl FnOnce(Option<String>, Reply<Later<T>>) -> Request,
    ) -> Answer {
        allow(peer, Right::Read)?;
        let name = parse(query)?.name;
        let turn = self.turn(&peer, length).await?;
        let later = self.ask(|reply| request(name, reply)).await?;
        elsewhere(move || json(&later.make()?, turn)).await
    }

    /// Puts a request into the loop's queue and waits for the answer.
    pub async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        if !(self.requests)(request(reply)) {
            return Err(unavailable("the daemon is stopping"));
        }
        match timeout(ANSWER, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(unavailable("the daemon is stopping")),
            Err(_) => Err(unavailable("the daemon is busy and did not answer in time")),
        }
    }
}

/// All of a body, if it comes in time and is no longer than that. A longer one is read nevertheless,
/// and not kept: a client that is still writing would not see the answer.
pub async fn receive(mut body: Body, most: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut length = 0;
    let all = async {
        while let Some(frame) = body.frame().await {
            let piece = frame?.into_data().unwrap_or_default();
            length += piece.len();
            if length <= most {
                bytes.extend_from_slice(&piece);
            }
        }
        Ok::<_, axum::Error>(())
    };
    match timeout(BODY, all).await {
        Ok(Ok(())) if length <= most => Ok(bytes),
        Ok(Ok(())) => Err(bad(format!(
            "the body has {length} bytes, and {most} are the most{}",
            if most == PLAN_BYTES_OF_READERS {
                "; root may have larger files planned"
            } else {
                ""
            }
        ))),
        Ok(Err(error)) => Err(bad(format!("the body broke off: {error}"))),
        Err(_) => Err(bad(format!(
            "the body did not arrive within {} s",
            BODY.as_secs()
        ))),
    }
}

pub fn allow(peer: Peer, needed: Right) -> Result<(), Failure> {
    if peer.right >= needed {
        return Ok(());
    }
    let error = match needed {
        Right::Change => "only root and the daemon's own user may do that",
        Right::Report => "only root, the daemon's own user and the agent may do that",
        Right::Read | Right::None => {
            "only root, the daemon's own user and the group of the control socket may do that"
        }
    };
    Err(Failure::new(FailureKind::Forbidden, error))
}

pub fn parse<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Failure> {
    query
        .map(|Query(query)| query)
        .map_err(|rejection| bad(rejection.body_text()))
}

pub fn bad(error: impl Into<String>) -> Failure {
    Failure::new(FailureKind::BadRequest, error)
}

pub fn unavailable(error: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Unavailable, error)
}

/// Makes an answer on a thread that may take long over it.
pub async fn elsewhere(make: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    let made = tokio::task::spawn_blocking(make).await;
    made.unwrap_or_else(|_| Err(unavailable("the daemon is stopping")))
}

pub fn json<T: Serialize>(value: &T, turn: Turn) -> Answer {
    let text = serde_json::to_vec(value).map_err(|error| {
        Failure::new(
            FailureKind::Failed,
            format!("cannot write the answer as JSON: {error}"),
        )
    })?;
    Ok(of_json(body::whole(text, turn)))
}

pub fn of_json(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.kind {
            FailureKind::InvalidConfiguration => StatusCode::UNPROCESSABLE_ENTITY,
            FailureKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            FailureKind::BadRequest => StatusCode::BAD_REQUEST,
            FailureKind::Forbidden => StatusCode::FORBIDDEN,
            FailureKind::NotFound => StatusCode::NOT_FOUND,
            FailureKind::Conflict => StatusCode::CONFLICT,
            FailureKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(self)).into_response()
    }
}
