//! Connections from the network, and what each of them may take.

use super::pages::Pages;
use crate::control::Stalling;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use log::debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// For the head of a request.
const HEAD: Duration = Duration::from_secs(5);
/// The head of a request.
const HEAD_BYTES: usize = 8 * 1024;
/// For a scraper that reads nothing of what waits for it.
const STALL: Duration = Duration::from_secs(10);
/// For a whole connection. Scrapers give up earlier.
const CONNECTION: Duration = Duration::from_secs(40);

/// Serves `pages` to whoever connects.
pub async fn accept(listener: TcpListener, pages: Pages) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or the client has gone: it passes.
                debug!(error:%; "cannot accept a scraper");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // One too many is closed without a word.
        if let Ok(place) = Arc::clone(&pages.connections).try_acquire_owned() {
            let pages = pages.clone();
            tokio::spawn(async move {
                converse(stream, pages).await;
                drop(place);
            });
        }
    }
}

/// One request and its answer.
async fn converse(stream: TcpStream, pages: Pages) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(
            TokioIo::new(Stalling::new(stream, STALL)),
            TowerToHyperService::new(pages.router()),
        );
    match timeout(CONNECTION, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(error:%; "a scrape failed"),
        Err(_) => debug!("a scrape took too long"),
    }
}
