//! Where a connect can end, and which endpoints of the service it cannot end at.

use super::explain::{name, ranges, word};
use super::kept::Kept;
use super::rate::Rate;
use super::shares::{Drawn, shares};
use crate::api::{Candidate, KeptEndpoint, LeftOut, TimeBase};
use crate::kernel::Snapshot;
use crate::tables::{Listed, LookedUp, Remembered, Tables, Whose, filled};
use kmesh_lite_common::{
    Balance, Caller, ClientsBy, EndpointId, Family, Frontend, Policy, Port, Range, Service,
    ServiceId,
};
use kmesh_lite_ebpf::{Connect, Refuse, Verdict};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// What is known against an endpoint of a service, with its address and its own ports by column.
pub type WhyDown<'a> = &'a dyn Fn(&str, IpAddr, &[Port]) -> Option<String>;

/// The choice that a connect met on its way.
pub struct Choice<'a> {
    snapshot: &'a Snapshot,
    connect: &'a Connect,
    verdict: &'a Verdict,
    frontend: &'a Frontend,
    service: &'a Service,
    id: ServiceId,
    /// Who connects.
    whose: Whose,
    /// The range that is drawn from, with its priority; none if the policy allows none.
    drawn: Option<(usize, &'a Range)>,
    /// What the client keeps, if it is known who that is.
    kept: Option<Kept>,
    /// The rates that the service sets, as far as it is known what is used up.
    of_service: Option<Rate>,
    of_client: Option<Rate>,
}

impl<'a> Choice<'a> {
    /// None if the connect ended before a choice, or without one.
    pub fn of(
        snapshot: &'a Snapshot,
        connect: &'a Connect,
        whose: Whose,
        (verdict, found): (&'a Verdict, &'a [LookedUp]),
        remembered: &Remembered,
    ) -> Option<Self> {
        let frontend = found.iter().find_map(|found| match found {
            LookedUp::Frontend(Some(row)) => Some(row),
            _ => None,
        })?;
        let (id, service) = found.iter().find_map(|found| match found {
            LookedUp::Service(id, Some(row)) => Some((*id, row)),
            _ => None,
        })?;
        let drawn = found.iter().find_map(|found| match found {
            LookedUp::Endpoint(index, _) => Some(*index),
            _ => None,
        });
        let holds = |range: &Range, index: u32| {
            let first = range.column(frontend.column);
            first <= index && index - first < range.count
        };
        let ranges = ranges(service, connect).iter().enumerate();
        let drawn = drawn.and_then(|index| ranges.clone().find(|(_, range)| holds(range, index)));
        let rate = |interval: u32, due: u64| {
            let now = remembered.now;
            (interval != 0).then_some(Rate { interval, due, now })
        };
        let due = snapshot.counters.open.due.get(&id);
        let of_client = found.iter().find_map(|found| match found {
            LookedUp::Made(_, row) => {
                rate(service.clients.interval, row.map_or(0, |made| made.moment))
            }
            _ => None,
        });
        Some(Self {
            snapshot,
            connect,
            verdict,
            frontend,
            service,
            id,
            whose,
            drawn,
            kept: Kept::of(found, service.clients.affinity, remembered),
            of_service: due.and_then(|due| rate(service.picking.interval, *due)),
            of_client,
        })
    }

    /// What the choice depends on, if it depends on who connects.
    pub fn by_client(&self) -> Option<ClientsBy> {
        let picking = &self.service.picking;
        picking.is_by_client().then(|| picking.clients_by())
    }

    /// Whether clients are given endpoints by their hashes.
    pub fn hashes(&self) -> bool {
        self.service.picking.hashes()
    }

    /// Whether the one of two with fewer open connections is taken.
    pub fn is_least(&self) -> bool {
        self.service.picking.balance == Balance::LeastConnections
    }

    /// Whether open connections are counted, and may be too many.
    pub fn counts(&self) -> bool {
        self.service.picking.counts()
    }

    /// Whether it is known who connects, and the choice depends on it.
    pub fn is_known(&self) -> bool {
        let by = self.by_client();
        by.is_some_and(|by| self.whose.client(by).is_some())
    }

    /// Whether the connect goes where the client connected last, because it keeps that.
    pub fn is_kept(&self) -> bool {
        let kept = self.kept.as_ref().and_then(|kept| kept.endpoint);
        kept.is_some() && self.chosen() == kept
    }

    /// What the client keeps, if it is known who that is.
    pub fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// The endpoint that the client keeps.
    pub fn kept_endpoint(&self, base: TimeBase) -> Option<KeptEndpoint> {
        let kept = self.kept.as_ref()?;
        let listed = crate::tables::ranges(self.service);
        let mut listed = listed.flat_map(|range| self.tables().listed(range));
        let listed = listed.find(|listed| listed.id.is_some() && listed.id == kept.endpoint)?;
        Some(KeptEndpoint {
            endpoint: self.target(&listed)?.to_string(),
            dns: None,
            until: base.tell(kept.until),
            taken: self.is_kept(),
        })
    }

    /// The rate that a connect is refused for.
    pub fn rate_of(&self, reason: Refuse) -> Option<Rate> {
        match reason {
            Refuse::TooFast => self.of_service,
            Refuse::ClientTooFast => self.of_client,
            _ => None,
        }
    }

    /// How many connects the service and its client may make at this moment, as far as that is known.
    pub fn rates(&self) -> [Option<Rate>; 2] {
        [self.of_service, self.of_client]
    }

    fn tables(&self) -> &'a Tables {
        &self.snapshot.tables
    }

    /// The endpoint that the connect goes to, or one of those.
    fn chosen(&self) -> Option<EndpointId> {
        match self.verdict {
            Verdict::Redirect(to) => to.chosen.endpoint,
            _ => None,
        }
    }

    /// The endpoints of the range that is drawn from, each with how likely it is that the connect ends there.
    fn shared(&self, range: &Range) -> Vec<(Listed, f64)> {
        let listed: Vec<_> = self.tables().listed(range).collect();
        // A client with an endpoint that it keeps, or with slots of its own, has one only.
        if self.is_kept() || self.is_known() && self.hashes() {
            let chosen = self.chosen();
            let share = |it: Listed| {
                let share = f64::from(u8::from(it.id == chosen));
                (it, share)
            };
            return listed.into_iter().map(share).collect();
        }
        let open = |id| self.snapshot.counters.open.endpoint(id);
        let drawn = listed.iter().map(|it| Drawn {
            parts: it.parts,
            weight: it.weight,
            open: it.id.map_or(0, open),
            has_room: !self.is_full(it),
        });
        let shares = shares(&drawn.collect::<Vec<_>>(), self.is_least());
        listed.into_iter().zip(shares).collect()
    }

    /// Why the connect does not end at an endpoint of the range that is drawn from.
    fn why_not(&self, listed: &Listed, range: &Range) -> String {
        if self.is_kept() {
            let by = self.service.picking.clients_by();
            return format!("this {} keeps another endpoint", word(by));
        }
        if self.hashes() {
            return format!(
                "its {} of {} slots are those of other clients",
                listed.parts, range.total
            );
        }
        let open = listed
            .id
            .map_or(0, |id| self.snapshot.counters.open.endpoint(id));
        format!("it has {open} open connections, and each of the others has fewer for its weight")
    }

    /// An endpoint with the port that this connect would go to.
    fn target(&self, listed: &Listed) -> Option<SocketAddr> {
        let own = listed.ports.get(usize::from(self.frontend.column));
        let own = own.filter(|port| port.get() != 0);
        let port = own.unwrap_or(&self.frontend.target).get();
        Some(SocketAddr::new(self.tables().address(listed)?, port))
    }

    /// Every place where the connect can end.
    pub fn candidates(&self, why_down: WhyDown<'_>) -> Vec<Candidate> {
        if !matches!(self.verdict, Verdict::Redirect(_)) {
            return Vec::new();
        }
        let Some((priority, range)) = self.drawn else {
            // The waypoint of the service chooses.
            let connects = self.snapshot.counters.service(self.id);
            let mut only = only(self.snapshot, self.verdict);
            only.iter_mut().for_each(|it| it.connects = Some(connects));
            return only;
        };
        let (tables, counters) = (self.tables(), &self.snapshot.counters);
        let service = self.service.name.to_string();
        let counts = self.service.picking.counts();
        let candidate = |(listed, share): (Listed, f64)| {
            let backend = tables.rows.backends.get(&listed.backend?)?;
            Some(Candidate {
                endpoint: self.target(&listed)?.to_string(),
                dns: None,
                priority,
                weight: listed.weight,
                share,
                connects: listed.id.map(|id| counters.endpoint(id)),
                down: why_down(&service, IpAddr::from(backend.address), &listed.ports),
                open: listed
                    .id
                    .filter(|_| counts)
                    .map(|id| counters.open.endpoint(id)),
                max_connections: limit(self.service, &listed),
                waypoint: backend.waypoint.map(|id| name(tables, id)),
            })
        };
        let possible = self.shared(range).into_iter();
        let possible = possible.filter(|(_, share)| *share > 0.0);
        possible.filter_map(candidate).collect()
    }

    /// Endpoints that the connect cannot end at, each with the reason.
    pub fn left_out(&self, why_down: WhyDown<'_>) -> Vec<LeftOut> {
        let tables = self.tables();
        // The waypoint chooses, and we do not know by what.
        if self.service.waypoint.is_some() && self.drawn.is_none() {
            return Vec::new();
        }
        let mut left_out = Vec::new();
        let mut add =
            |range: &Range, why: &dyn Fn(&Listed) -> Option<String>, of_family: Option<Family>| {
                for listed in tables.listed(range) {
                    let Some(target) = self.target(&listed) else {
                        continue;
                    };
                    let why = if self.is_full(&listed) {
                        self.full(&listed)
                    } else {
                        match why(&listed) {
                            Some(why) => why,
                            None => continue,
                        }
                    };
                    if of_family.is_none_or(|family| family == Family::from(target.ip())) {
                        left_out.push(LeftOut {
                            endpoint: target.to_string(),
                            dns: None,
                            why,
                        });
                    }
                }
            };
        let drawn = self.drawn.map(|(priority, _)| priority);
        let is_used = |priority: usize, range: &Range| match self.verdict {
            // Nothing was drawn: endpoints are in nobody's way.
            Verdict::Refuse(Refuse::ServiceFull | Refuse::TooFast | Refuse::ClientTooFast) => {
                range.first == self.frontend.in_use.first
            }
            _ => Some(priority) == drawn,
        };
        for (priority, range) in filled(ranges(self.service, self.connect)) {
            if is_used(priority, range) {
                // A client that is not known may keep any of them.
                let may_be_kept = self.service.clients.affinity != 0 && !self.is_known();
                let never: Vec<_> = match self.verdict {
                    Verdict::Redirect(_) if !may_be_kept => self.shared(range),
                    _ => Vec::new(),
                };
                let never = never.into_iter().filter(|(_, share)| *share == 0.0);
                let never: BTreeSet<_> = never.filter_map(|(listed, _)| listed.id).collect();
                let why = |listed: &Listed| {
                    let is_never = listed.id.is_some_and(|id| never.contains(&id));
                    is_never.then(|| self.why_not(listed, range))
                };
                add(range, &why, None);
            } else {
                let why = match self.service.policy {
                    Policy::Failover if self.service.picking.counts() => format!(
                        "priority {priority}: only while no endpoint with room is nearer than that"
                    ),
                    Policy::Failover => {
                        format!("priority {priority}: only while no endpoint is nearer than that")
                    }
                    policy => format!("priority {priority}: the policy {policy} allows 0 only"),
                };
                add(range, &|_| Some(why.clone()), None);
            }
        }
        let (other, family, why) = match self.connect.address.family() {
            Family::V4 => (
                &self.service.v6,
                Family::V6,
                "an IPv6 address, which clients of an IPv4 address cannot reach",
            ),
            Family::V6 => (
                &self.service.v4,
                Family::V4,
                "an IPv4 address: clients of an IPv6 address get it only where no endpoint has an IPv6 one",
            ),
        };
        if self.service.v4 != self.service.v6 {
            for (_, range) in filled(other) {
                add(range, &|_| Some(why.to_owned()), Some(family));
            }
        }
        let service = self.service.name.to_string();
        let why = |listed: &Listed| {
            let address = tables.address(listed);
            let known = address.and_then(|address| why_down(&service, address, &listed.ports));
            Some(known.unwrap_or_else(|| takes_none(listed)))
        };
        add(&self.service.drained, &why, None);
        left_out
    }

    /// Whether an endpoint has as many connections as it may have.
    fn is_full(&self, listed: &Listed) -> bool {
        // What the waypoint of a backend passes on was counted when its client connected.
        let row = listed
            .backend
            .and_then(|id| self.tables().rows.backends.get(&id));
        let is_behind = row.is_some_and(|row| row.waypoint.is_some());
        if self.whose.caller == Caller::Waypoint && is_behind {
            return false;
        }
        let limit = limit(self.service, listed).zip(listed.id);
        limit.is_some_and(|(limit, id)| self.snapshot.counters.open.endpoint(id) >= limit)
    }

    /// The same in words.
    fn full(&self, listed: &Listed) -> String {
        let open = listed
            .id
            .map_or(0, |id| self.snapshot.counters.open.endpoint(id));
        let limit = listed.limit;
        format!("it has {open} open connections, of {limit} that it may have")
    }
}

/// Why an endpoint takes no new connections at any priority. One that only a fact keeps from it has its weight.
fn takes_none(listed: &Listed) -> String {
    match listed.weight {
        0 => "weight 0: it is drained".to_owned(),
        weight => format!("unusable for now; its weight is {weight}"),
    }
}

/// The place where a connect ends that no choice of ours was made for: a waypoint, of a service or of a backend that was
/// asked for directly.
pub fn only(snapshot: &Snapshot, verdict: &Verdict) -> Vec<Candidate> {
    let Verdict::Redirect(redirect) = verdict else {
        return Vec::new();
    };
    let address = IpAddr::from(redirect.address);
    vec![Candidate {
        endpoint: SocketAddr::new(address, redirect.port.get()).to_string(),
        dns: None,
        priority: 0,
        weight: 1,
        share: 1.0,
        connects: None,
        down: None,
        open: None,
        max_connections: None,
        waypoint: redirect.waypoint.map(|id| name(&snapshot.tables, id)),
    }]
}

/// How many connections to an endpoint may be open.
fn limit(service: &Service, listed: &Listed) -> Option<u32> {
    let limit = Some(listed.limit).filter(|limit| *limit != 0);
    limit.filter(|_| service.picking.counts())
}

#[cfg(test)]
mod tests {
    use crate::api::{Explanation, TimeBase};
    use crate::config::{Fragments, Host, Loader, Origin};
    use crate::host::Lineage;
    use crate::kernel::Snapshot;
    use crate::model::{Down, EndpointFact, Facts, Protocol, Standing};
    use crate::report::{Asked, Client, explain};
    use crate::tables::{Actual, Counters, Remembered, build};
    use kmesh_lite_ebpf::Outcome;
    use std::collections::BTreeSet;

    /// What becomes of a connect to `10.96.0.10:80` or `[fd00:96::10]:80`, on a node in `a/x`.
    fn explained(policy: &str, endpoints: &str, address: &str) -> Explanation {
        explained_without(&[], policy, endpoints, address)
    }

    /// The same while the endpoints with these numbers are unusable.
    fn explained_without(
        unusable: &[usize],
        policy: &str,
        endpoints: &str,
        address: &str,
    ) -> Explanation {
        explained_to(Client::ANY, unusable, policy, endpoints, address)
    }

    /// The same for somebody.
    fn explained_to(
        client: Client,
        unusable: &[usize],
        policy: &str,
        endpoints: &str,
        address: &str,
    ) -> Explanation {
        let text = format!(
            "node.locality = 'a/x'
             [waypoints.edge]
             address = '10.0.0.5:15008'
             header = 'none'
             [services.web]
             vips = ['10.96.0.10', 'fd00:96::10']
             ports = ['80:8080']
             {policy}
             endpoints = [{endpoints}]"
        );
        let fragments = Fragments::from_iter([(Origin::new("mesh.toml"), text)]);
        let loaded = Loader::default().load(&fragments, &Host::default());
        let mesh = loaded.mesh.unwrap();
        let mut facts = Facts::default();
        for number in unusable {
            facts.learn(EndpointFact {
                service: "web".parse().unwrap(),
                endpoint: (&mesh.services["web"].endpoints[*number]).into(),
                standing: Standing::down(Down::Unhealthy),
            });
        }
        let built = build(&mesh, &facts, &Actual::default(), 0);
        let tables = built.unwrap().tables;
        let ids = tables.endpoint_ids().into_iter();
        let services = tables.rows.services.keys().map(|id| (*id, 70));
        let mut counters = Counters {
            outcomes: [(Outcome::Endpoint, 700), (Outcome::ServiceWaypoint, 7_000)].into(),
            endpoints: ids.map(|id| (id, u64::from(id.index()) + 1)).collect(),
            ..Counters::default()
        };
        counters.connects.services = services.collect();
        let snapshot = Snapshot {
            attached: vec!["/".into()],
            counters,
            tables,
            ..Snapshot::default()
        };
        let asked = Asked {
            client,
            address: address.parse().unwrap(),
            protocol: Protocol::Tcp,
        };
        let remembered = Remembered::default();
        let base = TimeBase::default();
        explain(&snapshot, &asked, &remembered, base, &|_, _, _| None)
    }

    fn left_out(explanation: &Explanation) -> Vec<(&str, &str)> {
        let left_out = explanation.left_out.iter();
        left_out
            .map(|it| (it.endpoint.as_str(), it.why.as_str()))
            .collect()
    }

    const NEAR: &str = "{ address = '192.168.1.10', locality = 'a/x' }";
    const FAR: &str = "{ address = '192.168.1.11:81', locality = 'b/y' }";
    const DRAINED: &str = "{ address = '192.168.1.12', locality = 'a/x', weight = 0 }";

    #[test]
    fn an_endpoint_that_is_left_out_has_its_reason() {
        let endpoints = [NEAR, FAR, DRAINED].join(", ");
        let web = explained("policy = 'failover'", &endpoints, "10.96.0.10:80");
        assert_eq!(web.candidates.len(), 1);
        let found = left_out(&web);
        // How often that was decided: in all, for the service, and for the endpoint.
        assert_eq!(web.outcome_count, Some(700));
        let service = web.steps.iter().find(|step| step.name == "service");
        assert_eq!(service.unwrap().fields["connects"], 70);
        assert!(
            web.candidates[0]
                .connects
                .is_some_and(|it| it > 0 && it < 70)
        );
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].0, "192.168.1.11:81");
        assert!(found[0].1.contains("nearer"), "{found:?}");
        assert_eq!(found[1], ("192.168.1.12:8080", "weight 0: it is drained"));

        let strict = explained(
            "policy = 'strict'\nprefer = ['region']",
            FAR,
            "10.96.0.10:80",
        );
        assert!(strict.candidates.is_empty());
        assert!(left_out(&strict)[0].1.contains("strict"), "{strict:?}");
    }

    #[test]
    fn an_endpoint_that_a_fact_makes_unusable_is_not_called_drained() {
        let endpoints = [NEAR, FAR, DRAINED].join(", ");
        let unusable = [0, 2];
        let web = explained_without(
            &unusable,
            "policy = 'failover'",
            &endpoints,
            "10.96.0.10:80",
        );
        assert_eq!(web.candidates[0].endpoint, "192.168.1.11:81");
        let expected = [
            ("192.168.1.10:8080", "unusable for now; its weight is 1"),
            ("192.168.1.12:8080", "weight 0: it is drained"),
        ];
        assert_eq!(left_out(&web), expected);
    }

    #[test]
    fn an_address_of_another_family_is_left_out() {
        let both = "'192.168.1.10', 'fd00::10'";
        let v4 = explained("", both, "10.96.0.10:80");
        assert_eq!(left_out(&v4)[0].0, "[fd00::10]:8080");
        let v6 = explained("", both, "[fd00:96::10]:80");
        assert_eq!(left_out(&v6)[0].0, "192.168.1.10:8080");
        // Where there is no IPv6 endpoint, IPv4 ones serve both.
        let v6 = explained("", "'192.168.1.10'", "[fd00:96::10]:80");
        assert_eq!((v6.candidates.len(), v6.left_out.len()), (1, 0));
    }

    #[test]
    fn a_client_that_is_known_has_one_endpoint_and_others_share_by_their_slots() {
        let endpoints = [NEAR, FAR, "{ address = '192.168.1.13', weight = 2 }"].join(", ");
        let policy = "balance = 'consistent-hash'\nhash_slots = 101";
        let shares = |web: &Explanation| -> Vec<f64> {
            let candidates = web.candidates.iter();
            candidates.map(|it| (it.share * 101.0).round()).collect()
        };
        let anybody = explained(policy, &endpoints, "10.96.0.10:80");
        assert_eq!(shares(&anybody).iter().sum::<f64>(), 101.0, "{anybody:?}");
        assert!(
            shares(&anybody)
                .iter()
                .all(|it| [25.0, 26.0, 50.0, 51.0].contains(it))
        );
        assert!(
            anybody.text.contains("the same for each unit"),
            "{}",
            anybody.text
        );
        let of = |cgroup: u64| {
            let lineage = Lineage {
                path: "/x.slice".into(),
                ids: vec![1, cgroup],
            };
            let client = Client {
                lineage: Some(lineage),
                ..Client::ANY
            };
            explained_to(client, &[], policy, &endpoints, "10.96.0.10:80")
        };
        let mut seen = BTreeSet::new();
        for cgroup in 1_000..1_030 {
            let web = of(cgroup);
            assert_eq!(shares(&web), [101.0], "{web:?}");
            let found = left_out(&web);
            assert_eq!(found.len(), 2, "{found:?}");
            assert!(
                found.iter().all(|(_, why)| why.contains("of 101 slots")),
                "{found:?}"
            );
            assert_eq!(of(cgroup).text, web.text);
            seen.insert(web.candidates[0].endpoint.clone());
        }
        assert_eq!(seen.len(), 3, "{seen:?}");
    }

    #[test]
    fn where_a_waypoint_chooses_the_connect_ends_there() {
        let web = explained("waypoint = 'edge'", "'192.168.1.10'", "10.96.0.10:80");
        assert_eq!(web.candidates[0].endpoint, "10.0.0.5:15008");
        assert_eq!(web.candidates[0].connects, Some(70));
        assert_eq!(web.outcome_count, Some(7_000));
        assert!(web.left_out.is_empty());
    }
}
