//! Whether upstreams answer at all. Captured questions depend on it: they would be answered by others otherwise.
//!
//! That one question waits says little: some names take long. So when nothing has been answered for a while, each upstream is
//! asked what it knows by itself, and only if none says anything do questions go elsewhere.

use super::exchange::{ExchangeError, exchange};
use super::forward::IsOurs;
use crate::api::Transport;
use crate::dns::Asked;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::spawn_local;

/// When questions have waited for so long, upstreams are probed.
const SUSPICIOUS: Duration = Duration::from_millis(700);
/// After that nobody is expected to answer. With the way to the daemon this stays below three seconds.
const HOPELESS: Duration = Duration::from_millis(1_700);
/// For the answer to a probe, and between two.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Pulse {
    is_watched: Cell<bool>,
    /// Whether somebody ever answered.
    has_answered: Cell<bool>,
    /// Since when there are questions, and no answer to any.
    waiting: Cell<Option<Instant>>,
    /// When upstreams were probed last.
    probed: Cell<Option<Instant>>,
}

impl Pulse {
    /// Whether nobody watched it before. From now on somebody does.
    pub fn begin(&self) -> bool {
        !self.is_watched.replace(true)
    }

    pub fn end(&self) {
        self.is_watched.set(false);
        self.has_answered.set(false);
    }

    /// Somebody is asked.
    pub fn asks(&self) {
        self.waiting
            .set(self.waiting.get().or_else(|| Some(Instant::now())));
    }

    /// Somebody answered, whatever.
    pub fn answers(&self) {
        self.has_answered.set(true);
        self.waiting.set(None);
    }

    fn waits(&self, at_least: Duration) -> bool {
        let waiting = self.waiting.get();
        waiting.is_some_and(|since| since.elapsed() >= at_least)
    }

    pub fn beats(&self) -> bool {
        self.has_answered.get() && !self.waits(HOPELESS)
    }

    /// Whether it is time to probe, which is done then.
    pub fn falters(&self) -> bool {
        let is_over = |at: Instant| at.elapsed() >= PATIENCE;
        let is_due = (!self.has_answered.get() || self.waits(SUSPICIOUS))
            && self.probed.get().is_none_or(is_over);
        if is_due {
            self.probed.set(Some(Instant::now()));
        }
        is_due
    }

    /// Asks an upstream for what every resolver knows.
    pub fn probe(self: &Rc<Self>, at: SocketAddr, is_ours: IsOurs) {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::root(), RecordType::NS));
        let Some(asked) = Asked::read(message, Transport::Udp) else {
            return;
        };
        let this = Rc::clone(self);
        spawn_local(async move {
            let answer = exchange(at, &asked, PATIENCE, &*is_ours).await;
            let is_silent = matches!(
                answer,
                Err(ExchangeError::Silent | ExchangeError::Socket(_))
            );
            if !is_silent {
                this.answers();
            }
        });
    }
}
