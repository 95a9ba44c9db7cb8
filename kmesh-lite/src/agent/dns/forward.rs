//! Questions about names that are not ours: from what is remembered, or else of upstreams. The same question is asked once, for
//! however many clients: so a question that comes back to us waits for itself, and goes round no further.

use super::cache::{Cache, Key};
use super::exchange::{ExchangeError, exchange};
use super::pulse::Pulse;
use super::upstreams::Upstreams;
use crate::agent::names::Servers;
use crate::api::{QueryOutcome, Serving, UpstreamOrder, UpstreamReport};
use crate::dns::{Asked, ForeignAnswer};
use log::{info, warn};
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::sleep;

/// Questions under way at a time; each has a descriptor.
const MOST: usize = 1_000;
/// Clients that wait for the same one.
const WAITING: usize = 1_000;

/// How often it is looked whether some upstream answers, where that matters.
const TICK: Duration = Duration::from_millis(200);

/// What came of a question: the answer, and who gave it.
type Outcome = Option<(Rc<ForeignAnswer>, SocketAddr)>;
/// The same, on its way.
type Heard = Option<(ForeignAnswer, SocketAddr)>;
/// Who knows names of the mesh by their keys.
pub type IsOurs = Rc<dyn Fn(&[u8]) -> bool>;

pub struct Forwarder {
    serving: RefCell<Option<Rc<Serving>>>,
    cache: RefCell<Cache>,
    upstreams: RefCell<Upstreams>,
    flights: RefCell<HashMap<Key, Vec<oneshot::Sender<Outcome>>>>,
    is_ours: IsOurs,
    pulse: Rc<Pulse>,
    /// Something is to be told.
    news: Arc<Notify>,
}

impl Forwarder {
    pub fn new(conf: PathBuf, is_ours: IsOurs, news: Arc<Notify>) -> Self {
        Self {
            serving: RefCell::default(),
            cache: RefCell::new(Cache::new(0)),
            upstreams: RefCell::new(Upstreams::new(conf)),
            flights: RefCell::default(),
            is_ours,
            pulse: Rc::default(),
            news,
        }
    }

    pub fn serve(self: &Rc<Self>, serving: Option<&Rc<Serving>>) {
        let room = serving.map_or(0, |serving| serving.cache);
        self.cache.borrow_mut().resize(room);
        *self.serving.borrow_mut() = serving.cloned();
        self.upstreams.borrow_mut().look_again();
        if let Some(serving) = serving {
            self.servers(serving);
            if serving.capture && self.pulse.begin() {
                spawn_local(Rc::clone(self).watch());
            }
        }
    }

    /// Whether questions can be passed on, as far as that is known.
    pub fn forwards(&self) -> bool {
        self.pulse.beats() && !self.upstreams.borrow().asks_nobody()
    }

    /// Looks after upstreams as long as questions are captured: what hangs is found out by asking once more, and so is what
    /// answers again.
    async fn watch(self: Rc<Self>) {
        let mut did = false;
        loop {
            let serving = self.serving.borrow().clone();
            let Some(serving) = serving.filter(|serving| serving.capture) else {
                break;
            };
            let servers = self.servers(&serving);
            if self.pulse.falters() {
                for at in &servers.all {
                    self.pulse.probe(*at, Rc::clone(&self.is_ours));
                }
            }
            let does = self.forwards();
            if does != did {
                did = does;
                match does {
                    true => info!("an upstream answers: questions to other servers are captured"),
                    false => {
                        warn!("no upstream answers: questions to other servers are left alone")
                    }
                }
                self.news.notify_one();
            }
            sleep(TICK).await;
        }
        self.pulse.end();
    }

    /// Names that others answered may be ours now.
    pub fn forget(&self) {
        self.cache.borrow_mut().clear();
    }

    pub fn remembered(&self) -> usize {
        self.cache.borrow().len()
    }

    /// Also looks whether others are asked by now.
    pub fn tell(&self) -> Vec<UpstreamReport> {
        let serving = self.serving.borrow().clone();
        let Some(serving) = serving else {
            return Vec::new();
        };
        self.servers(&serving);
        self.upstreams.borrow().tell()
    }

    fn servers(&self, serving: &Serving) -> Arc<Servers> {
        let (servers, is_news) = self.upstreams.borrow_mut().servers(serving);
        if is_news {
            // What others said may not be what these say.
            self.forget();
            self.news.notify_one();
        }
        servers
    }

    /// The answer that is remembered.
    pub fn recall(&self, asked: &Asked) -> Option<Vec<u8>> {
        let (answer, age) = self.cache.borrow_mut().get(&Key::of(asked))?;
        Some(answer.tell(asked, age))
    }

    /// The answer of an upstream, and which one that is.
    pub async fn forward(self: Rc<Self>, asked: &Asked) -> (Outcome, QueryOutcome) {
        let Some(serving) = self.serving.borrow().clone() else {
            return (None, QueryOutcome::Failed);
        };
        let key = Key::of(asked);
        let (tell, told) = oneshot::channel();
        {
            let mut flights = self.flights.borrow_mut();
            let is_full = flights.len() >= MOST;
            match flights.entry(key.clone()) {
                Entry::Occupied(waiting) if waiting.get().len() >= WAITING => {
                    return (None, QueryOutcome::Dropped);
                }
                Entry::Occupied(mut waiting) => waiting.get_mut().push(tell),
                Entry::Vacant(_) if is_full => return (None, QueryOutcome::Dropped),
                Entry::Vacant(place) => {
                    place.insert(vec![tell]);
                    // It goes on when the client does not wait any more: another one may.
                    spawn_local(Rc::clone(&self).fly(serving, asked.clone(), key));
                }
            }
        }
        match told.await.ok().flatten() {
            Some(answer) => (Some(answer), QueryOutcome::Forwarded),
            None => (None, QueryOutcome::Failed),
        }
    }

    async fn fly(self: Rc<Self>, serving: Rc<Serving>, asked: Asked, key: Key) {
        let servers = self.servers(&serving);
        let asked = Rc::new(asked);
        let answer = match serving.order {
            UpstreamOrder::InOrder => self.in_order(&serving, &servers, &asked).await,
            UpstreamOrder::Race => Rc::clone(&self).race(&serving, &servers, &asked).await,
        };
        let answer = answer.map(|(answer, from)| (Rc::new(answer), from));
        if let Some((answer, _)) = &answer {
            self.cache.borrow_mut().put(key.clone(), answer);
        }
        let waiting = self.flights.borrow_mut().remove(&key);
        for client in waiting.into_iter().flatten() {
            // Who does not wait any more.
            let _ = client.send(answer.clone());
        }
    }

    /// One after the other. The last word counts that was said at all, if none is good.
    async fn in_order(&self, serving: &Serving, servers: &Servers, asked: &Asked) -> Heard {
        let mut last = None;
        // Who has spoken is not asked once more.
        let mut spoken = Vec::new();
        for _ in 0..serving.attempts {
            for (place, at) in servers.in_order() {
                if spoken.contains(&at) {
                    continue;
                }
                let answer = self.ask(serving, servers, place, at, asked).await;
                match answer {
                    Some(answer) if answer.trouble().is_none() => return Some((answer, at)),
                    Some(answer) => {
                        spoken.push(at);
                        last = Some((answer, at));
                    }
                    None => {}
                }
            }
        }
        last
    }

    /// All at once.
    async fn race(
        self: Rc<Self>,
        serving: &Rc<Serving>,
        servers: &Arc<Servers>,
        asked: &Rc<Asked>,
    ) -> Heard {
        let mut last = None;
        for _ in 0..serving.attempts {
            let mut runners = JoinSet::new();
            for (place, at) in servers.all.iter().copied().enumerate() {
                let (this, serving) = (Rc::clone(&self), Rc::clone(serving));
                let (servers, asked) = (Arc::clone(servers), Rc::clone(asked));
                runners.spawn_local(async move {
                    let answer = this.ask(&serving, &servers, place, at, &asked).await;
                    answer.map(|answer| (answer, at))
                });
            }
            while let Some(answer) = runners.join_next().await {
                match answer.ok().flatten() {
                    Some((answer, at)) if answer.trouble().is_none() => {
                        // The others run on, so that it is known how they are.
                        runners.detach_all();
                        return Some((answer, at));
                    }
                    Some(answer) => last = Some(answer),
                    None => {}
                }
            }
            if last.is_some() {
                break;
            }
        }
        last
    }

    async fn ask(
        &self,
        serving: &Serving,
        servers: &Servers,
        place: usize,
        at: SocketAddr,
        asked: &Asked,
    ) -> Option<ForeignAnswer> {
        let patience = Duration::from_millis(serving.timeout_ms);
        self.pulse.asks();
        let answer = exchange(at, asked, patience, &*self.is_ours).await;
        let is_silent = matches!(
            answer,
            Err(ExchangeError::Silent | ExchangeError::Socket(_))
        );
        servers.heard(place, !is_silent);
        if !is_silent {
            self.pulse.answers();
        }
        let is_good = matches!(&answer, Ok(answer) if answer.trouble().is_none());
        // That it cannot say something of one name is no trouble of its own.
        let error = answer.as_ref().err().map(ToString::to_string);
        let is_news = self.upstreams.borrow_mut().heard(at, is_good, error);
        if is_news {
            self.news.notify_one();
        }
        answer.ok()
    }
}
