//! The decision over a copy of the tables, with a record of what it looked up.

use super::{OpenConnections, Tables};
use kmesh_lite_common::{
    Address, AddressRow, Backend, BackendId, Caller, ClientKey, ClientsBy, Endpoint, EndpointId,
    Frontend, FrontendKey, Held, Rule, RuleKey, Service, ServiceId, Waypoint, WaypointId,
};
use kmesh_lite_ebpf::{
    Connect, Judgement, Lookup, Rules, Seats, Verdict, authorize, decide, mixed,
};
use std::cell::RefCell;

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
    Judgement(ServiceId, Judgement),
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
            _ => None,
        }
    }
}

/// Decides `connect` as the programs would, for somebody, with `draw` in place of
/// every random number, while so many connections are `open`. Also gives each lookup in the order in which it was made.
pub fn replay(
    tables: &Tables,
    connect: &Connect,
    whose: Whose,
    draw: u32,
    open: &OpenConnections,
) -> (Verdict, Vec<LookedUp>) {
    let replay = Replay {
        tables,
        whose,
        draw,
        open,
        found: RefCell::default(),
    };
    let verdict = decide(&replay, connect);
    (verdict, replay.found.into_inner())
}

/// A client that is not known. No cgroup has this id.
const NOBODY: u64 = 0;

struct Replay<'a> {
    tables: &'a Tables,
    whose: Whose,
    draw: u32,
    open: &'a OpenConnections,
    found: RefCell<Vec<LookedUp>>,
}

impl Replay<'_> {
    fn record(&self, found: LookedUp) {
        self.found.borrow_mut().push(found);
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

    /// Nothing is counted: nobody connects.
    fn take(&self, id: EndpointId, limit: u32) -> bool {
        limit == 0 || self.open.endpoint(id) < limit
    }

    /// What clients keep is not known here.
    fn held(&self, _: &ClientKey, _: u32) -> Option<Held> {
        None
    }

    fn hold(&self, _: &ClientKey, _: Held) {}

    fn random(&self) -> u32 {
        self.draw
    }

    fn of_client(&self, client: u64, attempt: u32) -> u32 {
        match client {
            NOBODY => self.draw,
            client => mixed(client, attempt),
        }
    }
}

impl Rules for Replay<'_> {
    fn rule(&self, key: &RuleKey) -> Option<&Rule> {
        let rules = &self.tables.rows.rules;
        rules.values().find(|rule| rule.key == *key)
    }

    fn cgroup(&self, level: u32) -> u64 {
        let ids = self.whose.lineage.get(level as usize);
        ids.copied().unwrap_or(NOBODY)
    }

    fn user(&self) -> u32 {
        self.whose.user.unwrap_or(u32::MAX)
    }

    fn group(&self) -> u32 {
        self.whose.group.unwrap_or(u32::MAX)
    }
}

impl Lookup for Replay<'_> {
    fn authorize(&self, service: ServiceId) -> Judgement {
        let judgement = authorize(self, service);
        self.record(LookedUp::Judgement(service, judgement));
        judgement
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

    fn is_due(&self, _: ServiceId, _: u32) -> bool {
        true
    }

    fn is_client_due(&self, _: ServiceId) -> bool {
        true
    }

    fn client(&self, by: ClientsBy) -> u64 {
        self.whose.client(by).unwrap_or(NOBODY)
    }

    fn caller(&self) -> Caller {
        self.whose.caller
    }
}
