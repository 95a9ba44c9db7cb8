//! The tables, and [`Lookup`] over them. Capacities here are defaults; the daemon sets them.

use crate::context;
use crate::{clients, open, slots};
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::helpers::generated::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_current_pid_tgid,
    bpf_get_current_uid_gid, bpf_get_netns_cookie, bpf_get_prandom_u32,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, RingBuf, SockHash};
use aya_ebpf::programs::SockAddrContext;
use core::ptr::{addr_of, read_volatile};
use kmesh_lite_common::{
    Address, AddressId, AddressRow, Backend, BackendId, Balance, Caller, ClientKey, ClientsBy,
    Endpoint, EndpointId, Family, Frontend, FrontendId, FrontendKey, Held, Interest, Range, Row,
    Service, ServiceId, Settings, Slot, Waypoint, WaypointId,
};
use kmesh_lite_ebpf::{
    Lookup, Search, Seats, at_address, bits, draw_seat, hold, take_held, take_seat, walk_seats,
};

// Rows are written through memory maps: a stamp and the generation are stored as whole words,
// which the system call for a map update does not promise.
#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static ADDRESSES: Array<Slot<AddressRow>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static FRONTENDS: Array<Slot<Frontend>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static SERVICES: Array<Slot<Service>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static ENDPOINTS: Array<Endpoint> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static BACKENDS: Array<Slot<Backend>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static WAYPOINTS: Array<Slot<Waypoint>> = Array::with_max_entries(1, BPF_F_MMAPABLE);

// The two tables that are searched by key hold ids only: an id is one word, and the row it names is
// what changes.
#[map]
static ADDRESS_IDS: HashMap<Address, Option<AddressId>> = HashMap::with_max_entries(1, 0);
#[map]
static FRONTEND_IDS: HashMap<FrontendKey, Option<FrontendId>> = HashMap::with_max_entries(1, 0);

/// [`kmesh_lite_ebpf::bits`]. A bit is set before the address is ours at any generation, and cleared when
/// no program can still see that it was.
#[map]
static ADDRESS_BITS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Set by the loader: how many bits there are, a power of two.
#[unsafe(no_mangle)]
static ADDRESS_BIT_COUNT: u32 = u64::BITS;

/// The same of addresses that serve. A bit may stay after its backend has gone: then more is looked at than
/// needs to be.
#[map]
static BACKEND_BITS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// As above.
#[unsafe(no_mangle)]
static BACKEND_BIT_COUNT: u32 = u64::BITS;

#[map]
static CALLERS: HashMap<u64, Caller> = HashMap::with_max_entries(1024, 0);

/// Sockets whose header has yet to leave, by SO_COOKIE. While one is here, what it sends goes through
/// the program that puts the header before it.
#[map]
pub static PENDING: SockHash<u64> = SockHash::with_max_entries(65536, 0);

#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// The tables at one generation, for one connect. `TABLE`: whether the program takes slots of the connection table;
/// without them nothing tells of the end of a connection, and none is counted.
pub struct Maps<'a, const TABLE: bool> {
    settings: *const Settings,
    generation: u64,
    ctx: &'a SockAddrContext,
}

impl<'a, const TABLE: bool> Maps<'a, TABLE> {
    /// Fixes the generation that this connect sees. `None` is for the verifier: the settings are there.
    #[inline(always)]
    pub fn now(ctx: &'a SockAddrContext) -> Option<Self> {
        let settings = SETTINGS.get_ptr(0)?;
        Some(Self {
            settings,
            // SAFETY: inside the row. Volatile: the daemon stores the next one at any time.
            generation: unsafe { read_volatile(addr_of!((*settings).generation)) },
            ctx,
        })
    }

    /// Whether connections are accounted.
    #[inline(always)]
    pub fn accounts(&self) -> bool {
        // SAFETY: inside the row. Volatile: the daemon may be changing it.
        unsafe { read_volatile(addr_of!((*self.settings).accounting)) == 1 }
    }

    /// Which moments of connections somebody wants to know.
    #[inline(always)]
    pub fn interest(&self) -> Interest {
        // SAFETY: as above.
        unsafe { read_volatile(addr_of!((*self.settings).interest)) }
    }

    #[inline(always)]
    fn row<T: Row>(&self, array: &'static Array<Slot<T>>, index: u32) -> Option<&T> {
        row(array, index, self.generation)
    }
}

impl<const TABLE: bool> Seats for Maps<'_, TABLE> {
    #[inline(always)]
    fn service(&self, id: ServiceId) -> Option<&Service> {
        self.row(&SERVICES, id.index())
    }

    #[inline(always)]
    fn endpoint(&self, index: u32) -> Option<&Endpoint> {
        ENDPOINTS.get(index)
    }

    #[inline(always)]
    fn open(&self, id: EndpointId) -> u32 {
        open::endpoint(id)
    }

    #[inline(always)]
    fn take(&self, id: EndpointId, limit: u32) -> bool {
        !counts::<TABLE>() || open::take_endpoint(id, limit)
    }

    #[inline(always)]
    fn held(&self, key: &ClientKey, affinity: u32) -> Option<Held> {
        clients::held(key, affinity)
    }

    #[inline(always)]
    fn hold(&self, key: &ClientKey, held: Held) {
        clients::hold(key, held);
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        random()
    }

    #[inline(always)]
    fn blank(&self) -> u32 {
        blank()
    }
}

/// 0, in memory that could be written to. Nobody does.
#[unsafe(no_mangle)]
static mut BLANK: u32 = 0;

#[inline(always)]
fn blank() -> u32 {
    // SAFETY: a word of this program, which nobody writes. Volatile: so the compiler knows nothing either.
    unsafe { read_volatile(addr_of!(BLANK)) }
}

/// Searches for a seat. The verifier looks at this function apart from the programs that call it, once for all ways on
/// which they come to it: they know nothing of it but that it gives a number. So it has a name, and numbers for arguments.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn search_seat(service: u64, generation: u64, kind: u64, client: u64) -> u64 {
    search::<true>(generation, &unpacked(service, kind, client))
}

/// [`search_seat`] for kernels where nothing is counted.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn search_seat_plain(service: u64, generation: u64, kind: u64, client: u64) -> u64 {
    search::<false>(generation, &unpacked(service, kind, client))
}

#[inline(always)]
fn search<const TABLE: bool>(generation: u64, search: &Option<Search>) -> u64 {
    let Some(search) = search else {
        return 0;
    };
    let found = take_seat(&InFunction::<TABLE> { generation }, search);
    found.map_or(0, |index| index as u64 + 1)
}

/// Searches for the seat of a client that keeps its endpoint, in the range in use: its first row, and in the high word how
/// many there are.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn search_held(
    service: u64,
    generation: u64,
    span: u64,
    kind: u64,
    client: u64,
) -> u64 {
    of_client::<true>(generation, span, &unpacked(service, kind, client))
}

/// [`search_held`] for kernels where nothing is counted.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn search_held_plain(
    service: u64,
    generation: u64,
    span: u64,
    kind: u64,
    client: u64,
) -> u64 {
    of_client::<false>(generation, span, &unpacked(service, kind, client))
}

#[inline(always)]
fn of_client<const TABLE: bool>(generation: u64, span: u64, search: &Option<Search>) -> u64 {
    let Some(search) = search else {
        return 0;
    };
    let found = take_held(&InFunction::<TABLE> { generation }, search, &range(span, 0));
    found.map_or(0, |index| index as u64 + 1)
}

/// Notes where a client connects.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn hold_client(service: u64, kind: u64, client: u64, index: u64, at: u64) -> u64 {
    if let Some(search) = unpacked(service, kind, client) {
        let seats = InFunction::<false> { generation: 0 };
        hold(&seats, &search.key(), index as u32, at as u32);
    }
    0
}

/// Whether a connect of a unit to a service is due.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn is_client_due(service: u64, generation: u64) -> u64 {
    let Some(id) = ServiceId::from_index(service as u32) else {
        return 1;
    };
    let Some(service) = row(&SERVICES, id.index(), generation) else {
        return 1;
    };
    // SAFETY: no arguments.
    let key = ClientKey::limited(id, unsafe { bpf_get_current_cgroup_id() });
    u64::from(clients::is_due(&key, u64::from(service.clients.interval)))
}

/// Draws seats of one range: another function, because the verifier looks at each way through a loop within a loop.
/// `span` is its first row, and in the high word how many there are. No service is looked at.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn search_drawn(span: u64, total: u64, kind: u64, client: u64) -> u64 {
    let search = unpacked(0, kind, client).map(|search| Search {
        balance: match search.balance {
            Balance::ConsistentHash => Balance::ConsistentHash,
            _ => Balance::WeightedRandom,
        },
        ..search
    });
    drawn::<true>(span, total, &search)
}

/// [`search_drawn`] for kernels where nothing is counted.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn search_drawn_plain(span: u64, total: u64, kind: u64, client: u64) -> u64 {
    drawn::<false>(span, total, &unpacked(0, kind, client))
}

/// [`search_drawn`] where those with fewer open connections win: apart from it for the stack, too.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn search_least(span: u64, total: u64, kind: u64) -> u64 {
    let search = unpacked(0, kind, 0).map(|search| Search {
        balance: Balance::LeastConnections,
        counts: true,
        column: 0,
        ..search
    });
    drawn::<true>(span, total, &search)
}

#[inline(always)]
fn drawn<const TABLE: bool>(span: u64, total: u64, search: &Option<Search>) -> u64 {
    let Some(search) = search else {
        return 0;
    };
    // No row of a slot is looked at here.
    let seats = InFunction::<TABLE> { generation: 0 };
    let found = draw_seat(&seats, &range(span, total), search);
    found.map_or(0, |index| index as u64 + 1)
}

/// Walks over the seats of one range. A function apart from the last one: both together would need more of the stack, of
/// which all functions that are called at once have 512 bytes. Without counts there is room at the first seat that is
/// drawn.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn search_walked(span: u64, kind: u64, client: u64) -> u64 {
    let Some(search) = unpacked(0, kind, client) else {
        return 0;
    };
    let seats = InFunction::<true> { generation: 0 };
    let found = walk_seats(&seats, &range(span, 0), &search);
    found.map_or(0, |index| index as u64 + 1)
}

#[inline(always)]
fn range(span: u64, total: u64) -> Range {
    Range {
        first: span as u32,
        count: (span >> 32) as u32,
        total: total as u32,
    }
}

/// The first row of a range, and in the high word how many there are.
#[inline(always)]
fn span(range: &Range) -> u64 {
    u64::from(range.first) | u64::from(range.count) << 32
}

/// A search as a number, beside its service and its client.
#[inline(always)]
fn packed(search: &Search) -> u64 {
    u64::from(search.balance.0)
        | u64::from(search.column) << 16
        | u64::from(search.passes_on) << 32
        | u64::from(search.family == Family::V6) << 33
        | u64::from(search.counts) << 34
        | u64::from(search.is_apart) << 35
        | u64::from(search.kept_by.0 as u8) << 40
}

#[inline(always)]
fn unpacked(service: u64, kind: u64, client: u64) -> Option<Search> {
    Some(Search {
        service: ServiceId::from_index(service as u32)?,
        client,
        family: match kind >> 33 & 1 {
            0 => Family::V4,
            _ => Family::V6,
        },
        column: (kind >> 16) as u16,
        balance: Balance(kind as u16),
        counts: kind >> 34 & 1 == 1,
        is_apart: kind >> 35 & 1 == 1,
        kept_by: ClientsBy((kind >> 40) as u16),
        passes_on: kind >> 32 & 1 == 1,
    })
}

/// What such a function reads.
struct InFunction<const TABLE: bool> {
    generation: u64,
}

impl<const TABLE: bool> Seats for InFunction<TABLE> {
    #[inline(always)]
    fn service(&self, id: ServiceId) -> Option<&Service> {
        row(&SERVICES, id.index(), self.generation)
    }

    #[inline(always)]
    fn endpoint(&self, index: u32) -> Option<&Endpoint> {
        ENDPOINTS.get(index)
    }

    #[inline(always)]
    fn open(&self, id: EndpointId) -> u32 {
        open::endpoint(id)
    }

    #[inline(always)]
    fn take(&self, id: EndpointId, limit: u32) -> bool {
        !counts::<TABLE>() || open::take_endpoint(id, limit)
    }

    #[inline(always)]
    fn held(&self, key: &ClientKey, affinity: u32) -> Option<Held> {
        clients::held(key, affinity)
    }

    #[inline(always)]
    fn hold(&self, key: &ClientKey, held: Held) {
        clients::hold(key, held);
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        random()
    }

    #[inline(always)]
    fn draw_seat(&self, range: &Range, search: &Search) -> Option<u32> {
        let (total, kind) = (u64::from(range.total), packed(search));
        let found = if TABLE && search.balance == Balance::LeastConnections {
            // With the first row of the column.
            let first = range.column(search.column);
            search_least(span(&Range { first, ..*range }), total, kind)
        } else if TABLE {
            search_drawn(span(range), total, kind, search.client)
        } else {
            search_drawn_plain(span(range), total, kind, search.client)
        };
        (found != 0).then(|| found as u32 - 1)
    }

    #[inline(always)]
    fn walk_seats(&self, range: &Range, search: &Search) -> Option<u32> {
        if !TABLE {
            return None;
        }
        let found = search_walked(span(range), packed(search), search.client);
        (found != 0).then(|| found as u32 - 1)
    }

    #[inline(always)]
    fn blank(&self) -> u32 {
        blank()
    }
}

impl<const TABLE: bool> Lookup for Maps<'_, TABLE> {
    #[inline(always)]
    fn may_be_ours(&self, address: &Address) -> bool {
        // SAFETY: a read-only word of this program. Volatile: the loader may have set it.
        let count = unsafe { read_volatile(addr_of!(ADDRESS_BIT_COUNT)) };
        has_bit(&ADDRESS_BITS, address, count)
    }

    #[inline(always)]
    fn address(&self, address: &Address) -> Option<&AddressRow> {
        // A copy: the compiler may not assume that a helper leaves alone what it is given, and what is
        // known of the address at compile time, such as its family, would be asked again.
        let key = *address;
        // SAFETY: deleted elements are not reused before a grace period has passed.
        let id = (*unsafe { ADDRESS_IDS.get(&key) }?)?;
        self.row(&ADDRESSES, id.index())
    }

    #[inline(always)]
    fn frontend(&self, key: &FrontendKey) -> Option<&Frontend> {
        // SAFETY: as for addresses.
        let id = (*unsafe { FRONTEND_IDS.get(key) }?)?;
        self.row(&FRONTENDS, id.index())
    }

    #[inline(always)]
    fn backend(&self, id: BackendId) -> Option<&Backend> {
        self.row(&BACKENDS, id.index())
    }

    #[inline(always)]
    fn waypoint(&self, id: WaypointId) -> Option<&Waypoint> {
        self.row(&WAYPOINTS, id.index())
    }

    #[inline(always)]
    fn take_held(&self, search: &Search, in_use: &Range) -> Option<u32> {
        let (service, kind) = (u64::from(search.service.index()), packed(search));
        let (generation, span) = (self.generation, span(in_use));
        let found = if TABLE {
            search_held(service, generation, span, kind, search.client)
        } else {
            search_held_plain(service, generation, span, kind, search.client)
        };
        (found != 0).then(|| found as u32 - 1)
    }

    #[inline(always)]
    fn hold_at(&self, search: &Search, index: u32, at: u32) {
        let (service, kind) = (u64::from(search.service.index()), packed(search));
        hold_client(service, kind, search.client, index.into(), at.into());
    }

    #[inline(always)]
    fn take_seat(&self, search: &Search) -> Option<u32> {
        let (service, kind) = (u64::from(search.service.index()), packed(search));
        let found = if TABLE {
            search_seat(service, self.generation, kind, search.client)
        } else {
            search_seat_plain(service, self.generation, kind, search.client)
        };
        (found != 0).then(|| found as u32 - 1)
    }

    #[inline(always)]
    fn leave(&self, endpoint: Option<EndpointId>, service: Option<ServiceId>) {
        if counts::<TABLE>() {
            open::leave(endpoint, service, None);
        }
    }

    #[inline(always)]
    fn take_service(&self, id: ServiceId, limit: u32) -> bool {
        !counts::<TABLE>() || open::take_service(u64::from(id.index()) + 1, u64::from(limit)) != 0
    }

    #[inline(always)]
    fn is_due(&self, id: ServiceId, interval: u32) -> bool {
        !counts::<TABLE>() || open::is_due(u64::from(id.index()) + 1, u64::from(interval)) != 0
    }

    #[inline(always)]
    fn is_client_due(&self, id: ServiceId) -> bool {
        !TABLE || is_client_due(u64::from(id.index()), self.generation) != 0
    }

    #[inline(always)]
    fn client(&self, by: ClientsBy) -> u64 {
        let bound = match by {
            ClientsBy::Address => context::bound_to(self.ctx),
            _ => None,
        };
        match (by, bound) {
            (_, Some(address)) => at_address(&address),
            // SAFETY: no arguments.
            (ClientsBy::Unit, _) => unsafe { bpf_get_current_cgroup_id() },
            // SAFETY: as above.
            (ClientsBy::User, _) => unsafe { bpf_get_current_uid_gid() & u64::from(u32::MAX) },
            // SAFETY: the context of this program.
            _ => unsafe { bpf_get_netns_cookie(self.ctx.sock_addr.cast()) },
        }
    }

    #[inline(always)]
    fn caller(&self) -> Caller {
        // SAFETY: inside the row. Volatile: the daemon may be changing it.
        let (daemon, agent, levels) = unsafe {
            (
                read_volatile(addr_of!((*self.settings).daemon)),
                read_volatile(addr_of!((*self.settings).agent)),
                read_volatile(addr_of!((*self.settings).caller_levels)),
            )
        };
        // No program runs in process 0.
        let process = process();
        if process == daemon || process == agent {
            return Caller::Bypass;
        }
        if levels == 0 {
            return Caller::Ordinary;
        }
        let mut level = 0;
        while level < 32 {
            if levels >> level & 1 == 1 {
                // SAFETY: answers 0 where there is no ancestor at this depth; no cgroup has id 0.
                let cgroup = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
                // SAFETY: as for addresses.
                if let Some(caller) = unsafe { CALLERS.get(cgroup) } {
                    return *caller;
                }
            }
            level += 1;
        }
        Caller::Ordinary
    }

    #[inline(always)]
    fn is_for_v6_alone(&self) -> bool {
        context::is_for_v6_alone(self.ctx)
    }
}

/// False only for addresses at which no backend of the mesh is.
#[inline(always)]
pub fn may_serve(address: &Address) -> bool {
    // SAFETY: as above.
    let count = unsafe { read_volatile(addr_of!(BACKEND_BIT_COUNT)) };
    has_bit(&BACKEND_BITS, address, count)
}

#[inline(always)]
fn has_bit(bits: &'static Array<u64>, address: &Address, count: u32) -> bool {
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
fn random() -> u32 {
    // SAFETY: no arguments.
    unsafe { bpf_get_prandom_u32() }
}

/// Whether open connections are counted.
#[inline(always)]
fn counts<const TABLE: bool>() -> bool {
    TABLE && slots::exist()
}

/// The row that counts at a generation.
#[inline(always)]
fn row<T: Row>(array: &'static Array<Slot<T>>, index: u32, generation: u64) -> Option<&'static T> {
    let slot = array.get_ptr(index)?;
    // SAFETY: the map outlives the program, and the daemon waits for a grace period before it
    // writes a version that a program of this generation could read.
    unsafe { Slot::read(slot, generation) }
}
