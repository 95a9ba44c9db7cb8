//! Which target is probed next, and when.

use super::targets::Id;
use crate::api::{Check, Probe};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use tokio::time::Instant;

/// Probes that need the same thing, of which there is only so much at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A descriptor, and next to no memory.
    Connects,
    /// A descriptor and buffers.
    Exchanges,
    /// A process.
    Commands,
}

impl Lane {
    pub const ALL: [Self; 3] = [Self::Connects, Self::Exchanges, Self::Commands];

    pub fn of(check: &Check) -> Self {
        match check.probe {
            Probe::Tcp => Self::Connects,
            Probe::Http(_) | Probe::Grpc(_) => Self::Exchanges,
            Probe::Command(_) => Self::Commands,
        }
    }
}

/// How many probes of each lane may be under way at a time.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub connects: usize,
    pub exchanges: usize,
    pub commands: usize,
}

/// Descriptors that are not for probes: listeners, scrapers, and the control socket.
const OTHERS: u64 = 256;
/// Commands at a time; each is several descriptors and at least one process.
const COMMANDS: usize = 8;
/// Exchanges at a time: some 160 MB if all of them are under way over TLS.
const EXCHANGES: u64 = 4_000;
/// Connects at a time: more than a check of 10,000 targets ever needs.
const CONNECTS: u64 = 12_000;

impl Room {
    /// What it takes to have all of it.
    pub const DESCRIPTORS: u64 = OTHERS + EXCHANGES + CONNECTS;

    /// For a process that may have so many descriptors.
    pub fn with(descriptors: u64) -> Self {
        let free = descriptors.saturating_sub(OTHERS).max(16);
        let exchanges = (free / 4).min(EXCHANGES);
        let connects = (free - exchanges).min(CONNECTS);
        let count = |it| usize::try_from(it).unwrap_or(usize::MAX);
        Self {
            connects: count(connects),
            exchanges: count(exchanges),
            commands: COMMANDS,
        }
    }

    pub fn of(&self, lane: Lane) -> usize {
        match lane {
            Lane::Connects => self.connects,
            Lane::Exchanges => self.exchanges,
            Lane::Commands => self.commands,
        }
    }
}

/// Every target is in it once, or is being probed.
pub struct Schedule {
    /// By the time at which they are due.
    due: BinaryHeap<Reverse<(Instant, Id)>>,
    lanes: [Queue; 3],
}

/// Targets that are due and have to wait, first come, first served.
struct Queue {
    free: usize,
    waiting: VecDeque<(Instant, Id)>,
}

impl Schedule {
    pub fn new(room: Room) -> Self {
        Self {
            due: BinaryHeap::new(),
            lanes: Lane::ALL.map(|lane| Queue {
                free: room.of(lane),
                waiting: VecDeque::new(),
            }),
        }
    }

    pub fn add(&mut self, at: Instant, id: Id) {
        self.due.push(Reverse((at, id)));
    }

    /// When there is something to do, as long as no probe ends.
    pub fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// A target whose time has come, and when that was. The place that it takes is given back by `leave`.
    pub fn take(
        &mut self,
        now: Instant,
        lane: impl Fn(Id) -> Option<Lane>,
    ) -> Option<(Instant, Id)> {
        while let Some(Reverse((at, id))) = self.due.peek().copied()
            && at <= now
        {
            self.due.pop();
            // Without a lane it is no target any more.
            if let Some(lane) = lane(id) {
                self.queue(lane).waiting.push_back((at, id));
            }
        }
        for queue in &mut self.lanes {
            while queue.free > 0
                && let Some((at, id)) = queue.waiting.pop_front()
            {
                if lane(id).is_some() {
                    queue.free -= 1;
                    return Some((at, id));
                }
            }
        }
        None
    }

    /// A probe is over.
    pub fn leave(&mut self, lane: Lane) {
        self.queue(lane).free += 1;
    }

    /// Forgets targets that are none any more.
    pub fn retain(&mut self, is_target: impl Fn(Id) -> bool) {
        self.due.retain(|Reverse((_, id))| is_target(*id));
        for queue in &mut self.lanes {
            queue.waiting.retain(|(_, id)| is_target(*id));
        }
    }

    fn queue(&mut self, lane: Lane) -> &mut Queue {
        &mut self.lanes[lane as usize]
    }
}
