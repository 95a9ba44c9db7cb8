//! The search for an endpoint that has room, and what goes with it, as functions in the kernel.
//!
//! The verifier looks at such a function apart from the programs that call it, once for all ways on which they come to
//! it: they know nothing of it but that it gives a number. So each has a name, and numbers for arguments; 0 is for none.

use crate::blank::blank;
use crate::maps::{ENDPOINTS, SERVICES, counts, random, row};
use crate::{clients, open};
use aya_ebpf::helpers::generated::bpf_get_current_cgroup_id;
use kmesh_lite_common::{
    Balance, ClientKey, ClientsBy, Endpoint, EndpointId, Family, Held, Range, Service, ServiceId,
};
use kmesh_lite_ebpf::{
    Search, Seats, draw_seat, find_from, find_row, hold, take_at, take_held, take_seat, walk_seats,
};

/// Searches for a seat.
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

/// Takes a seat at one endpoint of a walk, which stands at this [`place`].
/// A function of its own, or the verifier looks at it as often as the walk has steps.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn search_at(place: u64, count: u64, kind: u64) -> u64 {
    let Some(search) = unpacked(0, kind, 0) else {
        return 0;
    };
    let seats = InFunction::<true> { generation: 0 };
    let found = take_at(
        &seats,
        place as u32,
        (place >> 32) as u32,
        count as u32,
        &search,
    );
    found.map_or(0, |index| index as u64 + 1)
}

/// Finds an endpoint at one step of the search for it, for the same reason.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn find_held(place: u64, count: u64, endpoint: u64, is_maglev: u64) -> u64 {
    let Some(endpoint) = EndpointId::from_index(endpoint as u32) else {
        return 0;
    };
    let (first, at) = (place as u32, (place >> 32) as u32);
    let seats = InFunction::<false> { generation: 0 };
    let found = find_from(&seats, first, at, count as u32, endpoint, is_maglev != 0);
    found.map_or(0, |number| u64::from(number) + 1)
}

/// Finds the endpoint that a socket keeps among the rows of a column: the first one, and in the high word how many there
/// are. `held` is the endpoint, and in the high word where it was.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn find_kept(span: u64, held: u64) -> u64 {
    let Some(endpoint) = EndpointId::from_index(held as u32) else {
        return 0;
    };
    let (first, count) = (span as u32, (span >> 32) as u32);
    let seats = InFunction::<false> { generation: 0 };
    let held = Held::new(endpoint, (held >> 32) as u32);
    let found = find_row(&seats, first, count, held);
    found.map_or(0, |at| u64::from(at) + 1)
}

/// The first row of a column, and in the high word a number there.
#[inline(always)]
fn place(first: u32, at: u32) -> u64 {
    u64::from(first) | u64::from(at) << 32
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
pub fn span(range: &Range) -> u64 {
    u64::from(range.first) | u64::from(range.count) << 32
}

/// A search as a number, beside its service and its client.
#[inline(always)]
pub fn packed(search: &Search) -> u64 {
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
    fn find_from(
        &self,
        first: u32,
        at: u32,
        count: u32,
        endpoint: EndpointId,
        is_maglev: bool,
    ) -> Option<u32> {
        let endpoint = u64::from(endpoint.index());
        let found = find_held(place(first, at), count.into(), endpoint, is_maglev.into());
        (found != 0).then(|| found as u32 - 1)
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
    fn take_at(&self, first: u32, at: u32, count: u32, search: &Search) -> Option<u32> {
        let found = search_at(place(first, at), count.into(), packed(search));
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
