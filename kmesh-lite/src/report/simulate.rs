//! What would happen if something were down.
//!
//! In: the mesh and the facts of the moment, and what is down. Out: what each service does now and would do then, out of
//! tables that are built by the functions that build those of the kernel.

use crate::api::{Failure, FailureKind, SimulatedEndpoint, SimulatedService, Simulation};
use crate::config::{closest, meant};
use crate::model::{
    Down, Endpoint, EndpointFact, Facts, Membership, Mesh, Name, OperatorState, Policy, Scope,
    Service, Standing, priority,
};
use crate::tables::{Actual, BuildError, Tables, build, uses_all};
use kmesh_lite_common::{Family, Range};
use kmesh_lite_ebpf::in_use;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Something that is down.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fallen {
    Place(Scope, String),
    Endpoints(BTreeSet<(Name, Membership)>),
    Waypoint(Name),
}

/// What each service would do while what `down` names is down.
pub fn simulate(mesh: &Mesh, facts: &Facts, down: &[String]) -> Result<Simulation, Failure> {
    let fallen: Vec<_> = down
        .iter()
        .map(|text| Fallen::read(mesh, text))
        .collect::<Result<_, _>>()?;
    let mut then = facts.clone();
    let mut endpoints_down = 0;
    for (name, service) in &mesh.services {
        for endpoint in &service.endpoints {
            if !fallen.iter().any(|it| it.takes(name, endpoint)) {
                continue;
            }
            let member = Membership::from(endpoint);
            let standings = facts.standings.get(name);
            let standing = standings.and_then(|all| all.get(&member)).copied();
            let standing = standing.unwrap_or_default();
            endpoints_down += usize::from(standing.down.is_none());
            // What the operator wants stays what it is.
            if !standing.down.is_some_and(Down::is_meant) {
                then.learn(EndpointFact {
                    service: name.clone(),
                    endpoint: member,
                    standing: Standing {
                        down: Some(Down::Unhealthy),
                        ..standing
                    },
                });
            }
        }
    }
    let now = tables(mesh, facts)?;
    let later = tables(mesh, &then)?;
    let view = View {
        mesh,
        facts: (facts, &then),
        fallen: &fallen,
        now: &now,
        later: &later,
    };
    let services = mesh.services.iter();
    let mut services: Vec<_> = services.map(|(name, it)| view.service(name, it)).collect();
    services.sort_by_key(|service| !service.changes);
    let endpoints = services.iter().flat_map(|it| &it.endpoints);
    Ok(Simulation {
        endpoints_down,
        endpoints_overloaded: endpoints.filter(|it| it.overloaded).count(),
        services,
    })
}

/// Tables beside those of the kernel, of which nothing is kept.
fn tables(mesh: &Mesh, facts: &Facts) -> Result<Tables, Failure> {
    let counters = u32::MAX;
    let built = build(mesh, facts, &Actual::default(), counters);
    let failed = |error: BuildError| Failure::new(FailureKind::Failed, error.to_string());
    Ok(built.map_err(failed)?.tables)
}

impl Fallen {
    fn read(mesh: &Mesh, text: &str) -> Result<Self, Failure> {
        let wrong = |error: String| Failure::new(FailureKind::BadRequest, error);
        let absent = |error: String| Failure::new(FailureKind::NotFound, error);
        const KEYS: &str = "network, region, zone, subzone, node, cluster, endpoint or waypoint";
        let Some((key, value)) = text.split_once('=') else {
            return Err(wrong(format!(
                "{text:?} is not KEY=VALUE, where KEY is {KEYS}"
            )));
        };
        if let Some(scope) = Scope::ALL.into_iter().find(|scope| scope.as_str() == key) {
            let endpoints = mesh.services.values().flat_map(|it| &it.endpoints);
            let known: BTreeSet<_> = endpoints.filter_map(|it| scope.of(&it.place)).collect();
            if known.contains(value) {
                return Ok(Self::Place(scope, value.to_owned()));
            }
            return Err(absent(hinted(
                format!("no endpoint is in the {key} {value:?}"),
                value,
                known.into_iter(),
            )));
        }
        match key {
            "endpoint" => {
                let named = mesh.endpoints_named(value);
                let named = named.map_err(|error| absent(error.to_string()))?;
                let named = named.into_iter();
                Ok(Self::Endpoints(
                    named.map(|(name, it)| (name.clone(), it.into())).collect(),
                ))
            }
            "waypoint" => match mesh.waypoints.get_key_value(value) {
                Some((name, _)) => Ok(Self::Waypoint(name.clone())),
                None => Err(absent(hinted(
                    format!("there is no waypoint {value:?}"),
                    value,
                    mesh.waypoints.keys().map(Name::as_str),
                ))),
            },
            other => Err(wrong(format!("{other:?} cannot be down, but {KEYS} can"))),
        }
    }

    fn takes(&self, service: &Name, endpoint: &Endpoint) -> bool {
        match self {
            Self::Place(scope, value) => scope.of(&endpoint.place) == Some(value),
            Self::Endpoints(all) => all.contains(&(service.clone(), endpoint.into())),
            Self::Waypoint(_) => false,
        }
    }
}

fn hinted<'a>(error: String, wanted: &str, known: impl Iterator<Item = &'a str>) -> String {
    match closest(wanted, known) {
        Some(near) => format!("{error}; {}", meant(near)),
        None => error,
    }
}

/// Both tables.
struct View<'a> {
    mesh: &'a Mesh,
    /// Now, and then.
    facts: (&'a Facts, &'a Facts),
    fallen: &'a [Fallen],
    now: &'a Tables,
    later: &'a Tables,
}

/// Shares by endpoint, of which each address may have several.
type Shares = BTreeMap<(IpAddr, Vec<u16>), f64>;

impl View<'_> {
    fn service(&self, name: &Name, service: &Service) -> SimulatedService {
        let fallen = |name: &&Name| self.fallen.contains(&Fallen::Waypoint((*name).clone()));
        let waypoint = service.waypoint.as_ref().filter(fallen);
        let (now, later) = (row(self.now, name), row(self.later, name));
        let is_one =
            |row: &Option<&kmesh_lite_common::Service>| row.is_none_or(|it| it.v4 == it.v6);
        let families: &[_] = if is_one(&now) && is_one(&later) {
            &[(Family::V4, None)]
        } else {
            &[(Family::V4, Some("IPv4")), (Family::V6, Some("IPv6"))]
        };
        let uses_all =
            |facts| service.waypoint.is_none() && uses_all(self.mesh, name, service, facts);
        let (before, after) = (uses_all(self.facts.0), uses_all(self.facts.1));
        let mut of_service = SimulatedService {
            name: name.to_string(),
            waypoint_down: waypoint.map(ToString::to_string),
            // Shares may be the same.
            changes: waypoint.is_some() || before != after,
            uses_all: after,
            ..SimulatedService::default()
        };
        for (family, clients) in families {
            let of = |row: Option<&kmesh_lite_common::Service>| {
                row.map_or_else(Range::default, |row| in_use(row, *family))
            };
            let before = shares(self.now, &of(now));
            let after = shares(self.later, &of(later));
            of_service.refuses |= service.waypoint.is_none() && after.is_empty();
            of_service.changes |= before != after;
            for endpoint in &service.endpoints {
                let columns = service.columns();
                let own = service.own_ports(&columns, endpoint);
                let key = (
                    endpoint.address,
                    own.iter().map(|port| port.unwrap_or(0)).collect(),
                );
                let share = |shares: &Shares| shares.get(&key).copied().unwrap_or(0.0);
                let (share, share_then) = (share(&before), share(&after));
                if share == 0.0 && share_then == 0.0 {
                    continue;
                }
                let bears = self.bears(name, service, endpoint);
                of_service.endpoints.push(SimulatedEndpoint {
                    endpoint: endpoint.title(&service.ports),
                    clients: clients.map(str::to_owned),
                    locality: endpoint.place.locality.to_string(),
                    down: self.fallen.iter().any(|it| it.takes(name, endpoint)),
                    share,
                    share_then,
                    bears,
                    // Weights are whole numbers, so shares are nearly what they are to be.
                    overloaded: share_then > bears + 1e-3,
                });
            }
        }
        of_service
    }

    /// What share of the connections of a service an endpoint is meant to bear. How many come is not known here, but its
    /// weight says what it is given while all of its priority is there, and that these are to do for all of them.
    fn bears(&self, name: &Name, service: &Service, endpoint: &Endpoint) -> f64 {
        let standings = self.facts.0.standings.get(name);
        let weight = |it: &Endpoint| {
            let standing = standings.and_then(|all| all.get(&it.into()));
            let ordered = standing.and_then(|standing| standing.weight);
            f64::from(ordered.unwrap_or(it.weight))
        };
        let nearness = |it: &Endpoint| match service.policy {
            Policy::Random => 0,
            _ => priority(&service.prefer, &self.mesh.node, &it.place),
        };
        let of_priority = service.endpoints.iter().filter(|it| {
            it.state == OperatorState::Ready
                && Family::from(it.address) == Family::from(endpoint.address)
                && nearness(it) == nearness(endpoint)
        });
        let all: f64 = of_priority.map(weight).sum();
        let factor = service.overprovision.unwrap_or(OVERLOAD);
        weight(endpoint) / all.max(1.0) * f64::from(factor) / 100.0
    }
}

/// How much more than its share an endpoint bears where nothing is said, in percent: as much as Envoy reckons with.
const OVERLOAD: u32 = 140;

fn row<'a>(tables: &'a Tables, name: &Name) -> Option<&'a kmesh_lite_common::Service> {
    let mut rows = tables.rows.services.values();
    rows.find(|row| row.name == name.to_row())
}

/// The share of each endpoint of a range.
fn shares(tables: &Tables, range: &Range) -> Shares {
    let listed = tables.listed(range);
    let share = |parts| f64::from(parts) / f64::from(range.total.max(1));
    listed
        .filter_map(|it| {
            let ports = it.ports.iter().map(|port| port.get()).collect();
            Some(((tables.address(&it)?, ports), share(it.parts)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fragments, Host, Loader, Origin};

    const MESH: &str = "
        [node]
        locality = 'eu/a'
        [waypoints.edge]
        address = '10.0.0.5:15008'
        header = 'none'
        [services.far]
        vips = ['10.96.0.12']
        ports = [80]
        policy = 'failover'
        overprovision = 1.4
        endpoints = [
          { address = '10.0.1.1', locality = 'eu/a' },
          { address = '10.0.1.2', locality = 'eu/a' },
          { address = '10.0.2.1', locality = 'eu/b' },
        ]
        [services.here]
        vips = ['10.96.0.11']
        ports = [80]
        policy = 'strict'
        prefer = ['zone']
        endpoints = [{ address = '10.0.1.1', locality = 'eu/a' }]
        [services.other]
        vips = ['10.96.0.13']
        ports = [80]
        waypoint = 'edge'
        endpoints = ['10.0.9.1:81', '10.0.9.1:82']
    ";

    fn simulated(down: &[&str]) -> Result<Simulation, Failure> {
        let fragments = Fragments::from_iter([(Origin::new("mesh.toml"), MESH)]);
        let mesh = Loader::default().load(&fragments, &Host::default()).mesh;
        let down: Vec<_> = down.iter().map(|it| (*it).to_owned()).collect();
        simulate(&mesh.unwrap(), &Facts::default(), &down)
    }

    fn lines(simulation: &Simulation) -> Vec<String> {
        let changed = simulation.services.iter().filter(|it| it.changes);
        changed
            .map(|it| {
                let endpoints = it.endpoints.iter();
                let shares = endpoints.map(|it| {
                    format!(
                        "{} {:.2} {:.2}{}",
                        it.endpoint,
                        it.share,
                        it.share_then,
                        match (it.down, it.overloaded) {
                            (true, _) => " down",
                            (_, true) => " overloaded",
                            _ => "",
                        }
                    )
                });
                let shares = shares.collect::<Vec<_>>().join(", ");
                let refuses = if it.refuses { " refuses" } else { "" };
                let waypoint = it.waypoint_down.as_deref().unwrap_or("");
                format!("{}{refuses} {waypoint}: {shares}", it.name)
            })
            .collect()
    }

    #[test]
    fn a_zone_that_is_down_sends_its_connections_on_or_has_them_refused() {
        let simulation = simulated(&["zone=a"]).unwrap();
        assert_eq!(simulation.endpoints_down, 3);
        assert_eq!(
            lines(&simulation),
            [
                "far : 10.0.1.1 0.50 0.00 down, 10.0.1.2 0.50 0.00 down, 10.0.2.1 0.00 1.00",
                "here refuses : 10.0.1.1 1.00 0.00 down",
            ]
        );
    }

    #[test]
    fn an_endpoint_that_is_down_leaves_what_the_others_cannot_take_to_the_next_priority() {
        let simulation = simulated(&["endpoint=far/10.0.1.2"]).unwrap();
        assert_eq!(
            lines(&simulation),
            ["far : 10.0.1.1 0.50 0.70, 10.0.1.2 0.50 0.00 down, 10.0.2.1 0.00 0.30"]
        );
        // The others come behind it.
        assert_eq!(simulation.services.len(), 3);
        assert_eq!(simulation.services[0].name, "far");
    }

    #[test]
    fn an_endpoint_that_gets_more_than_its_weight_is_meant_for_is_told_of() {
        let of = |endpoints: &str, keys: &str, down: &str| {
            let text = format!(
                "node.locality = 'eu/a'
                 [services.web]
                 vips = ['10.96.0.11']
                 ports = [80]
                 {keys}
                 endpoints = [{endpoints}]"
            );
            let fragments = Fragments::from_iter([(Origin::new("mesh.toml"), text)]);
            let mesh = Loader::default().load(&fragments, &Host::default()).mesh;
            let down = [format!("endpoint={down}")];
            simulate(&mesh.unwrap(), &Facts::default(), &down).unwrap()
        };
        let three = "'10.0.1.1', '10.0.1.2', '10.0.1.3'";
        let four = "'10.0.1.1', '10.0.1.2', '10.0.1.3', '10.0.1.4'";
        let line = "web : 10.0.1.1 0.33 0.00 down, 10.0.1.2 0.33 0.50 overloaded, \
                    10.0.1.3 0.33 0.50 overloaded";
        let simulation = of(three, "", "10.0.1.1");
        assert_eq!(lines(&simulation), [line]);
        assert_eq!(simulation.endpoints_overloaded, 2);
        assert_eq!(of(four, "", "10.0.1.1").endpoints_overloaded, 0);
        let roomy = "policy = 'failover'\noverprovision = 2.0";
        assert_eq!(of(three, roomy, "10.0.1.1").endpoints_overloaded, 0);
        // Those of the next priority are meant for all of it, as the nearest are.
        let far = "{ address = '10.0.1.1', locality = 'eu/a' }, \
                   { address = '10.0.2.1', locality = 'eu/b' }, \
                   { address = '10.0.2.2', locality = 'eu/b', weight = 9 }";
        let simulation = of(far, "policy = 'failover'", "10.0.1.1");
        assert_eq!(simulation.endpoints_overloaded, 0, "{simulation:?}");
    }

    #[test]
    fn a_service_that_would_use_what_is_down_is_told_of_although_shares_stay() {
        let text = MESH.replace(
            "policy = 'strict'",
            "policy = 'strict'\non_all_down = 'use-all'",
        );
        let fragments = Fragments::from_iter([(Origin::new("mesh.toml"), text)]);
        let mesh = Loader::default().load(&fragments, &Host::default()).mesh;
        let mesh = mesh.unwrap();
        let down = ["endpoint=here/10.0.1.1".to_owned()];
        let simulated = |facts: &Facts| {
            let simulation = simulate(&mesh, facts, &down).unwrap();
            let mut services = simulation.services.into_iter();
            services.find(|it| it.name == "here").unwrap()
        };
        let mut facts = Facts::default();
        let here = simulated(&facts);
        assert!(here.changes && here.uses_all && !here.refuses, "{here:?}");
        assert_eq!(here.endpoints[0].share_then, 1.0);
        assert!(here.endpoints[0].down);
        // What the operator keeps out is not used.
        for (down, uses_all, refuses) in [
            (Down::Unhealthy, true, false),
            (Down::Maintenance, false, true),
        ] {
            facts.learn(EndpointFact {
                service: "here".parse().unwrap(),
                endpoint: (&mesh.services["here"].endpoints[0]).into(),
                standing: Standing::down(down),
            });
            let here = simulated(&facts);
            assert!(!here.changes, "as it is already: {here:?}");
            assert_eq!((here.uses_all, here.refuses), (uses_all, refuses));
        }
    }

    #[test]
    fn a_waypoint_that_is_down_is_told_of() {
        let simulation = simulated(&["waypoint=edge"]).unwrap();
        assert_eq!(
            lines(&simulation),
            ["other edge: 10.0.9.1:81 0.50 0.50, 10.0.9.1:82 0.50 0.50"]
        );
    }

    #[test]
    fn what_nothing_has_is_an_error() {
        for (down, error) in [
            ("zone", "\"zone\" is not KEY=VALUE"),
            (
                "rack=a",
                "\"rack\" cannot be down, but network, region, zone",
            ),
            ("zone=c", "no endpoint is in the zone \"c\""),
            (
                "endpoint=10.9.9.9",
                "no service has the endpoint `10.9.9.9`",
            ),
            (
                "waypoint=edg",
                "there is no waypoint \"edg\"; did you mean `edge`?",
            ),
        ] {
            let failure = simulated(&[down]).unwrap_err();
            assert!(failure.error.contains(error), "{failure}");
        }
    }
}
