//! What the decision reads.

use crate::Search;
use kmesh_lite_common::{
    Address, AddressRow, Backend, BackendId, Caller, ClientKey, ClientsBy, Destination, Endpoint,
    EndpointId, Frontend, FrontendKey, Guard, GuardId, Held, Judgement, Matching, Member,
    Nameserver, Port, Protocol, Range, Rule, RuleKey, Service, ServiceId, Source, SourceKey,
    Waypoint, WaypointId,
};

/// What a choice among the endpoints of a service reads. Every call answers for the same generation.
pub trait Seats {
    /// Looked at only where endpoints are searched for one that has room: what else a connect needs of a service stands
    /// in its frontends.
    fn service(&self, id: ServiceId) -> Option<&Service>;
    /// `index` counts from 0 over the whole endpoint table.
    fn endpoint(&self, index: u32) -> Option<&Endpoint>;
    /// How many connections to an endpoint are open, where they are counted.
    fn open(&self, id: EndpointId) -> u32;
    /// Counts another connection to an endpoint, unless `limit` of them are open; a limit of 0 is none.
    fn take(&self, id: EndpointId, limit: u32) -> bool;
    /// The endpoint that a client keeps, if it connected no more than so many milliseconds ago.
    fn held(&self, key: &ClientKey, affinity: u32) -> Option<Held>;
    /// Notes where a client connects now.
    fn hold(&self, key: &ClientKey, held: Held);
    /// 32 even random bits, new ones at each call.
    fn random(&self) -> u32;
    /// [`crate::find_from`] over these tables.
    fn find_from(
        &self,
        first: u32,
        at: u32,
        count: u32,
        endpoint: EndpointId,
        is_maglev: bool,
    ) -> Option<u32>
    where
        Self: Sized,
    {
        crate::find_from(self, first, at, count, endpoint, is_maglev)
    }
    /// [`crate::draw_seat`] over these tables.
    fn draw_seat(&self, range: &Range, search: &Search) -> Option<u32>
    where
        Self: Sized,
    {
        crate::draw_seat(self, range, search)
    }
    /// [`crate::take_at`] over these tables.
    fn take_at(&self, first: u32, at: u32, count: u32, search: &Search) -> Option<u32>
    where
        Self: Sized,
    {
        crate::take_at(self, first, at, count, search)
    }
    /// [`crate::walk_seats`] over these tables.
    fn walk_seats(&self, range: &Range, search: &Search) -> Option<u32>
    where
        Self: Sized,
    {
        crate::walk_seats(self, range, search)
    }
    /// 32 even bits that are the same at each call for the same client and attempt.
    fn of_client(&self, client: u64, attempt: u32) -> u32 {
        crate::mixed(client, attempt)
    }
    /// 0, of which a verifier knows nothing.
    fn blank(&self) -> u32 {
        0
    }
}

/// What is read of a client that connects. Every call answers for the same generation.
pub trait Rules {
    fn guard(&self, id: GuardId) -> Option<&Guard>;
    fn rule(&self, key: &RuleKey) -> Option<&Rule>;
    /// The id of the cgroup of the process that is connecting, or of the one above that, at this depth below the root; 0
    /// where there is none.
    fn cgroup(&self, level: u32) -> u64;
    /// Its real user: the kernel tells no other.
    fn user(&self) -> u32;
    /// Its real group.
    fn group(&self) -> u32;
    /// [`crate::add`] over these tables.
    fn add(&self, key: &RuleKey, found: &mut Matching)
    where
        Self: Sized,
    {
        crate::add(self, key, found);
    }
}

/// What is read of a connection that arrives. Every call answers for the same generation.
pub trait Sources {
    fn destination(&self, key: &FrontendKey) -> Option<&Destination>;
    fn guard(&self, id: GuardId) -> Option<&Guard>;
    /// Of all sources whose bits `key` begins with, at any generation, the longest: how many bits it has, and its row, if
    /// it counts at this one.
    fn source(&self, key: &SourceKey) -> Option<(u32, Option<&Source>)>;
}

/// The tables as one connect sees them: every call answers for the same generation.
pub trait Lookup: Seats + Sized {
    /// What authorization policies say of a connect to what has this guard. It is counted.
    fn authorize(&self, guard: GuardId) -> Judgement;
    fn destination(&self, key: &FrontendKey) -> Option<&Destination>;
    /// False only for addresses that [`Lookup::address`] and [`Lookup::frontend`] do not find.
    fn may_be_ours(&self, _: &Address) -> bool {
        true
    }
    fn address(&self, address: &Address) -> Option<&AddressRow>;
    fn frontend(&self, key: &FrontendKey) -> Option<&Frontend>;
    fn backend(&self, id: BackendId) -> Option<&Backend>;
    fn waypoint(&self, id: WaypointId) -> Option<&Waypoint>;
    /// [`crate::take_held`] over these tables.
    fn take_held(&self, search: &Search, in_use: &Range) -> Option<u32> {
        crate::take_held(self, search, in_use)
    }
    /// [`crate::hold`] over these tables.
    fn hold_at(&self, search: &Search, index: u32, at: u32) {
        crate::hold(self, &search.key(), index, at);
    }
    /// [`crate::take_seat`] over these tables.
    fn take_seat(&self, search: &Search) -> Option<u32> {
        crate::take_seat(self, search)
    }
    /// Counts a connection to an endpoint and one to a service no more.
    fn leave(&self, endpoint: Option<EndpointId>, service: Option<ServiceId>);
    /// Counts another connection to a service, unless `limit` of them are open; a limit of 0 is none.
    fn take_service(&self, id: ServiceId, limit: u32) -> bool;
    /// Whether another connect to the service is allowed, where `interval` nanoseconds lie between them, and
    /// [`kmesh_lite_common::Picking::SAVED`] of them may have been saved up. It is used up then.
    fn is_due(&self, id: ServiceId, interval: u32) -> bool;
    /// Whether another connect of this unit to the service is allowed, as [`Lookup::is_due`].
    fn is_client_due(&self, id: ServiceId) -> bool;
    /// Who is connecting, told apart from others in this way.
    fn client(&self, by: ClientsBy) -> u64;
    /// The endpoint that a socket which is not connected keeps for what it sends to, if it is among these in use.
    fn kept(&self, _in_use: &Range, _column: u16) -> Option<&Member> {
        None
    }
    /// The kind of process that is connecting.
    fn caller(&self) -> Caller;
    /// Who answers questions in place of the DNS servers that they are sent to; none where nobody does.
    fn nameserver(&self) -> Option<&Nameserver> {
        None
    }
    /// Whether that one answers the questions of this caller at the moment, at this address of its own.
    fn answers_instead(&self, _: Address, _: Port, _: Protocol) -> bool {
        false
    }
    /// Whether the socket that is connecting reaches IPv6 addresses alone.
    fn is_for_v6_alone(&self) -> bool {
        false
    }
}
