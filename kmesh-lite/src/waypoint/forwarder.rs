//! Accepting connections, bounding their number, and stopping.

use super::allowed::Allowed;
use super::buffers::Buffers;
use super::counters::{Count, Counters};
use super::forward::{self, Done, ForwardError, Rules};
use super::header::Accept;
use super::limits::Limits;
use super::noise::Noise;
use crate::log::chain;
use log::{debug, warn};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Connections that the kernel completes and holds until we accept them, as far as
/// net.core.somaxconn lets it.
const QUEUE: u32 = 4096;
/// Before accepting again when that failed: out of descriptors, most likely, and it passes.
const PAUSE: Duration = Duration::from_millis(100);

/// What a forwarder is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub listen: SocketAddr,
    pub accept: Accept,
    pub limits: Limits,
}

/// Why there is no forwarder.
#[derive(Debug, thiserror::Error)]
pub enum ForwarderError {
    #[error("cannot start the threads of the forwarder")]
    Runtime(#[source] io::Error),
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// A listening forwarder.
#[derive(Debug)]
pub struct Forwarder {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// Steers and reads a forwarder that serves.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: Options,
    allowed: RwLock<Arc<Allowed>>,
    counters: Counters,
    buffers: Buffers,
    noise: Noise,
    stop: watch::Sender<Stop>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    Gracefully,
    Now,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every connection had ended.
    Drained,
    /// This many were cut.
    Cut(usize),
}

impl Forwarder {
    /// Listens. Within a tokio runtime.
    pub fn bind(options: Options, allowed: Allowed) -> Result<Self, ForwarderError> {
        let (listener, address) =
            listen(options.listen).map_err(|source| ForwarderError::Listen {
                address: options.listen,
                source,
            })?;
        let (stop, _) = watch::channel(Stop::No);
        Ok(Self {
            listener,
            address,
            shared: Arc::new(Shared {
                options,
                allowed: RwLock::new(Arc::new(allowed)),
                counters: Counters::default(),
                buffers: Buffers::default(),
                noise: Noise::default(),
                stop,
            }),
        })
    }

    /// The address that it listens on; its port is known even if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.shared))
    }

    /// Serves until it is told to stop.
    pub async fn serve(self) -> Ended {
        let Self {
            listener, shared, ..
        } = self;
        let mut stop = shared.stop.subscribe();
        let permits = Arc::new(Semaphore::new(shared.options.limits.connections as usize));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let (permit, client, peer) = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop != Stop::No) => break,
                accepted = shared.accept(&listener, &permits) => accepted,
            };
            let shared = Arc::clone(&shared);
            connections.spawn(async move {
                shared.serve(client, peer).await;
                drop(permit);
            });
        }
        drop(listener);
        tokio::select! {
            biased;
            () = drain(&mut connections) => {}
            _ = stop.wait_for(|stop| *stop == Stop::Now) => {}
            () = sleep(shared.options.limits.grace) => {}
        }
        connections.abort_all();
        let mut cut = 0;
        while let Some(ended) = connections.join_next().await {
            // Some end by themselves at the last moment.
            cut += usize::from(ended.is_err_and(|error| error.is_cancelled()));
        }
        shared.counters.add_many(Count::Cut, cut as u64);
        match cut {
            0 => Ended::Drained,
            cut => Ended::Cut(cut),
        }
    }
}

impl Handle {
    /// Changes what is allowed, for connections whose header comes from now on.
    pub fn allow(&self, allowed: Allowed) {
        let mut current = self
            .0
            .allowed
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(allowed);
    }

    /// Stops accepting and lets connections end, for as long as the grace is.
    pub fn stop(&self) {
        self.stop_by(Stop::Gracefully);
    }

    /// Stops at once.
    pub fn stop_now(&self) {
        self.stop_by(Stop::Now);
    }

    fn stop_by(&self, how: Stop) {
        self.0.stop.send_replace(how);
    }

    pub fn counters(&self) -> BTreeMap<Count, u64> {
        self.0.counters.read()
    }

    /// Waits until something was counted so many times.
    pub async fn counted(&self, count: Count, number: u64) {
        self.0.counters.reach(count, number).await;
    }

    /// The counters as one line.
    pub fn report(&self) -> String {
        self.0.counters.to_string()
    }
}

impl Shared {
    /// The next connection, when there is room for one.
    async fn accept(
        &self,
        listener: &TcpListener,
        permits: &Arc<Semaphore>,
    ) -> (OwnedSemaphorePermit, TcpStream, SocketAddr) {
        let permit = match Arc::clone(permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.counters.add(Count::Full);
                self.warn(|more| {
                    let limit = self.options.limits.connections;
                    warn!(limit, more; "{limit} connections: no more are accepted until one ends; `--max-connections` sets the limit");
                });
                Arc::clone(permits)
                    .acquire_owned()
                    .await
                    .expect("nobody closes the semaphore")
            }
        };
        loop {
            match listener.accept().await {
                Ok((client, peer)) => {
                    self.counters.add(Count::Accepted);
                    return (permit, client, peer);
                }
                Err(error) => {
                    self.counters.add(Count::AcceptFailed);
                    self.warn(|more| warn!(error:%, more; "cannot accept a connection: {error}"));
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn serve(&self, client: TcpStream, peer: SocketAddr) {
        let allowed = Arc::clone(&self.allowed.read().unwrap_or_else(PoisonError::into_inner));
        let rules = Rules {
            accept: self.options.accept,
            limits: &self.options.limits,
            allowed: &allowed,
            counters: &self.counters,
            buffers: &self.buffers,
        };
        match forward::forward(client, rules).await {
            Ok(Done::Finished(destination)) => {
                self.counters.add(Count::Finished);
                debug!(peer:%, destination:%; "relayed {peer} to {destination}");
            }
            Ok(Done::Local) => {
                self.counters.add(Count::Local);
                debug!(peer:%; "{peer} is a proxy that wants to go nowhere");
            }
            Err(error) => self.refused(peer, &error),
        }
    }

    fn refused(&self, peer: SocketAddr, error: &ForwardError) {
        let reason = error.count();
        self.counters.add(reason);
        let text = chain(error);
        match reason {
            // Everyday: port checks, and clients and servers that go away.
            Count::Empty | Count::Broken | Count::IdleTimeout => {
                debug!(peer:%, reason:%; "{peer}: {text}");
            }
            _ => self.warn(|more| warn!(peer:%, reason:%, more; "{peer}: {text}")),
        }
    }

    /// Writes a line unless there were too many; it gets to know how many were left out.
    fn warn(&self, write: impl FnOnce(u64)) {
        if let Some(more) = self.noise.admit(Instant::now()) {
            write(more);
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(QUEUE)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn drain(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}
