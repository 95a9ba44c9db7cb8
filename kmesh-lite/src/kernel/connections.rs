//! The connection table, read through mappings while programs write to it: nobody is stopped.

use super::bpf;
use super::rows::Rows;
use crate::model::Limits;
use kmesh_lite_common::{Bucket, Connection, PLACES, Stage};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::addr_of_mut;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A connection in the table, and SO_COOKIE of its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Living {
    pub cookie: u64,
    pub connection: Connection,
}

impl Living {
    /// Whether TCP is done with it, or the daemon has ended it. A program may hold its socket nevertheless.
    pub fn is_over(&self) -> bool {
        let stage = self.connection.stage;
        stage.has(Stage::CLOSED) || stage.has(Stage::KILLED)
    }
}

/// How many buckets a table has: with twice as many slots as there may be living connections, hardly
/// any meets a full bucket.
pub fn buckets(room: &Limits) -> u32 {
    let slots = room.connections.saturating_mul(2);
    slots.div_ceil(PLACES).next_power_of_two()
}

/// The maps of a connection table.
pub struct ConnectionTable {
    buckets: OwnedFd,
    connections: OwnedFd,
    /// How many buckets there are.
    count: u32,
}

impl ConnectionTable {
    pub fn new(buckets: BorrowedFd<'_>, connections: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self {
            count: bpf::map_rows(buckets)?,
            buckets: buckets.try_clone_to_owned()?,
            connections: connections.try_clone_to_owned()?,
        })
    }

    /// How many connections may be in the table.
    pub fn limit(&self) -> u32 {
        self.count.saturating_mul(PLACES) / 2
    }

    /// Makes connections forget ids: what they stood for is gone, and they may be handed out again.
    pub fn forget(&self, gone: &Gone) -> io::Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        let buckets: Rows<Bucket> = Rows::map(self.buckets.as_fd(), self.count)?;
        let rows: Rows<Connection> = Rows::map(self.connections.as_fd(), self.count * PLACES)?;
        for index in 0..self.count {
            let cookies = buckets.get(index)?.cookies;
            for place in (0..PLACES).filter(|place| cookies[*place as usize] != 0) {
                let row = rows.place(index * PLACES + place)?;
                // SAFETY: inside the mapping; no reference is made.
                unsafe {
                    clear(addr_of_mut!((*row).service), &gone.services);
                    clear(addr_of_mut!((*row).endpoint), &gone.endpoints);
                    clear(addr_of_mut!((*row).backend), &gone.backends);
                    clear(addr_of_mut!((*row).waypoint), &gone.waypoints);
                }
            }
        }
        Ok(())
    }

    /// Maps the table, to mark connections in it.
    pub fn marker(&self) -> io::Result<Marker> {
        Ok(Marker {
            buckets: Rows::map(self.buckets.as_fd(), self.count)?,
            rows: Rows::map(self.connections.as_fd(), self.count * PLACES)?,
            count: self.count,
        })
    }

    /// Notes at each living connection that it is one of the open ones of what `counted` says of it, as far as it is
    /// not yet. `count` is told before, and once more with `false` where nothing came of it: the connection has ended
    /// meanwhile.
    pub fn adopt(
        &self,
        counted: impl Fn(&Connection) -> Stage,
        mut count: impl FnMut(&Connection, Stage, bool) -> io::Result<()>,
    ) -> io::Result<()> {
        let rows: Rows<Connection> = Rows::map(self.connections.as_fd(), self.count * PLACES)?;
        let buckets: Rows<Bucket> = Rows::map(self.buckets.as_fd(), self.count)?;
        for index in 0..self.count {
            let cookies = buckets.get(index)?.cookies;
            for place in (0..PLACES as usize).filter(|place| cookies[*place] != 0) {
                let row = rows.place(index * PLACES + place as u32)?;
                // SAFETY: inside the mapping; no reference is made. The word is aligned, and programs change it by
                // single instructions.
                let word = unsafe { AtomicU64::from_ptr(addr_of_mut!((*row).owner).cast()) };
                for _ in 0..LOOKS {
                    let there = word.load(Ordering::SeqCst);
                    let connection = rows.get(index * PLACES + place as u32)?;
                    let stage = Connection::stage_of_word(there);
                    let is_its_own = connection.owner == cookies[place] as u32;
                    if !is_its_own || !is_open(stage) {
                        break;
                    }
                    let more = counted(&connection).without(stage);
                    if more == Stage::default() {
                        break;
                    }
                    count(&connection, more, true)?;
                    let noted = there | Connection::stage_in_word(more);
                    let swapped =
                        word.compare_exchange(there, noted, Ordering::SeqCst, Ordering::SeqCst);
                    if swapped.is_ok() {
                        break;
                    }
                    count(&connection, more, false)?;
                }
            }
        }
        Ok(())
    }

    /// All connections in the table. It is mapped for this call only: what is looked at counts as memory
    /// of this process.
    pub fn list(&self) -> io::Result<Vec<Living>> {
        let buckets: Rows<Bucket> = Rows::map(self.buckets.as_fd(), self.count)?;
        let rows: Rows<Connection> = Rows::map(self.connections.as_fd(), self.count * PLACES)?;
        let mut found = Vec::new();
        for index in 0..self.count {
            let cookies = buckets.get(index)?.cookies;
            for place in (0..PLACES as usize).filter(|place| cookies[*place] != 0) {
                let cookie = || Ok::<_, io::Error>(buckets.get(index)?.cookies[place]);
                let row = || rows.get(index * PLACES + place as u32);
                found.extend(settled(cookie, row)?);
            }
        }
        Ok(found)
    }
}

/// Whether a connection is neither over nor about to be forgotten.
fn is_open(stage: Stage) -> bool {
    !stage.has(Stage::CLOSED) && (!stage.has(Stage::RELEASED) || stage.has(Stage::FOLLOWED))
}

/// A table that is mapped, to set and take back stages of connections that were listed.
pub struct Marker {
    buckets: Rows<Bucket>,
    rows: Rows<Connection>,
    count: u32,
}

impl Marker {
    /// Sets a stage of a connection, if the table has it as it was listed.
    pub fn mark(&self, living: &Living, stage: Stage) -> io::Result<bool> {
        self.change(living, |before| before | Connection::stage_in_word(stage))
    }

    /// Takes a stage back.
    pub fn unmark(&self, living: &Living, stage: Stage) -> io::Result<bool> {
        self.change(living, |before| before & !Connection::stage_in_word(stage))
    }

    /// Changes the word that begins with the owner of the row, in one step: programs set stages in it.
    fn change(&self, living: &Living, change: impl Fn(u64) -> u64) -> io::Result<bool> {
        let index = Bucket::of(living.cookie, self.count);
        let cookies = self.buckets.get(index)?.cookies;
        let Some(place) = cookies.iter().position(|it| *it == living.cookie) else {
            return Ok(false);
        };
        let at = index * PLACES + place as u32;
        let there = self.rows.get(at)?;
        let listed = Connection {
            stage: there.stage,
            ..living.connection
        };
        if there != listed {
            return Ok(false);
        }
        // SAFETY: inside the mapping and aligned, the last word of a row; no reference is made.
        let word = unsafe {
            let row = self.rows.place(at)?;
            AtomicU64::from_ptr(addr_of_mut!((*row).owner).cast())
        };
        let changed = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |before| {
            (before as u32 == living.connection.owner).then(|| change(before))
        });
        Ok(changed.is_ok())
    }
}

/// Ids that stand for something else from now on, or for nothing.
#[derive(Debug, Default)]
pub struct Gone {
    pub services: BTreeSet<u32>,
    pub endpoints: BTreeSet<u32>,
    pub backends: BTreeSet<u32>,
    pub waypoints: BTreeSet<u32>,
}

impl Gone {
    pub fn is_empty(&self) -> bool {
        let sets = [
            &self.services,
            &self.endpoints,
            &self.backends,
            &self.waypoints,
        ];
        sets.iter().all(|set| set.is_empty())
    }
}

/// Makes a word of a row 0 if it is still one of `ids`. No connect chooses such an id any more, so a row
/// that has it is of a connection from before, whoever has the slot.
fn clear(word: *mut Option<impl Sized>, ids: &BTreeSet<u32>) {
    // SAFETY: a mapped word. An optional id is a u32, and the next connection may be writing it.
    let word = unsafe { AtomicU32::from_ptr(word.cast()) };
    let there = word.load(Ordering::SeqCst);
    if ids.contains(&there) {
        let _ = word.compare_exchange(there, 0, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// How often a row is looked at that is being written. A program takes a few nanoseconds for it, unless
/// it is interrupted.
const LOOKS: usize = 1_000;

/// The row of a slot and its cookie, when both stay what they are for as long as it takes to read them;
/// `None` where the slot is free, or never comes to rest.
fn settled(
    cookie: impl Fn() -> io::Result<u64>,
    row: impl Fn() -> io::Result<Connection>,
) -> io::Result<Option<Living>> {
    for _ in 0..LOOKS {
        let (before, connection, again, after) = (cookie()?, row()?, row()?, cookie()?);
        if after == 0 {
            return Ok(None);
        }
        let is_its_own = connection.owner == after as u32;
        if before == after && connection == again && is_its_own {
            return Ok(Some(Living {
                cookie: after,
                connection,
            }));
        }
        std::hint::spin_loop();
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kmesh_lite_common::{Address, Port, Protocol};
    use std::cell::Cell;
    use std::net::{IpAddr, Ipv4Addr};

    fn row(owner: u32, process: u32) -> Connection {
        Connection {
            address: Address::from(IpAddr::from(Ipv4Addr::LOCALHOST)),
            since: 0,
            cgroup: 1,
            service: None,
            endpoint: None,
            backend: None,
            waypoint: None,
            process,
            user: 0,
            owner,
            port: Port::new(80),
            protocol: Protocol::Tcp,
            stage: Stage::default(),
        }
    }

    #[test]
    fn a_row_that_is_being_written_is_read_when_it_is_whole() {
        let looks = Cell::new(0);
        let being_written = || {
            looks.set(looks.get() + 1);
            Ok(match looks.get() {
                // The row of the socket before, then one of which the first half is new.
                1 | 2 => row(6, 1),
                3 => row(7, 1),
                _ => row(7, 2),
            })
        };
        let listed = settled(|| Ok(7), being_written).unwrap().unwrap();
        assert_eq!((listed.cookie, listed.connection), (7, row(7, 2)));
    }

    #[test]
    fn a_slot_that_is_given_back_meanwhile_is_free() {
        let looks = Cell::new(0);
        let cookie = || {
            looks.set(looks.get() + 1);
            Ok(if looks.get() == 1 { 7 } else { 0 })
        };
        assert_eq!(settled(cookie, || Ok(row(7, 1))).unwrap(), None);
    }

    #[test]
    fn a_table_has_two_slots_for_each_connection_that_may_live() {
        for connections in [1, 2, 3, 100, 65_536, 100_000, Limits::MAX] {
            let limits = Limits {
                connections,
                ..Limits::default()
            };
            let buckets = buckets(&limits);
            assert!(buckets.is_power_of_two());
            assert!(buckets * PLACES / 2 >= connections, "{connections}");
        }
        assert_eq!(buckets(&Limits::default()) * PLACES, 131_072);
    }
}
