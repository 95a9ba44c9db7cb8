//! What the decision reads, out of the maps: [`Lookup`] over them.

use crate::arrival::find_destination;
use crate::authorize::{judge_client, judgement};
use crate::blank::{blank, blurred};
use crate::callers::caller_in;
use crate::context;
use crate::maps::{
    ADDRESS_BIT_COUNT, ADDRESS_BITS, ADDRESS_IDS, ADDRESSES, BACKENDS, ENDPOINTS, FRONTEND_IDS,
    FRONTENDS, SERVICES, SETTINGS, WAYPOINTS, counts, has_bit, process, random, row,
};
use crate::queries;
use crate::search::{
    find_kept, hold_client, is_client_due, packed, search_held, search_held_plain, search_seat,
    search_seat_plain, span,
};
use crate::{clients, open};
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_uid_gid, bpf_get_netns_cookie,
};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::SockAddrContext;
use core::cell::Cell;
use core::ptr::{addr_of, read_volatile};
use kmesh_lite_common::{
    Address, AddressRow, Backend, BackendId, Caller, ClientKey, ClientsBy, Destination, Endpoint,
    EndpointId, Frontend, FrontendKey, GuardId, Held, Interest, Judgement, Member, Nameserver,
    Port, Protocol, Range, Row, Service, ServiceId, Settings, Slot, Waypoint, WaypointId,
};
use kmesh_lite_ebpf::{Lookup, Search, Seats, at_address};

/// The tables at one generation, for one connect. `TABLE`: whether the program takes slots of the connection table;
/// without them nothing tells of the end of a connection, and none is counted.
pub struct Maps<'a, const TABLE: bool> {
    settings: *const Settings,
    generation: u64,
    ctx: &'a SockAddrContext,
    /// What authorization said, as a number.
    judged: Cell<u64>,
    /// Whether it was asked.
    is_judged: Cell<bool>,
    /// Whether it is about a datagram of a socket that is not connected, and the endpoint that the socket keeps then.
    is_datagram: bool,
    keeps: Held,
    /// Where that is in the column in use.
    kept_at: Cell<u32>,
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
            judged: Cell::new(0),
            is_judged: Cell::new(false),
            is_datagram: false,
            keeps: Held::NONE,
            kept_at: Cell::new(0),
        })
    }

    /// The same at a generation that was fixed before.
    #[inline(always)]
    pub fn at(ctx: &'a SockAddrContext, generation: u64) -> Option<Self> {
        let tables = Self::now(ctx)?;
        Some(Self {
            generation,
            ..tables
        })
    }

    /// The same for a datagram that names where it goes.
    #[inline(always)]
    pub fn of_datagram(ctx: &'a SockAddrContext) -> Option<Self> {
        let tables = Self::now(ctx)?;
        Some(Self {
            is_datagram: true,
            ..tables
        })
    }

    /// For a socket that keeps this endpoint.
    #[inline(always)]
    pub fn keeping(self, keeps: Held) -> Self {
        Self { keeps, ..self }
    }

    /// An endpoint that was chosen, and where it is if it is the one that the socket keeps.
    #[inline(always)]
    pub fn held_by(&self, chosen: Option<EndpointId>) -> Held {
        match chosen {
            Some(endpoint) => Held::new(endpoint, self.kept_at.get()),
            None => Held::NONE,
        }
    }

    #[inline(always)]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether authorization policies were asked.
    #[inline(always)]
    pub fn is_judged(&self) -> bool {
        self.is_judged.get()
    }

    /// What authorization policies said of this connect, as a number ([`judgement`]).
    #[inline(always)]
    pub fn judged(&self) -> u64 {
        self.judged.get()
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

impl<const TABLE: bool> Lookup for Maps<'_, TABLE> {
    #[inline(always)]
    fn authorize(&self, guard: GuardId) -> Judgement {
        let number = judge_client(guard.index().into(), self.generation);
        self.judged.set(number);
        self.is_judged.set(true);
        judgement(number)
    }

    #[inline(always)]
    fn destination(&self, key: &FrontendKey) -> Option<&Destination> {
        find_destination(key, self.generation)
    }

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
        let caller = match levels {
            0 => Caller::Ordinary.0.into(),
            _ => caller_in(levels.into()),
        };
        Caller(blurred(caller) as u32)
    }

    #[inline(always)]
    fn kept(&self, in_use: &Range, column: u16) -> Option<&Member> {
        if !self.is_datagram || self.keeps.endpoint.is_none() {
            return None;
        }
        let first = in_use.column(column);
        let held = u64::from(self.keeps.endpoint?.index()) | u64::from(self.keeps.at) << 32;
        let found = find_kept(span(&Range { first, ..*in_use }), held);
        if found == 0 {
            return None;
        }
        let at = found as u32 - 1;
        self.kept_at.set(at);
        Some(&ENDPOINTS.get(first.wrapping_add(at))?.own)
    }

    #[inline(always)]
    fn nameserver(&self) -> Option<&Nameserver> {
        queries::nameserver()
    }

    #[inline(always)]
    fn answers_instead(&self, address: Address, port: Port, protocol: Protocol) -> bool {
        queries::answers(self.ctx, address, port, protocol)
    }

    #[inline(always)]
    fn is_for_v6_alone(&self) -> bool {
        // The kernel sends no datagram to an IPv4 address that named an IPv6 one.
        self.is_datagram || context::is_for_v6_alone(self.ctx)
    }
}
