//! What the agent answers to the network: metrics, which it fetches from the daemon as they are asked for.

use super::ask;
use crate::control::Client;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use hyper::body::{Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// Scrapes that are answered at a time: the daemon makes as many.
const SCRAPES: usize = 4;
/// For a scrape to have its turn.
const TURN: Duration = Duration::from_secs(5);

const INDEX: &str = "<!doctype html>\n<html lang=\"en\"><title>kmesh-lite</title>\n\
     <h1>kmesh-lite</h1>\n<p><a href=\"/metrics\">Metrics</a></p>\n</html>\n";

/// The pages, and who may have them at a time.
#[derive(Clone)]
pub struct Pages {
    daemon: Arc<Client>,
    pub connections: Arc<Semaphore>,
    scrapes: Arc<Semaphore>,
}

impl Pages {
    pub fn new(daemon: Arc<Client>) -> Self {
        Self {
            daemon,
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            scrapes: Arc::new(Semaphore::new(SCRAPES)),
        }
    }

    pub fn router(self) -> Router {
        Router::new()
            .route("/", get(async || Html(INDEX)))
            .route("/metrics", get(metrics))
            .fallback(async || (StatusCode::NOT_FOUND, "there is /metrics\n"))
            .method_not_allowed_fallback(wrong_method)
            .with_state(self)
    }
}

async fn metrics(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    let turn = timeout(TURN, pages.scrapes.acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        return unavailable("too many scrapes are under way");
    };
    let accept = headers.get(header::ACCEPT).cloned();
    match ask::metrics(&pages.daemon, accept).await {
        Ok(answer) => {
            let (head, rest) = answer.into_parts();
            let kind = head.headers.get(header::CONTENT_TYPE).cloned();
            let body = Body::new(Relayed { rest, _turn: turn });
            let mut response = Response::new(body);
            if let Some(kind) = kind {
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
            }
            response
        }
        Err(error) => unavailable(&crate::log::chain(&error)),
    }
}

async fn wrong_method(method: Method) -> Response {
    let allow = [(header::ALLOW, "GET, HEAD")];
    let text = format!("this takes GET and HEAD, not {method}\n");
    (StatusCode::METHOD_NOT_ALLOWED, allow, text).into_response()
}

fn unavailable(reason: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
}

/// The daemon's answer on its way to a scraper, as fast as that one reads.
struct Relayed {
    rest: Incoming,
    _turn: OwnedSemaphorePermit,
}

impl hyper::body::Body for Relayed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.rest).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.rest.size_hint()
    }
}
