//! Accepting connections, bounding their number, and stopping.

use crate::allowed::Allowed;
use crate::buffers::Buffers;
use crate::counters::{ConnectionCounters, Count};
use crate::forward::{self, Done, ForwardError, Rules};
use crate::header::Accept;
use crate::limits::ConnectionLimits;
use crate::log_limit::LogLimit;
use log::{debug, warn};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use std::{io, iter};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The kernel completes and holds so many connections until they are accepted, as far as
/// net.core.somaxconn lets it.
const QUEUE: u32 = 4096;
/// The forwarder waits so long after it could not accept: descriptors ran out, most likely, and that
/// passes.
const PAUSE: Duration = Duration::from_millis(100);

/// The address, headers and limits that a forwarder is asked for.
#[derive(Clone, Copy, Debug)]
pub struct ForwarderOptions {
    pub listen: SocketAddr,
    pub accept: Accept,
    pub limits: ConnectionLimits,
}

/// The reason why there is no forwarder.
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
    shared: Arc<ForwarderState>,
}

/// A handle steers and reads a forwarder that serves.
#[derive(Clone, Debug)]
pub struct Handle(Arc<ForwarderState>);

#[derive(Debug)]
struct ForwarderState {
    options: ForwarderOptions,
    allowed: RwLock<Arc<Allowed>>,
    counters: ConnectionCounters,
    buffers: Buffers,
    log_limit: LogLimit,
    stop: watch::Sender<Stopping>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    No,
    Gracefully,
    Now,
}

/// The way in which serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every connection had ended.
    Drained,
    /// So many connections were cut.
    Cut(usize),
}

impl Forwarder {
    /// Listens. The caller is within a tokio runtime.
    pub fn bind(options: ForwarderOptions, allowed: Allowed) -> Result<Self, ForwarderError> {
        let (listener, address) =
            listen(options.listen).map_err(|source| ForwarderError::Listen {
                address: options.listen,
                source,
            })?;
        let (stop, _) = watch::channel(Stopping::No);
        Ok(Self {
            listener,
            address,
            shared: Arc::new(ForwarderState {
                options,
                allowed: RwLock::new(Arc::new(allowed)),
                counters: ConnectionCounters::default(),
                buffers: Buffers::default(),
                log_limit: LogLimit::default(),
                stop,
            }),
        })
    }

    /// The address of the listener; its port is known even if 0 was asked for.
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
                _ = stop.wait_for(|stop| *stop != Stopping::No) => break,
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
            _ = stop.wait_for(|stop| *stop == Stopping::Now) => {}
            () = sleep(shared.options.limits.grace) => {}
        }
        connections.abort_all();
        let mut cut = 0;
        while let Some(ended) = connections.join_next().await {
            // Some connections end by themselves at the last moment.
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
        self.stop_by(Stopping::Gracefully);
    }

    /// Stops at once.
    pub fn stop_now(&self) {
        self.stop_by(Stopping::Now);
    }

    fn stop_by(&self, how: Stopping) {
        self.0.stop.send_replace(how);
    }

    #[cfg(test)]
    pub fn counters(&self) -> std::collections::BTreeMap<Count, u64> {
        self.0.counters.read()
    }

    /// Waits until something was counted so many times.
    #[cfg(test)]
    pub async fn counted(&self, count: Count, number: u64) {
        self.0.counters.reach(count, number).await;
    }

    /// The counters as one line.
    pub fn report(&self) -> String {
        self.0.counters.to_string()
    }
}

impl ForwarderState {
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
        let causes = iter::successors(Some(error as &dyn Error), |&error| error.source());
        let text = causes
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ");
        match reason {
            // Port checks are everyday, and so are clients and servers that go away.
            Count::Empty | Count::Broken | Count::IdleTimeout => {
                debug!(peer:%, reason:%; "{peer}: {text}");
            }
            _ => self.warn(|more| warn!(peer:%, reason:%, more; "{peer}: {text}")),
        }
    }

    /// Writes a line unless there were too many. `write` is told how many lines were left out.
    fn warn(&self, write: impl FnOnce(u64)) {
        if let Some(more) = self.log_limit.admit(Instant::now()) {
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
