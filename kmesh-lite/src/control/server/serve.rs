//! Accepting connections and bounding what each may take.

use super::peer::Peer;
use super::routes;
use crate::control::Requests;
use axum::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use log::{debug, error};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 32;
/// For the head of a request.
const HEAD: Duration = Duration::from_secs(5);
/// For a whole connection, the longest answer of the loop and a slow reader included.
const CONNECTION: Duration = Duration::from_secs(120);
/// For answers that are on their way when we stop.
const FAREWELL: Duration = Duration::from_millis(500);
/// The head of a request.
const HEAD_BYTES: usize = 16 * 1024;

/// Serves until `stop` is dropped or used.
pub async fn serve(
    listener: UnixListener,
    group: u32,
    requests: Requests,
    mut stop: oneshot::Receiver<()>,
) {
    let listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            error!(error:%; "cannot serve the control socket");
            return;
        }
    };
    let router = routes::router(requests);
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accept = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, stream) = tokio::select! {
            _ = &mut stop => break,
            (permit, accepted) = accept => match accepted {
                Ok((stream, _)) => (permit, stream),
                Err(error) => {
                    // Out of descriptors, most likely: it passes.
                    debug!(error:%; "cannot accept on the control socket");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let peer = match Peer::of(&stream, group) {
            Ok(peer) => peer,
            Err(error) => {
                debug!(error:%; "cannot tell who connected to the control socket");
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone().layer(Extension(peer)));
        connections.spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(HEAD_BYTES)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            match timeout(CONNECTION, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(error:%; "a connection to the control socket failed"),
                Err(_) => debug!("a connection to the control socket took too long"),
            }
            drop(permit);
        });
    }
    let _ = timeout(FAREWELL, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}
