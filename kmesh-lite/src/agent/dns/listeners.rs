//! Addresses at which names are answered: as the daemon says, as far as the host allows.

use super::server::Server;
use super::{tcp, udp};
use crate::api::{DnsReport, ListenerReport, Serving};
use crate::dns::Tree;
use log::{info, warn};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

/// Before an address that could not be had is tried again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Why nobody answers at an address; none where somebody does.
type States = RefCell<BTreeMap<SocketAddr, Option<String>>>;

/// The listeners that there should be, each with a task of its own.
pub struct Listeners {
    server: Rc<Server>,
    serving: Option<Rc<Serving>>,
    running: BTreeMap<SocketAddr, JoinHandle<()>>,
    states: Rc<States>,
}

impl Listeners {
    pub fn new(server: Rc<Server>) -> Self {
        Self {
            server,
            serving: None,
            running: BTreeMap::new(),
            states: Rc::default(),
        }
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    pub async fn serve(&mut self, serving: Option<Serving>) {
        self.serving = serving.map(Rc::new);
        self.server.serve(self.serving.as_ref());
        self.follow().await;
        self.server.has_news();
    }

    pub async fn whole(&mut self, tree: Box<Tree>) {
        self.server.replace(tree);
        self.follow().await;
    }

    /// Ends listeners that are not wanted, and begins those that are not there. Who does not know the names yet answers nobody: it
    /// would say of each that there is no such name.
    async fn follow(&mut self) {
        let serving = self.serving.clone();
        let wanted = serving.as_ref().map_or(&[][..], |serving| &serving.listen);
        let stale: Vec<_> = self.running.keys().copied().collect();
        for at in stale.into_iter().filter(|at| !wanted.contains(at)) {
            if let Some(task) = self.running.remove(&at) {
                task.abort();
                // Its address is free after that, for one that contains it or lies in it.
                let _ = task.await;
                self.states.borrow_mut().remove(&at);
                info!("DNS is answered at {at} no more");
            }
        }
        if !self.server.knows_names() {
            return;
        }
        for at in wanted {
            let (server, states) = (Rc::clone(&self.server), Rc::clone(&self.states));
            let begin = || spawn_local(listen(*at, server, states));
            self.running.entry(*at).or_insert_with(begin);
        }
    }

    /// How things are.
    pub fn report(&self) -> DnsReport {
        let states = self.states.borrow();
        let listen = self.serving.iter().flat_map(|serving| &serving.listen);
        let listeners = listen.map(|at| ListenerReport {
            listen: *at,
            error: match states.get(at) {
                Some(state) => state.clone(),
                None if self.server.knows_names() => Some("it begins".to_owned()),
                None => Some("the daemon has not told the names yet".to_owned()),
            },
        });
        DnsReport {
            listeners: listeners.collect(),
            ..self.server.report()
        }
    }
}

/// Listens as soon as that is possible, and then for ever.
async fn listen(at: SocketAddr, server: Rc<Server>, states: Rc<States>) {
    let mut pause = PAUSES.0;
    let tell = |state: Option<String>| {
        let before = states.borrow_mut().insert(at, state.clone());
        let is_news = before != Some(state);
        if is_news {
            server.has_news();
        }
        is_news
    };
    let (by_udp, by_tcp) = loop {
        let error = match bind(at).await {
            Ok(sockets) => break sockets,
            Err(error) => error.to_string(),
        };
        if tell(Some(error.clone())) {
            warn!("cannot answer DNS at {at}, which is tried again: {error}");
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    };
    info!("DNS is answered at {at}");
    tell(None);
    let by_tcp = tcp::accept(by_tcp, Rc::clone(&server));
    tokio::join!(udp::serve(by_udp, Rc::clone(&server)), by_tcp);
}

/// Why an address cannot be had.
#[derive(Debug, thiserror::Error)]
enum BindError {
    #[error(
        "this agent may not use ports below 1024: it needs CAP_NET_BIND_SERVICE, which its unit gives it"
    )]
    Denied,
    #[error("by UDP: {0}")]
    Udp(io::Error),
    #[error("by TCP: {0}")]
    Tcp(io::Error),
}

async fn bind(at: SocketAddr) -> Result<(UdpSocket, TcpListener), BindError> {
    let of = |error: io::Error, other: fn(io::Error) -> BindError| match error.kind() {
        io::ErrorKind::PermissionDenied => BindError::Denied,
        _ => other(error),
    };
    let by_udp = udp::bind(at).map_err(|error| of(error, BindError::Udp))?;
    let by_tcp = TcpListener::bind(at).await;
    Ok((by_udp, by_tcp.map_err(|error| of(error, BindError::Tcp))?))
}
