//! The slots of the connection table: which one a socket has, and how it gets and loses it.
//!
//! A slot is a socket's while its cookie stands in the bucket. Only programs that run for the socket
//! write there: connect() takes a slot, another connect() or the end of the socket gives it back.
//! Cookies of buckets and rows are in maps of their own: eight sockets in sequence share a line of
//! cookies, so a program that only asks whether a socket has a slot finds that line in the cache.

use crate::atomic::{add_bits, replace};
use crate::open;
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use core::arch::asm;
use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};
use kmesh_lite_common::{Bucket, Connection, Life, PLACES, Stage};

#[map]
static BUCKETS: Array<Bucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static CONNECTIONS: Array<Connection> = Array::with_max_entries(PLACES, BPF_F_MMAPABLE);
#[map]
static LIVES: Array<Life> = Array::with_max_entries(PLACES, BPF_F_MMAPABLE);

/// Set by the loader: how many buckets there are, a power of two; 0 where the kernel lacks something
/// that the table needs.
#[used]
#[unsafe(no_mangle)]
static BUCKET_COUNT: u32 = 0;

const FREE: u64 = 0;

/// Whether there is a table.
#[inline(always)]
pub fn exist() -> bool {
    count() != 0
}

#[inline(always)]
fn count() -> u32 {
    // SAFETY: a read-only word of this program. Volatile: the loader may have set it.
    unsafe { read_volatile(addr_of!(BUCKET_COUNT)) }
}

/// The slot of a socket.
#[derive(Clone, Copy)]
pub struct Held {
    place: *mut u64,
    row: u32,
}

/// The slot of the socket with this cookie, if it has one.
#[inline(always)]
pub fn held(cookie: u64) -> Option<Held> {
    let (place, row) = find(cookie)?;
    Some(Held { place, row })
}

impl Held {
    #[inline(always)]
    pub fn connection(self) -> Option<&'static Connection> {
        let row = CONNECTIONS.get(self.row)?;
        // SAFETY: the same reference.
        Some(unsafe { &*checked(row) })
    }

    #[inline(always)]
    pub fn life(self) -> Option<*mut Life> {
        LIVES.get_ptr_mut(self.row)
    }

    /// Notes a stage. Gives those that there were, in one step for all processors: of the end of TCP and
    /// the end of the socket, which come at the same time, one sees the other.
    #[inline(always)]
    pub fn enter(self, stage: Stage) -> Stage {
        let Some(row) = CONNECTIONS.get_ptr_mut(self.row) else {
            return Stage::default();
        };
        // SAFETY: an aligned word of an element of the map, which ends with the stage.
        let word = unsafe { addr_of_mut!((*row).owner).cast::<u64>() };
        Connection::stage_of_word(add_bits(word, Connection::stage_in_word(stage)))
    }

    /// The connection is over, or about to be another one: it is no open one of anything any more.
    #[inline(always)]
    pub fn end(self) {
        let Some(connection) = self.connection() else {
            return;
        };
        let (endpoint, service) = (connection.endpoint, connection.service);
        open::over(self.enter(Stage::CLOSED), endpoint, service, None);
    }

    /// Gives the slot back.
    #[inline(always)]
    pub fn free(self) {
        // SAFETY: inside an element of the map. Volatile: one store of the whole word.
        unsafe { write_volatile(self.place, FREE) };
    }
}

/// The same pointer, of which the compiler knows nothing. It would compute addresses of fields before it compares
/// the pointer with null, which the verifier refuses.
#[inline(always)]
fn checked<T>(mut pointer: *const T) -> *const T {
    // SAFETY: nothing changes. Not without an instruction: the kernel refuses a line of source that has none.
    unsafe { asm!("{0} = {0}", inout(reg) pointer) };
    pointer
}

/// Keeps `connection` in the slot that the socket has, or in a free one of its bucket; false if there is
/// none.
#[inline(always)]
pub fn keep(cookie: u64, connection: &Connection) -> bool {
    let row = match find(cookie) {
        Some((place, row)) => {
            Held { place, row }.end();
            row
        }
        None => match take(cookie) {
            Some(row) => row,
            None => return false,
        },
    };
    let Some(slot) = CONNECTIONS.get_ptr_mut(row) else {
        return false;
    };
    // SAFETY: the slot of this socket, whose connects follow one another.
    unsafe { write_volatile(slot, *connection) };
    true
}

/// The place of a cookie, and the index of its row.
#[inline(always)]
fn find(cookie: u64) -> Option<(*mut u64, u32)> {
    if !exist() || cookie == FREE {
        return None;
    }
    let index = Bucket::of(cookie, count());
    let bucket = BUCKETS.get_ptr_mut(index)?;
    let mut place = 0;
    while place < PLACES {
        // SAFETY: inside an element of the map.
        let at = unsafe {
            addr_of_mut!((*bucket).cookies)
                .cast::<u64>()
                .add(place as usize)
        };
        // SAFETY: as above. Volatile: other sockets take and free their places at any time.
        if unsafe { read_volatile(at) } == cookie {
            return Some((at, index * PLACES + place));
        }
        place += 1;
    }
    None
}

/// Takes a free place for a cookie. Gives the index of its row.
#[inline(always)]
fn take(cookie: u64) -> Option<u32> {
    if !exist() {
        return None;
    }
    let index = Bucket::of(cookie, count());
    let bucket = BUCKETS.get_ptr_mut(index)?;
    let mut tried = 0;
    while tried < PLACES {
        let place = (Bucket::first_place(cookie) + tried) % PLACES;
        // SAFETY: inside an element of the map.
        let at = unsafe {
            addr_of_mut!((*bucket).cookies)
                .cast::<u64>()
                .add(place as usize)
        };
        // SAFETY: as in `find`.
        if unsafe { read_volatile(at) } == FREE && replace(at, FREE, cookie) == FREE {
            return Some(index * PLACES + place);
        }
        tried += 1;
    }
    None
}
