//! What sockets that send datagrams without connect() remember: where those to an address of ours go, and which address
//! answers are from. There is room for some of them only; what was of no use for longest is forgotten first.
//!
//! The programs of one socket follow one another, because each has its lock. But an element may become that of another
//! socket while a program looks at it. So what was read counts only if the key at its beginning is still the one that was
//! looked for, and that is read last.

use crate::open;
use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};
use kmesh_lite_common::{Address, Asked, Caller, Flow, FlowKey, Held, Port};
use kmesh_lite_ebpf::Redirect;

/// As many as the loader says.
#[map]
static FLOWS: LruHashMap<FlowKey, Flow> = LruHashMap::with_max_entries(1, 0);
/// The same.
#[map]
static ASKED: LruHashMap<FlowKey, Asked> = LruHashMap::with_max_entries(1, 0);

/// Set by the loader, another one each time: numbers of generations begin anew with other tables.
// Used, as everything that the loader sets: else the compiler takes it for any other constant of the same value, such as the
// zero that a count begins with, and that one would be set as well.
#[used]
#[unsafe(no_mangle)]
static EPOCH: u64 = 0;

#[inline(always)]
pub fn epoch() -> u64 {
    // SAFETY: a read-only word of this program. Volatile: the loader may have set it.
    unsafe { read_volatile(addr_of!(EPOCH)) }
}

/// Reads a field of an element. Volatile: it may become another one's meanwhile.
macro_rules! field {
    ($row:expr, $name:ident) => {
        // SAFETY: inside an element of the map.
        unsafe { read_volatile(addr_of!((*$row).$name)) }
    };
}

/// A flow of this key, if it is one of this key still when all is read.
#[derive(Clone, Copy)]
pub struct Known(*const Flow);

/// Who sends.
#[derive(Clone, Copy)]
pub struct Sender {
    pub cgroup: u64,
    pub user_and_group: u64,
}

/// What was decided, beside where it goes.
#[derive(Clone, Copy)]
pub struct Decided {
    pub generation: u64,
    pub caller: Caller,
    pub is_judged: bool,
    pub held: Held,
}

/// What was decided of a key.
#[inline(always)]
pub fn find(key: &FlowKey) -> Option<Known> {
    FLOWS.get_ptr(key).map(Known)
}

impl Known {
    /// Where datagrams go, if the same would be decided again at this generation and of this sender.
    #[inline(always)]
    pub fn goes_on(
        self,
        key: &FlowKey,
        generation: u64,
        caller: Caller,
        sender: impl Fn() -> Sender,
    ) -> Option<(Address, Port)> {
        let row = self.0;
        let is_same = field!(row, generation) == generation
            && field!(row, epoch) == epoch()
            && field!(row, caller) == caller
            && (field!(row, guarded) == 0 || {
                let sender = sender();
                field!(row, cgroup) == sender.cgroup
                    && field!(row, user_and_group) == sender.user_and_group
            });
        if !is_same {
            return None;
        }
        let to = (field!(row, address), field!(row, port));
        is_of(row.cast(), key).then_some(to)
    }

    /// The endpoint that the socket has, if it is still the one that had this id then.
    #[inline(always)]
    pub fn held(self, key: &FlowKey) -> Option<Held> {
        let row = self.0;
        let (held, term) = (field!(row, held), field!(row, term));
        let is_it = open::terms(held.endpoint, None).0 == term;
        (is_it && is_of(row.cast(), key)).then_some(held)
    }
}

/// Whether an element is of this key. Word by word: else the compiler calls a function that compares bytes.
#[inline(always)]
fn is_of(there: *const FlowKey, key: &FlowKey) -> bool {
    field!(there, cookie) == key.cookie
        && field!(there, address) == key.address
        && field!(there, port) == key.port
}

/// An element of no meaning, to be written to. The stack of a program has no room for it.
static EMPTY: Flow = Flow::EMPTY;
/// The same.
static NOTHING: Asked = Asked::new(
    FlowKey::new(0, Address::EVERY, Port::EVERY),
    Address::EVERY,
    Port::EVERY,
);

/// Keeps what was decided. Gives whether another choice was made than before; none where the kernel has no memory for it.
#[inline(always)]
pub fn keep(key: &FlowKey, sender: &Sender, decided: &Decided, to: &Redirect) -> Option<bool> {
    let there = FLOWS.get_ptr_mut(key);
    let row = match there {
        Some(row) => row,
        None => {
            FLOWS.insert(key, &EMPTY, 0).ok()?;
            FLOWS.get_ptr_mut(key)?
        }
    };
    let is_new = field!(row, held).endpoint != to.chosen.endpoint
        || field!(row, service) != to.chosen.service
        || field!(row, waypoint) != to.waypoint
        || there.is_none();
    macro_rules! set {
        ($name:ident, $value:expr) => {
            // SAFETY: inside an element of the map.
            unsafe { write_volatile(addr_of_mut!((*row).$name), $value) }
        };
    }
    set!(key, *key);
    set!(generation, decided.generation);
    set!(epoch, epoch());
    set!(address, to.address);
    set!(port, to.port);
    set!(cgroup, sender.cgroup);
    set!(user_and_group, sender.user_and_group);
    set!(caller, decided.caller);
    set!(guarded, u16::from(decided.is_judged));
    set!(held, decided.held);
    set!(term, open::terms(to.chosen.endpoint, None).0);
    set!(service, to.chosen.service);
    set!(waypoint, to.waypoint);
    Some(is_new)
}

/// Notes that answers from an address and port are those to what was `asked`; false where the kernel has no memory for it.
/// Where a socket sends to two addresses of ours and both go to the same place, answers are taken for those to the
/// last one.
#[inline(never)]
pub fn expect(asked: &FlowKey, from: &(Address, Port)) -> bool {
    let key = FlowKey::new(asked.cookie, from.0, from.1);
    let row = match ASKED.get_ptr_mut(&key) {
        Some(row) => row,
        None => {
            if ASKED.insert(&key, &NOTHING, 0).is_err() {
                return false;
            }
            match ASKED.get_ptr_mut(&key) {
                Some(row) => row,
                None => return false,
            }
        }
    };
    if field!(row, address) != asked.address
        || field!(row, port) != asked.port
        || !is_of(row.cast_const().cast(), &key)
    {
        // SAFETY: inside an element of the map.
        unsafe { write_volatile(row, Asked::new(key, asked.address, asked.port)) };
    }
    true
}

/// What the application sent to, where an answer comes from this address and port.
#[inline(always)]
pub fn asked(cookie: u64, from: Address, port: Port) -> Option<(Address, Port)> {
    let key = FlowKey::new(cookie, from, port);
    let row = ASKED.get_ptr(&key)?;
    let asked = (field!(row, address), field!(row, port));
    is_of(row.cast(), &key).then_some(asked)
}
