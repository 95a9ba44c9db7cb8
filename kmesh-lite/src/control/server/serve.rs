//! Accepting connections and bounding what each may take.

use super::peer::{Peer, Right};
use super::place::Place;
use super::routes;
use super::slots::Slots;
use super::stall::{Patience, Stalling};
use crate::control::{Lock, Requests};
use crate::host::agent_user;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use log::{debug, error};
use std::io;
use std::os::unix::net;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// Connections that are told at a time that there is no slot for them; further ones are closed.
const CROWD: usize = 32;
/// For each of those.
const CROWDED: Duration = Duration::from_secs(1);
/// For the head of a request.
const HEAD: Duration = Duration::from_secs(5);
/// For a whole connection, with a turn, the loop's answer and the reading of it.
const CONNECTION: Duration = Duration::from_secs(150);
/// For a peer that reads nothing of what waits for it.
const STALL: Duration = Duration::from_secs(10);
/// Both for root and the daemon's own user, who may look at a dump page by page.
const OWN_PATIENCE: Duration = Duration::from_secs(600);
/// How often we look whether our files are there.
const LOOK: Duration = Duration::from_secs(1);
/// For answers that are on their way when we stop.
const FAREWELL: Duration = Duration::from_millis(500);
/// The head of a request.
const HEAD_BYTES: usize = 16 * 1024;

/// Serves until `stop` is dropped or used, on `bound` and on what `place` makes after it.
pub async fn serve(
    mut place: Place,
    bound: Option<net::UnixListener>,
    requests: Requests,
    mut stop: oneshot::Receiver<()>,
) -> Option<Lock> {
    let mut listener = bound.and_then(listen);
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let router = routes::router(requests);
    let agent = agent_user();
    let mut slots = Slots::new();
    let crowd = Arc::new(Semaphore::new(CROWD));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let stream = tokio::select! {
            _ = &mut stop => break,
            _ = look.tick() => {
                if let Some(bound) = place.mend_later() {
                    listener = listen(bound);
                }
                continue;
            }
            accepted = accept(listener.as_ref()) => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: it passes.
                    debug!(error:%; "cannot accept on the control socket");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let peer = match Peer::of(&stream, place.group(), agent) {
            Ok(peer) => peer,
            Err(error) => {
                debug!(error:%; "cannot tell who connected to the control socket");
                continue;
            }
        };
        if let Some(slot) = slots.take(&peer) {
            let (most, stall) = match peer.right {
                Right::Change => (OWN_PATIENCE, OWN_PATIENCE),
                Right::Report | Right::Read | Right::None => (CONNECTION, STALL),
            };
            let patience = Patience::default();
            let router = router.clone().layer(Extension(peer));
            let router = router.layer(Extension(patience.clone()));
            let stream = Stalling::patient(stream, stall, patience.clone());
            connections.spawn(async move {
                converse(stream, router, most, patience).await;
                drop(slot);
            });
        } else if let Ok(place) = Arc::clone(&crowd).try_acquire_owned() {
            let router = Router::new().fallback(routes::crowded);
            let patience = Patience::default();
            let stream = Stalling::patient(stream, CROWDED, patience.clone());
            connections.spawn(async move {
                converse(stream, router, CROWDED, patience).await;
                drop(place);
            });
        }
    }
    // First, so that nobody connects to what will not answer.
    let lock = place.leave();
    let _ = timeout(FAREWELL, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
    lock
}

fn listen(listener: net::UnixListener) -> Option<UnixListener> {
    match UnixListener::from_std(listener) {
        Ok(listener) => Some(listener),
        Err(error) => {
            error!(error:%; "cannot serve the control socket");
            None
        }
    }
}

/// The next connection; never any if there is no socket.
async fn accept(listener: Option<&UnixListener>) -> io::Result<UnixStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

/// One request and its answer.
async fn converse(
    stream: Stalling<UnixStream>,
    router: Router,
    most: Duration,
    patience: Patience,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        // Whoever says that its request is over still reads.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = loop {
        match timeout(most, &mut connection).await {
            Err(_) if patience.is_endless() => {}
            ended => break ended,
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(error:%; "a connection to the control socket failed"),
        Err(_) => debug!("a connection to the control socket took too long"),
    }
}
