//! Who is asked for names that are not ours, and how each of them gets on.

use crate::agent::names::{ResolvConf, Servers};
use crate::api::{Serving, UpstreamReport};
use log::{info, warn};
use nix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The host's resolv.conf is looked at no more often.
const LOOK: Duration = Duration::from_secs(1);

/// What is said of an address that we listen at.
const OURSELVES: &str =
    "this is the agent itself, which is not asked; `[dns] upstreams` names others";

#[derive(Default)]
struct State {
    error: Option<String>,
    since: Option<u64>,
    sent: u64,
    failed: u64,
}

pub struct Upstreams {
    conf: ResolvConf,
    looked: Option<Instant>,
    /// As they were named.
    named: Arc<Servers>,
    /// Without ourselves.
    asked: Arc<Servers>,
    states: BTreeMap<SocketAddr, State>,
}

impl Upstreams {
    /// `conf` says whom the host asks.
    pub fn new(conf: PathBuf) -> Self {
        let nobody = Arc::new(Servers::of(&[]));
        Self {
            conf: ResolvConf::new(conf),
            looked: None,
            named: Arc::clone(&nobody),
            asked: nobody,
            states: BTreeMap::new(),
        }
    }

    /// Others may be named now.
    pub fn look_again(&mut self) {
        self.looked = None;
    }

    /// Whether there is nobody to ask.
    pub fn asks_nobody(&self) -> bool {
        self.asked.all.is_empty()
    }

    /// Who is to be asked, and whether that is another one than before.
    pub fn servers(&mut self, serving: &Serving) -> (Arc<Servers>, bool) {
        let is_fresh = |at: Instant| at.elapsed() < LOOK;
        if self.looked.is_some_and(is_fresh) {
            return (Arc::clone(&self.asked), false);
        }
        let has_looked = self.looked.replace(Instant::now()).is_some();
        let named = self.conf.servers(&serving.upstreams);
        if has_looked && Arc::ptr_eq(&named, &self.named) {
            return (Arc::clone(&self.asked), false);
        }
        let (ours, others): (Vec<_>, Vec<_>) =
            (named.all.iter().copied()).partition(|at| is_ours(*at, &serving.listen));
        if *self.asked.all != others {
            let shown: Vec<_> = others.iter().map(ToString::to_string).collect();
            match shown.is_empty() {
                true => warn!(
                    "other names are asked of nobody: `[dns] upstreams` names nobody but this agent"
                ),
                false => info!("other names are asked of {}", shown.join(", ")),
            }
            self.asked = Arc::new(Servers::of(&others));
        }
        self.states.retain(|at, _| named.all.contains(at));
        for at in &named.all {
            let state = self.states.entry(*at).or_default();
            let is_ours = ours.contains(at);
            if is_ours != (state.error.as_deref() == Some(OURSELVES)) {
                *state = State {
                    error: is_ours.then(|| OURSELVES.to_owned()),
                    since: is_ours.then(now),
                    ..State::default()
                };
            }
        }
        self.named = named;
        (Arc::clone(&self.asked), true)
    }

    /// What became of one question. Tells whether the upstream is other than before.
    pub fn heard(&mut self, at: SocketAddr, is_good: bool, error: Option<String>) -> bool {
        let Some(state) = self.states.get_mut(&at) else {
            return false;
        };
        state.sent += 1;
        state.failed += u64::from(!is_good);
        let is_news = state.since.is_none() || state.error != error;
        if is_news {
            let was_in_trouble = state.error.is_some();
            if was_in_trouble != error.is_some() || state.since.is_none() {
                state.since = Some(now());
            }
            match &error {
                Some(error) if !was_in_trouble => warn!("upstream {at}: {error}"),
                None if was_in_trouble => info!("upstream {at} answers again"),
                _ => {}
            }
            state.error = error;
        }
        is_news
    }

    pub fn tell(&self) -> Vec<UpstreamReport> {
        let tell = |at: &SocketAddr| {
            let state = self.states.get(at)?;
            Some(UpstreamReport {
                address: *at,
                error: state.error.clone(),
                since_ns: state.since,
                sent: state.sent,
                failed: state.failed,
            })
        };
        self.named.all.iter().filter_map(tell).collect()
    }
}

/// Whether whoever is asked there is we.
fn is_ours(at: SocketAddr, listen: &[SocketAddr]) -> bool {
    listen.iter().any(|own| {
        let ip = own.ip();
        own.port() == at.port()
            && (ip == at.ip() || ip.is_unspecified() && UdpSocket::bind((at.ip(), 0)).is_ok())
    })
}

/// By CLOCK_MONOTONIC, in nanoseconds.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}
