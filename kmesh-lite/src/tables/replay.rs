//! The decision over a copy of the tables, with a record of what it looked up.

use super::judge::{destination, judge_guarded};
use super::{OpenConnections, Remembered, Tables};
use kmesh_lite_common::{
    Address, AddressRow, Backend, BackendId, Balance, Caller, ClientKey, ClientRow, ClientsBy,
    Destination, Endpoint, EndpointId, Frontend, FrontendKey, GuardId, Held, Judgement, Picking,
    Range, Service, ServiceId, Waypoint, WaypointId,
};
use kmesh_lite_ebpf::{Connect, Lookup, Search, Seats, Verdict, WALK, decide, mixed, walk_seats};
use std::cell::{Cell, RefCell};

/// What one lookup of the decision found, and the services that the frontends belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookedUp {
    Address(Option<AddressRow>),
    Frontend(Option<Frontend>),
    Service(ServiceId, Option<Service>),
    /// Index in the endpoint table.
    Endpoint(u32, Option<Endpoint>),
    Backend(BackendId, Option<Backend>),
    Waypoint(WaypointId, Option<Waypoint>),
    Judgement(GuardId, Judgement),
    /// What is remembered of the endpoint of the client.
    Kept(ClientKey, Option<ClientRow>),
    /// What is remembered of the connects of the client.
    Made(ClientKey, Option<ClientRow>),
}

impl LookedUp {
    /// The client that was looked up, if it was one.
    pub fn client(&self) -> Option<ClientKey> {
        match self {
            Self::Kept(key, _) | Self::Made(key, _) => Some(*key),
            _ => None,
        }
    }
}

/// Who connects, as far as that is known.
#[derive(Clone, Debug)]
pub struct Whose {
    pub caller: Caller,
    /// The id of its cgroup.
    pub cgroup: Option<u64>,
    /// The ids of that and of all above it, from the root on.
    pub lineage: Vec<u64>,
    pub user: Option<u32>,
    pub group: Option<u32>,
}

impl Whose {
    /// Anybody of this kind.
    pub const fn any(caller: Caller) -> Self {
        Self {
            caller,
            cgroup: None,
            lineage: Vec::new(),
            user: None,
            group: None,
        }
    }

    /// Who it is to a service that tells its clients apart in this way.
    pub fn client(&self, by: ClientsBy) -> Option<u64> {
        match by {
            ClientsBy::Unit => self.cgroup,
            ClientsBy::User => self.user.map(u64::from),
            _ => None,
        }
    }
}

/// Decides `connect` as the programs would, for somebody, with `draw` in place of
/// every random number, while so many connections are `open` and this is `remembered`. Also gives each lookup in the order
/// in which it was made. Nothing is counted or remembered: nobody connects.
pub fn replay(
    tables: &Tables,
    connect: &Connect,
    whose: Whose,
    draw: u32,
    open: &OpenConnections,
    remembered: &Remembered,
) -> (Verdict, Vec<LookedUp>) {
    let replay = Replay {
        tables,
        whose,
        draw: Cell::new(draw),
        is_known: Cell::new(false),
        open,
        remembered,
        found: RefCell::default(),
    };
    let verdict = decide(&replay, connect);
    (verdict, replay.found.into_inner())
}

/// Stands for a client that is not known.
const NOBODY: u64 = 0;

/// The least random number that is this one of so many.
fn random_for(number: u32, count: u32) -> u32 {
    (u64::from(number) << 32).div_ceil(u64::from(count)) as u32
}

struct Replay<'a> {
    tables: &'a Tables,
    whose: Whose,
    draw: Cell<u32>,
    /// Whether it is known who connects, where the decision asked for that.
    is_known: Cell<bool>,
    open: &'a OpenConnections,
    remembered: &'a Remembered,
    found: RefCell<Vec<LookedUp>>,
}

impl Replay<'_> {
    fn record(&self, found: LookedUp) {
        self.found.borrow_mut().push(found);
    }

    fn is_within(&self, due: u64, interval: u32) -> bool {
        Picking::is_due(due, self.remembered.now, interval.into())
    }
}

impl Seats for Replay<'_> {
    fn service(&self, id: ServiceId) -> Option<&Service> {
        self.tables.rows.services.get(&id)
    }

    fn endpoint(&self, index: u32) -> Option<&Endpoint> {
        let range = self.tables.endpoints.range(..=index).next_back();
        let row = range.and_then(|(first, rows)| rows.get((index - first) as usize));
        // Of those that were looked at, the last one was taken.
        let mut found = self.found.borrow_mut();
        found.retain(|found| !matches!(found, LookedUp::Endpoint(..)));
        found.push(LookedUp::Endpoint(index, row.copied()));
        row
    }

    fn open(&self, id: EndpointId) -> u32 {
        self.open.endpoint(id)
    }

    fn take(&self, id: EndpointId, limit: u32) -> bool {
        limit == 0 || self.open.endpoint(id) < limit
    }

    fn held(&self, key: &ClientKey, affinity: u32) -> Option<Held> {
        if !self.is_known.get() {
            return None;
        }
        let row = self.remembered.clients.get(key).copied();
        self.record(LookedUp::Kept(*key, row));
        self.remembered.kept(key, affinity)
    }

    fn hold(&self, _: &ClientKey, _: Held) {}

    fn random(&self) -> u32 {
        self.draw.get()
    }

    fn of_client(&self, client: u64, attempt: u32) -> u32 {
        match self.is_known.get() {
            true => mixed(client, attempt),
            false => self.draw.get(),
        }
    }

    /// From wherever a walk may begin: one that has room is found if any does.
    fn walk_seats(&self, range: &Range, search: &Search) -> Option<u32> {
        if self.is_known.get() && search.balance == Balance::ConsistentHash {
            return walk_seats(self, range, search);
        }
        let first = self.tables.endpoints.get(&range.first)?.first()?;
        let count = first.in_maglev().map_or(range.count, |it| it.endpoints);
        let draw = self.draw.get();
        let mut starts = (0..count).step_by(WALK as usize);
        let found = starts.find_map(|start| {
            self.draw.set(random_for(start, count));
            walk_seats(self, range, search)
        });
        self.draw.set(draw);
        found
    }
}

impl Lookup for Replay<'_> {
    fn authorize(&self, guard: GuardId) -> Judgement {
        let judgement = judge_guarded(self.tables, guard, &self.whose);
        self.record(LookedUp::Judgement(guard, judgement));
        judgement
    }

    fn destination(&self, key: &FrontendKey) -> Option<&Destination> {
        destination(self.tables, key)
    }

    fn address(&self, address: &Address) -> Option<&AddressRow> {
        let row = self
            .tables
            .rows
            .addresses
            .values()
            .find(|row| row.address == *address);
        self.record(LookedUp::Address(row.copied()));
        row
    }

    fn frontend(&self, key: &FrontendKey) -> Option<&Frontend> {
        let row = self
            .tables
            .rows
            .frontends
            .values()
            .find(|row| row.key == *key);
        self.record(LookedUp::Frontend(row.copied()));
        // The programs have no need to: what follows from the service stands in the row of the frontend.
        if let Some(id) = row.and_then(|row| row.service) {
            let service = self.tables.rows.services.get(&id);
            self.record(LookedUp::Service(id, service.copied()));
        }
        row
    }

    fn backend(&self, id: BackendId) -> Option<&Backend> {
        let row = self.tables.rows.backends.get(&id);
        self.record(LookedUp::Backend(id, row.copied()));
        row
    }

    fn waypoint(&self, id: WaypointId) -> Option<&Waypoint> {
        let row = self.tables.rows.waypoints.get(&id);
        self.record(LookedUp::Waypoint(id, row.copied()));
        row
    }

    fn leave(&self, _: Option<EndpointId>, _: Option<ServiceId>) {}

    fn take_service(&self, id: ServiceId, limit: u32) -> bool {
        limit == 0 || self.open.service(id) < limit
    }

    fn is_due(&self, id: ServiceId, interval: u32) -> bool {
        let due = self.open.due.get(&id);
        due.is_none_or(|due| self.is_within(*due, interval))
    }

    fn is_client_due(&self, id: ServiceId) -> bool {
        let (Some(cgroup), Some(service)) = (self.whose.cgroup, self.tables.rows.services.get(&id))
        else {
            return true;
        };
        let key = ClientKey::limited(id, cgroup);
        let row = self.remembered.clients.get(&key).copied();
        self.record(LookedUp::Made(key, row));
        row.is_none_or(|row| self.is_within(row.moment, service.clients.interval))
    }

    fn client(&self, by: ClientsBy) -> u64 {
        let client = self.whose.client(by);
        self.is_known.set(client.is_some());
        client.unwrap_or(NOBODY)
    }

    fn caller(&self) -> Caller {
        self.whose.caller
    }
}
