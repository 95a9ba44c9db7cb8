//! Addresses at which the agent listens: as the daemon says, as far as the host allows.

use super::connections;
use super::pages::Pages;
use log::{info, warn};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Before an address that could not be had is tried again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Why nobody listens at an address; none where the agent does.
pub type States = BTreeMap<SocketAddr, Option<String>>;

/// The listeners that there should be, each with a task of its own.
pub struct Listeners {
    running: BTreeMap<SocketAddr, JoinHandle<()>>,
    states: watch::Sender<States>,
    pages: Pages,
}

impl Listeners {
    pub fn new(pages: Pages) -> Self {
        Self {
            running: BTreeMap::new(),
            states: watch::Sender::default(),
            pages,
        }
    }

    /// How each of them is, now and later.
    pub fn states(&self) -> watch::Receiver<States> {
        self.states.subscribe()
    }

    /// Ends listeners that are not wanted, and begins those that are not there.
    pub async fn follow(&mut self, wanted: &[SocketAddr]) {
        let stale: Vec<_> = self.running.keys().copied().collect();
        for at in stale.into_iter().filter(|at| !wanted.contains(at)) {
            if let Some(task) = self.running.remove(&at) {
                task.abort();
                // Its address is free after that, for one that contains it or lies in it.
                let _ = task.await;
                self.states.send_if_modified(|it| it.remove(&at).is_some());
                info!("metrics are served at {at} no more");
            }
        }
        for at in wanted {
            let (states, pages) = (self.states.clone(), self.pages.clone());
            let begin = || tokio::spawn(listen(*at, states, pages));
            self.running.entry(*at).or_insert_with(begin);
        }
    }
}

/// Listens as soon as that is possible, and then for ever.
async fn listen(at: SocketAddr, states: watch::Sender<States>, pages: Pages) {
    let mut pause = PAUSES.0;
    let listener = loop {
        let error = match TcpListener::bind(at).await {
            Ok(listener) => break listener,
            Err(error) => error.to_string(),
        };
        if tell(&states, at, Some(&error)) {
            warn!("cannot serve metrics at {at}, which is tried again: {error}");
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    };
    info!("metrics are served at http://{at}/metrics");
    tell(&states, at, None);
    connections::accept(listener, pages).await;
}

/// Tells whether that is new.
fn tell(states: &watch::Sender<States>, at: SocketAddr, error: Option<&str>) -> bool {
    let state = error.map(str::to_owned);
    states.send_if_modified(|states| states.insert(at, state.clone()) != Some(state))
}
