//! How much of the daemon each user may take.
//!
//! Root and the daemon's own user have slots and turns of their own, and so has the agent, so that no
//! reader can keep them out. A slot is a connection; a turn is the right to have an answer made and read.

use super::peer::{Peer, Right};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections of root and the daemon's own user.
const OWN: usize = 16;
/// Connections of the agent: its scrapes, and those on which it waits for a change.
const AGENT: usize = 14;
/// Scrapes that are answered for it at a time.
pub const SCRAPES: usize = 4;
/// Connections of all other users together.
const OTHERS: usize = 24;
/// Connections of one of them.
const EACH: usize = 8;
/// Short answers that are made for other users at a time: status and explain.
const SHORT: usize = 2;

/// The connections that there may be.
pub struct Slots {
    own: Arc<Semaphore>,
    agent: Arc<Semaphore>,
    others: Arc<Semaphore>,
    each: BTreeMap<u32, Arc<Semaphore>>,
}

/// The place of one connection, until it is dropped.
pub struct Slot {
    _of_all: OwnedSemaphorePermit,
    _of_user: Option<OwnedSemaphorePermit>,
}

impl Slots {
    pub fn new() -> Self {
        Self {
            own: Arc::new(Semaphore::new(OWN)),
            agent: Arc::new(Semaphore::new(AGENT)),
            others: Arc::new(Semaphore::new(OTHERS)),
            each: BTreeMap::new(),
        }
    }

    /// A place for a connection of this peer; none if all that it may take are taken.
    pub fn take(&mut self, peer: &Peer) -> Option<Slot> {
        let apart = match peer.right {
            Right::Change => Some(&self.own),
            Right::Report => Some(&self.agent),
            Right::Read | Right::None => None,
        };
        if let Some(apart) = apart {
            let of_all = Arc::clone(apart).try_acquire_owned().ok()?;
            return Some(Slot {
                _of_all: of_all,
                _of_user: None,
            });
        }
        self.each.retain(|_, user| user.available_permits() < EACH);
        let user = self.each.entry(peer.caller.uid);
        let user = user.or_insert_with(|| Arc::new(Semaphore::new(EACH)));
        let of_user = Arc::clone(user).try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.others).try_acquire_owned().ok()?;
        Some(Slot {
            _of_all: of_all,
            _of_user: Some(of_user),
        })
    }
}

/// The answers that are made at a time.
#[derive(Clone)]
pub struct Turns {
    own_long: Arc<Semaphore>,
    agent: Arc<Semaphore>,
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

/// How long an answer may get.
#[derive(Clone, Copy)]
pub enum Length {
    Short,
    /// Plans, which bring whole files, and dumps.
    Long,
}

/// The right to have an answer made, until it has been read.
pub struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    pub fn new() -> Self {
        Self {
            own_long: Arc::new(Semaphore::new(1)),
            agent: Arc::new(Semaphore::new(SCRAPES)),
            short: Arc::new(Semaphore::new(SHORT)),
            long: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits for the turn of this peer.
    pub async fn take(&self, peer: &Peer, length: Length) -> Turn {
        let turns = match (peer.right, length) {
            (Right::Change, Length::Short) => return Turn { _permit: None },
            (Right::Change, Length::Long) => &self.own_long,
            (Right::Report, _) => &self.agent,
            (Right::None | Right::Read, Length::Short) => &self.short,
            (Right::None | Right::Read, Length::Long) => &self.long,
        };
        Turn {
            // The semaphores are never closed.
            _permit: Arc::clone(turns).acquire_owned().await.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Caller;

    fn peer(uid: u32, right: Right) -> Peer {
        Peer {
            caller: Caller { uid, pid: None },
            right,
        }
    }

    #[test]
    fn a_user_takes_its_own_slots_and_never_those_of_root() {
        let mut slots = Slots::new();
        let mut take = |uid, right, most| {
            let all: Vec<_> = (0..most + 1)
                .map_while(|_| slots.take(&peer(uid, right)))
                .collect();
            all
        };
        let one = take(1000, Right::Read, OTHERS);
        assert_eq!(one.len(), EACH);
        let two = take(1001, Right::Read, OTHERS);
        let three = take(1002, Right::None, OTHERS);
        assert_eq!((two.len(), three.len()), (EACH, EACH));
        assert_eq!(take(1003, Right::Read, OTHERS).len(), 0);
        assert_eq!(take(0, Right::Change, OWN).len(), OWN);
        assert_eq!(take(1004, Right::Report, AGENT).len(), AGENT);
        drop(one);
        assert_eq!(take(1003, Right::Read, OTHERS).len(), EACH);
    }
}
