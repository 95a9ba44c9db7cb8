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

/// The slot of a socket: the number of its row.
#[derive(Clone, Copy)]
pub struct Held(u32);

/// The slot of the socket with this cookie, if it has one.
#[inline(always)]
pub fn held(cookie: u64) -> Option<Held> {
    if !exist() || cookie == FREE {
        return None;
    }
    slot_of(find_slot(cookie))
}

/// The slot that a function of the kernel found or took: 1 more than its number, or 0.
#[inline(always)]
fn slot_of(found: u64) -> Option<Held> {
    (found != 0).then(|| Held(found as u32 - 1))
}

impl Held {
    #[inline(always)]
    pub fn connection(self) -> Option<&'static Connection> {
        let row = CONNECTIONS.get(self.0)?;
        // SAFETY: the same reference.
        Some(unsafe { &*checked(row) })
    }

    #[inline(always)]
    pub fn life(self) -> Option<*mut Life> {
        LIVES.get_ptr_mut(self.0)
    }

    /// Notes a stage. Gives those that there were, in one step for all processors: of the end of TCP and
    /// the end of the socket, which come at the same time, one sees the other.
    #[inline(always)]
    pub fn enter(self, stage: Stage) -> Stage {
        let Some(row) = CONNECTIONS.get_ptr_mut(self.0) else {
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
        let Some(bucket) = BUCKETS.get_ptr_mut(self.0 / PLACES) else {
            return;
        };
        // SAFETY: inside an element of the map. Volatile: one store of the whole word.
        unsafe { write_volatile(place(bucket, self.0 % PLACES), FREE) };
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

/// The connection in the slot of a socket is over, if it has one; as a function that the verifier looks at once.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn end_slot(cookie: u64) -> u64 {
    if let Some(slot) = held(cookie) {
        slot.end();
    }
    0
}

/// The same, and the socket has no slot any more.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn forget_slot(cookie: u64) -> u64 {
    if let Some(slot) = held(cookie) {
        slot.end();
        slot.free();
    }
    0
}

/// Keeps a connection in the slot that the socket has, or in a free one of its bucket; false if there is
/// none. It is made where it is kept: the stack of a connect has no room for it.
#[inline(always)]
pub fn keep(cookie: u64, connection: impl FnOnce() -> Connection) -> bool {
    let slot = match held(cookie) {
        Some(slot) => {
            slot.end();
            Some(slot)
        }
        None => slot_of(take_slot(cookie)),
    };
    let Some(row) = slot.and_then(|slot| CONNECTIONS.get_ptr_mut(slot.0)) else {
        return false;
    };
    let connection = connection();
    macro_rules! write {
        ($($field:ident)+) => {
            // SAFETY: the slot of this socket, whose connects follow one another.
            $(unsafe { write_volatile(addr_of_mut!((*row).$field), connection.$field) };)+
        };
    }
    // Its owner comes last: from then on a reader takes the row for that of this socket.
    write!(address since cgroup service endpoint backend waypoint process user);
    write!(port protocol stage owner);
    true
}

/// The word of a place. It is less than [`PLACES`].
#[inline(always)]
fn place(bucket: *mut Bucket, place: u32) -> *mut u64 {
    // SAFETY: inside an element of the map.
    unsafe {
        addr_of_mut!((*bucket).cookies)
            .cast::<u64>()
            .add(place as usize)
    }
}

/// Finds the slot of a cookie that is not 0. Gives 1 more than its number, 0 if there is none. A function of its own,
/// because the verifier looks at what follows for each place where it may be.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn find_slot(cookie: u64) -> u64 {
    let index = Bucket::of(cookie, count());
    let Some(bucket) = BUCKETS.get_ptr_mut(index) else {
        return 0;
    };
    let mut tried = 0;
    while tried < PLACES {
        // SAFETY: inside an element of the map. Volatile: other sockets take and free their places at any time.
        if unsafe { read_volatile(place(bucket, tried)) } == cookie {
            return u64::from(index * PLACES + tried) + 1;
        }
        tried += 1;
    }
    0
}

/// Takes a free slot for a cookie, as [`find_slot`] finds one.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn take_slot(cookie: u64) -> u64 {
    let index = Bucket::of(cookie, count());
    let Some(bucket) = BUCKETS.get_ptr_mut(index) else {
        return 0;
    };
    let mut tried = 0;
    while tried < PLACES {
        let number = (Bucket::first_place(cookie) + tried) % PLACES;
        let at = place(bucket, number);
        // SAFETY: as in `find_slot`.
        if unsafe { read_volatile(at) } == FREE && replace(at, FREE, cookie) == FREE {
            return u64::from(index * PLACES + number) + 1;
        }
        tried += 1;
    }
    0
}
