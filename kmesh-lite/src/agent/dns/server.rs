//! What answers, whichever way a question comes.

use super::counts::Counts;
use super::forward::Forwarder;
use super::watch::{Watch, Witnessed};
use crate::agent::dice::Dice;
use crate::api::{DnsReport, QueryKind, QueryOutcome, Serving, Transport, Zone};
use crate::dns::{self, Asked, Reply, Terms, Tree};
use crate::memory::give_back;
use hickory_proto::op::ResponseCode;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

/// What is said to a question.
pub enum Said {
    Bytes(Vec<u8>),
    /// What others say, for which has to be waited.
    Later(Later),
    Nothing,
}

/// A question that others are asked.
pub struct Later {
    asked: Box<Asked>,
    watched: Option<Box<Witnessed>>,
}

pub struct Server {
    /// None before the daemon has told the names.
    tree: Rc<RefCell<Option<Box<Tree>>>>,
    domain: RefCell<String>,
    terms: Cell<Terms>,
    dice: RefCell<Dice>,
    counts: Counts,
    /// Whoever wants to know each question.
    watch: RefCell<Option<Watch>>,
    forwarder: Rc<Forwarder>,
    /// Something is to be told.
    news: Arc<Notify>,
}

impl Server {
    /// `conf` says whom the host asks.
    pub fn new(conf: PathBuf, news: Arc<Notify>) -> Rc<Self> {
        let tree = Rc::new(RefCell::new(None::<Box<Tree>>));
        let known = Rc::clone(&tree);
        let is_ours = move |key: &[u8]| {
            known
                .borrow()
                .as_ref()
                .is_some_and(|tree| tree.is_ours(key))
        };
        Rc::new(Self {
            tree,
            domain: RefCell::default(),
            terms: Cell::new(Terms {
                ttl: 0,
                negative_ttl: 0,
            }),
            dice: RefCell::new(Dice::new()),
            counts: Counts::default(),
            watch: RefCell::default(),
            forwarder: Rc::new(Forwarder::new(conf, Rc::new(is_ours), Arc::clone(&news))),
            news,
        })
    }

    pub fn serve(&self, serving: Option<&Rc<Serving>>) {
        self.forwarder.serve(serving);
        if let Some(serving) = serving {
            let seconds = |ms: u64| u32::try_from(ms / 1_000).unwrap_or(u32::MAX);
            self.terms.set(Terms {
                ttl: seconds(serving.ttl_ms),
                negative_ttl: seconds(serving.negative_ttl_ms),
            });
            self.domain.borrow_mut().clone_from(&serving.domain);
            if let Some(tree) = &mut *self.tree.borrow_mut() {
                tree.belong_to(&serving.domain);
            }
        }
    }

    /// From now on these are the names. Between two questions, so no client sees a part of them.
    pub fn replace(&self, mut tree: Box<Tree>) {
        tree.belong_to(&self.domain.borrow());
        let before = self.tree.borrow_mut().replace(tree);
        self.forwarder.forget();
        // There may be a million names, which takes a while, and nobody waits for it.
        spawn_blocking(move || {
            if let Some(before) = before {
                let bytes = before.bytes();
                drop(before);
                give_back(bytes);
            }
        });
        self.news.notify_one();
    }

    pub fn change(&self, zone: Zone) {
        if let Some(tree) = &mut *self.tree.borrow_mut() {
            tree.change(zone);
        }
        self.news.notify_one();
    }

    pub fn knows_names(&self) -> bool {
        self.tree.borrow().is_some()
    }

    /// From now on questions are told there, or nowhere.
    pub fn watch(&self, watch: Option<Watch>) {
        *self.watch.borrow_mut() = watch;
    }

    /// Something is to be told.
    pub fn has_news(&self) {
        self.news.notify_one();
    }

    /// Answers from memory, if that is possible. `client` says who asks, which only those want to know who watch.
    pub fn answer(
        &self,
        bytes: &[u8],
        transport: Transport,
        client: impl FnOnce() -> Option<SocketAddr>,
    ) -> Said {
        let tree = self.tree.borrow();
        let Some(tree) = &*tree else {
            return Said::Nothing;
        };
        let is_watched = self.watch.borrow().is_some();
        let watched = is_watched.then(|| Witnessed::new(bytes, transport, client()));
        let mut dice = self.dice.borrow_mut();
        let mut draw = |below| dice.index(below);
        match dns::answer(tree, self.terms.get(), bytes, transport, &mut draw) {
            Reply::Answer {
                bytes,
                kind,
                outcome,
            } => {
                self.counts.add(transport, kind, outcome);
                self.tell(watched, outcome, None);
                Said::Bytes(bytes)
            }
            Reply::Forward(asked) => match self.forwarder.recall(&asked) {
                Some(bytes) => {
                    self.count(&asked, QueryOutcome::Cached);
                    self.tell(watched, QueryOutcome::Cached, Some((&bytes, None)));
                    Said::Bytes(bytes)
                }
                None => Said::Later(Later { asked, watched }),
            },
            Reply::Silence => {
                let (kind, outcome) = (QueryKind::Other, QueryOutcome::Malformed);
                self.counts.add(transport, kind, outcome);
                self.tell(watched, outcome, None);
                Said::Nothing
            }
        }
    }

    /// What others say, or that nobody says anything.
    pub async fn ask_others(&self, Later { asked, watched }: Later) -> Vec<u8> {
        let (answer, outcome) = Rc::clone(&self.forwarder).forward(&asked).await;
        self.count(&asked, outcome);
        match answer {
            Some((answer, from)) => {
                let bytes = answer.tell(&asked, 0);
                self.tell(watched, outcome, Some((&bytes, Some(from))));
                bytes
            }
            None => {
                self.tell(watched, outcome, None);
                asked.refusal(ResponseCode::ServFail)
            }
        }
    }

    fn tell(
        &self,
        watched: Option<Box<Witnessed>>,
        outcome: QueryOutcome,
        passed: Option<(&[u8], Option<SocketAddr>)>,
    ) {
        if let Some(watched) = watched
            && let Some(watch) = &*self.watch.borrow()
        {
            watch.tell(*watched, outcome, passed);
        }
    }

    fn count(&self, asked: &Asked, outcome: QueryOutcome) {
        self.counts
            .add(asked.transport, asked.query_kind(), outcome);
    }

    /// How things are, but for listeners.
    pub fn report(&self) -> DnsReport {
        DnsReport {
            listeners: Vec::new(),
            zone: self.tree.borrow().as_ref().map(|tree| tree.revision()),
            upstreams: self.forwarder.tell(),
            queries: self.counts.tell(),
            cached: self.forwarder.remembered() as u64,
            forwards: self.forwarder.forwards(),
        }
    }
}
