//! The maps of the tables, and what programs read of settings. Capacities here are defaults; the daemon sets them.

use crate::blank::blurred;
use crate::slots;
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_get_prandom_u32};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, RingBuf, SockHash};
use core::arch::asm;
use core::ptr::{addr_of, read_volatile};
use kmesh_lite_common::{
    Address, AddressId, AddressRow, Authorization, Backend, Caller, Destination, DestinationId,
    Endpoint, Found, Frontend, FrontendId, FrontendKey, Guard, Interest, Row, Rule, RuleId,
    RuleKey, Service, Settings, Slot, Source, Waypoint,
};
use kmesh_lite_ebpf::bits;

// Rows are written through memory maps: a stamp and the generation are stored as whole words,
// which the system call for a map update does not promise.
#[map]
pub static SETTINGS: Array<Settings> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static ADDRESSES: Array<Slot<AddressRow>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static FRONTENDS: Array<Slot<Frontend>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static SERVICES: Array<Slot<Service>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static RULES: Array<Slot<Rule>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// For readers of dumps: guards, rules and sources name them by their ids.
#[map]
static AUTHORIZATIONS: Array<Slot<Authorization>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static GUARDS: Array<Slot<Guard>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static DESTINATIONS: Array<Slot<Destination>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static SOURCES: Array<Slot<Source>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static ENDPOINTS: Array<Endpoint> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static BACKENDS: Array<Slot<Backend>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static WAYPOINTS: Array<Slot<Waypoint>> = Array::with_max_entries(1, BPF_F_MMAPABLE);

// The tables that are searched by key hold ids only: an id is one word, and the row it names is
// what changes.
#[map]
pub static ADDRESS_IDS: HashMap<Address, Option<AddressId>> = HashMap::with_max_entries(1, 0);
#[map]
pub static FRONTEND_IDS: HashMap<FrontendKey, Option<FrontendId>> = HashMap::with_max_entries(1, 0);
#[map]
pub static RULE_IDS: HashMap<RuleKey, Option<RuleId>> = HashMap::with_max_entries(1, 0);
#[map]
pub static DESTINATION_IDS: HashMap<FrontendKey, Option<DestinationId>> =
    HashMap::with_max_entries(1, 0);
/// [`SourceKey`] is the key.
#[map]
pub static SOURCE_IDS: LpmTrie<[u32; 5], Found> = LpmTrie::with_max_entries(1, 0);

/// [`kmesh_lite_ebpf::bits`]. A bit is set before the address is ours at any generation, and cleared when
/// no program can still see that it was.
#[map]
pub static ADDRESS_BITS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Set by the loader: how many bits there are, a power of two.
#[used]
#[unsafe(no_mangle)]
pub static ADDRESS_BIT_COUNT: u32 = u64::BITS;

/// The same of addresses that serve. A bit may stay after its backend has gone: then more is looked at than
/// needs to be.
#[map]
static BACKEND_BITS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// As above.
#[used]
#[unsafe(no_mangle)]
static BACKEND_BIT_COUNT: u32 = u64::BITS;

#[map]
pub static CALLERS: HashMap<u64, Caller> = HashMap::with_max_entries(1024, 0);

/// Sockets whose header has yet to leave, by SO_COOKIE. While one is here, what it sends goes through
/// the program that puts the header before it.
#[map]
pub static PENDING: SockHash<u64> = SockHash::with_max_entries(65536, 0);

#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// False only for addresses at which no backend of the mesh is.
#[inline(always)]
pub fn may_serve(address: &Address) -> bool {
    // SAFETY: as above.
    let count = unsafe { read_volatile(addr_of!(BACKEND_BIT_COUNT)) };
    has_bit(&BACKEND_BITS, address, count)
}

#[inline(always)]
pub fn has_bit(bits: &'static Array<u64>, address: &Address, count: u32) -> bool {
    let (word, bit) = bits::place(bits::of(address, count));
    match bits.get_ptr(word) {
        // SAFETY: inside the map. Volatile: the daemon sets and clears bits at any time.
        Some(word) => unsafe { read_volatile(word) & bit != 0 },
        None => false,
    }
}

/// Whether connections are accounted.
#[inline(always)]
pub fn accounts() -> bool {
    SETTINGS
        .get(0)
        .is_some_and(|settings| settings.accounting == 1)
}

/// Which moments of connections somebody wants to know, for programs that need no other setting.
#[inline(always)]
pub fn interest() -> Interest {
    match SETTINGS.get_ptr(0) {
        // SAFETY: element 0 exists. Volatile: the daemon may be changing it.
        Some(settings) => unsafe { read_volatile(addr_of!((*settings).interest)) },
        None => Interest::default(),
    }
}

/// The process that is running: thread group, in the first pid namespace.
#[inline(always)]
pub fn process() -> u32 {
    // SAFETY: no arguments.
    (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32
}

/// The thread that is running, in the first pid namespace.
#[inline(always)]
pub fn thread() -> u32 {
    // SAFETY: no arguments.
    (unsafe { bpf_get_current_pid_tgid() }) as u32
}

/// Not foreseeable, and not 0.
#[inline(always)]
pub fn mark() -> u32 {
    // SAFETY: no arguments.
    (unsafe { bpf_get_prandom_u32() }) | 1
}

/// Whether the daemon is what is running.
#[inline(always)]
pub fn is_daemon() -> bool {
    match SETTINGS.get(0) {
        Some(settings) => settings.daemon != 0 && process() == settings.daemon,
        None => false,
    }
}

/// 32 random bits.
#[inline(always)]
pub fn random() -> u32 {
    // SAFETY: no arguments.
    unsafe { bpf_get_prandom_u32() }
}

/// An id as a number: 1 more than its index, 0 for none.
#[inline(always)]
pub fn number(index: Option<u32>) -> u64 {
    index.map_or(0, |index| u64::from(index) + 1)
}

/// Whether open connections are counted.
#[inline(always)]
pub fn counts<const TABLE: bool>() -> bool {
    TABLE && slots::exist()
}

/// The row that counts at a generation.
#[inline(always)]
pub fn row<T: Row>(
    array: &'static Array<Slot<T>>,
    index: u32,
    generation: u64,
) -> Option<&'static T> {
    let slot = array.get_ptr(index)?;
    // SAFETY: inside the map.
    let version = unsafe { Slot::living(slot, generation) }?;
    Some(version_of(slot, version as u64))
}

/// The place of that row: its index, and in the lowest bit which version of it.
#[inline(always)]
pub fn place<T: Row>(array: &'static Array<Slot<T>>, index: u32, generation: u64) -> Option<u64> {
    // SAFETY: inside the map.
    let version = unsafe { Slot::living(array.get_ptr(index)?, generation) }?;
    Some(u64::from(index) << 1 | version as u64)
}

/// The row at a [`place`].
#[inline(always)]
pub fn row_at<T: Row>(array: &'static Array<Slot<T>>, place: u64) -> Option<&'static T> {
    Some(version_of(array.get_ptr((place >> 1) as u32)?, place))
}

/// The version of a row that the lowest bit of a number names.
#[inline(always)]
fn version_of<T: Row>(slot: *const Slot<T>, number: u64) -> &'static T {
    // What is done with the row is looked at once, and not for each of its versions. The compiler must not know that there
    // are two: it would tell them apart again.
    let mut version = blurred(number);
    // SAFETY: the map outlives the program, and the daemon waits for a grace period before it writes a version that a
    // program of this generation could read.
    unsafe {
        asm!("{version} &= 1", version = inout(reg) version);
        &*addr_of!((*slot).rows).cast::<T>().add(version as usize)
    }
}
