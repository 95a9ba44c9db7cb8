//! Probes of real servers on loopback, well-behaved and not.

mod command;
mod grpc;
mod http;
mod tcp;
mod tls;

use super::{Outcome, Probes, Probing, Reaping};
use crate::agent::health::tests::check;
use crate::api::{Check, Probe};
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Long enough for whatever succeeds, on a busy machine.
const PATIENT: u64 = 20_000;
/// For what is to take too long.
const SHORT: u64 = 300;

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

async fn probe_within(timeout: u64, address: SocketAddr, probe: Probe) -> Outcome {
    let check = Check {
        probe,
        timeout,
        ..check()
    };
    let probes = Probes::new(Reaping::Others);
    probes.probe(address, &Arc::new(check)).await
}

async fn probe(address: SocketAddr, probe: Probe) -> Outcome {
    probe_within(PATIENT, address, probe).await
}

fn up(reason: &'static str) -> Outcome {
    Outcome {
        success: true,
        reason: reason.into(),
    }
}

fn down(reason: &'static str) -> Outcome {
    Outcome::failure(reason)
}

/// A server as long as it is held.
struct Server {
    at: SocketAddr,
    _task: JoinSet<()>,
}

/// Serves each connection by `answer`.
async fn serve<F, A>(answer: F) -> Server
where
    F: Fn(TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer(stream));
        }
    });
    Server { at, _task: task }
}

/// For ever.
async fn hang() {
    tokio::time::sleep(Duration::from_secs(3600)).await;
}
