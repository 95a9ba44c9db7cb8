//! What only the whole mesh shows: frontends that collide, and addresses that lead in circles.

use super::super::Host;
use super::super::endpoint::VipText;
use super::address::{is_own, unusable};
use super::endpoint::SharedEndpoints;
use super::metrics::Written;
use super::service::LoweredService;
use super::waypoint::Waypoints;
use super::{Diagnostics, Spot};
use crate::model::{Backend, PortMapping, Protocol, Vip};
use imbl::OrdMap;
use ipnetwork::IpNetwork;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

pub struct Everything<'c, 'a> {
    pub host: &'c Host,
    pub vip_ranges: &'c [IpNetwork],
    pub waypoints: &'c Waypoints<'a>,
    pub shared: &'c SharedEndpoints<'a>,
    pub services: &'c [LoweredService<'a>],
    pub backends: &'c OrdMap<IpAddr, Backend>,
    /// Where the agent listens: for metrics, and for questions.
    pub listeners: [&'c Written<'a>; 2],
}

pub fn check(mesh: &Everything<'_, '_>, report: &mut Diagnostics) {
    let frontends = frontends(mesh, report);
    let vips = vips(mesh);
    waypoints_at_vips(mesh, &frontends, &vips, report);
    listeners_at_vips(mesh, &frontends, report);
    endpoints_at_vips(mesh, &vips, report);
    waypoint_cycles(mesh, report);
}

/// A frontend: address, port, protocol.
type FrontendAt = (IpAddr, u16, Protocol);

/// Whose each frontend is.
type Frontends<'c, 'a> = HashMap<FrontendAt, &'c LoweredService<'a>>;

/// Whose each fixed virtual address is; the first service, if several have it.
type VipOwners<'c, 'a> = BTreeMap<IpAddr, &'c LoweredService<'a>>;

/// Every frontend of a fixed address. Two services with the same one are an error.
fn frontends<'c, 'a>(mesh: &Everything<'c, 'a>, report: &mut Diagnostics) -> Frontends<'c, 'a> {
    let mut owners = Frontends::with_capacity(mesh.services.len());
    for service in mesh.services {
        for vip in &service.model.vips {
            let Vip::Fixed(ip) = vip else { continue };
            for port in &service.model.ports {
                let key = (*ip, port.port, port.protocol);
                match owners.entry(key) {
                    Entry::Vacant(vacant) => drop(vacant.insert(service)),
                    // Twice in one service has been told.
                    Entry::Occupied(first) if first.get().name() == service.name() => {}
                    Entry::Occupied(first) => collision(key, port, first.get(), service, report),
                }
            }
        }
    }
    owners
}

fn collision(
    key: FrontendAt,
    port: &PortMapping,
    a: &LoweredService<'_>,
    b: &LoweredService<'_>,
    report: &mut Diagnostics,
) {
    let (ip, _, protocol) = key;
    let address = SocketAddr::from((ip, port.port));
    let (Some(mut first), Some(mut second)) = (port_spot(a, port), port_spot(b, port)) else {
        return;
    };
    let (mut one, mut other) = (a.name(), b.name());
    if !report.is_before(first, second) {
        std::mem::swap(&mut first, &mut second);
        std::mem::swap(&mut one, &mut other);
    }
    let message =
        format!("the services `{one}` and `{other}` have the same frontend `{address}/{protocol}`");
    let problem = second.error(message);
    report.push(
        problem
            .related(first.place(), format!("declared by `{one}` here"))
            .help("give one of them another address or port"),
    );
}

/// Where a service declares a port.
fn port_spot<'a>(service: &LoweredService<'a>, port: &PortMapping) -> Option<Spot<'a>> {
    let same = |it: &PortMapping| (it.port, it.protocol) == (port.port, port.protocol);
    let written = service.ports().find(|item| same(&item.value.0))?;
    Some(service.spot(written.span))
}

/// Where a service has a fixed virtual address.
fn vip_spot<'a>(service: &LoweredService<'a>, ip: IpAddr) -> Option<Spot<'a>> {
    let is_it = |vip: &VipText| matches!(vip, VipText::Fixed(it) if *it == ip);
    let written = service.vips().find(|item| is_it(&item.value))?;
    Some(service.spot(written.span))
}

fn vips<'c, 'a>(mesh: &Everything<'c, 'a>) -> VipOwners<'c, 'a> {
    let mut vips = VipOwners::new();
    for service in mesh.services {
        for vip in &service.model.vips {
            if let Vip::Fixed(ip) = vip
                && unusable(*ip).is_none()
            {
                vips.entry(*ip).or_insert(service);
            }
        }
    }
    vips
}

/// Nothing listens at a virtual address, so a waypoint cannot be there.
fn waypoints_at_vips(
    mesh: &Everything<'_, '_>,
    frontends: &Frontends<'_, '_>,
    vips: &VipOwners<'_, '_>,
    report: &mut Diagnostics,
) {
    for (name, found) in mesh.waypoints {
        let Some(written) = found.address else {
            continue;
        };
        let address = written.value.0;
        let owner = vips.get(&address.ip());
        let Some(vip) = owner.and_then(|owner| vip_spot(owner, address.ip())) else {
            continue;
        };
        let key = (address.ip(), address.port(), Protocol::Tcp);
        // At an address of this host the waypoint may really listen, on a port that no service has.
        if is_own(mesh.host, address.ip()) && !frontends.contains_key(&key) {
            continue;
        }
        let message = format!("the waypoint `{name}` is at a virtual address of the mesh");
        report.push(
            Spot::new(found.anchor, written.span)
                .error(message)
                .expected("the address that the proxy itself listens on")
                .related(vip.place(), "the virtual address"),
        );
    }
}

/// What captured programs ask a listener at a frontend goes to the endpoints of the service.
fn listeners_at_vips(
    mesh: &Everything<'_, '_>,
    frontends: &Frontends<'_, '_>,
    report: &mut Diagnostics,
) {
    let [metrics, names] = mesh.listeners;
    let over_tcp = metrics.iter().chain(names);
    let over_tcp = over_tcp.map(|listener| (listener, Protocol::Tcp));
    let over_udp = names.iter().map(|listener| (listener, Protocol::Udp));
    for ((at, spot), protocol) in over_tcp.chain(over_udp) {
        let Some(owner) = frontends.get(&(at.ip(), at.port(), protocol)) else {
            continue;
        };
        let message = format!("`{at}` is a frontend of the service `{}`", owner.name());
        let problem = spot.warning(message);
        let problem = match vip_spot(owner, at.ip()) {
            Some(vip) => problem.related(vip.place(), "the virtual address"),
            None => problem,
        };
        report.push(problem.help("connections to it go to the endpoints of that service: listen at another address or port"));
    }
}

/// A connection is routed once: an endpoint that is itself a virtual address is taken as it is.
fn endpoints_at_vips(
    mesh: &Everything<'_, '_>,
    vips: &VipOwners<'_, '_>,
    report: &mut Diagnostics,
) {
    // Few virtual addresses are looked up among many endpoints, not the other way round.
    let suspects = vips.keys().filter(|ip| mesh.backends.contains_key(*ip));
    let mut suspects: BTreeSet<IpAddr> = suspects
        .copied()
        .filter(|ip| !is_own(mesh.host, *ip))
        .collect();
    if !suspects.is_empty() {
        // A service that has its own virtual address as an endpoint took over an address that exists.
        for service in mesh.services {
            for vip in &service.model.vips {
                if let Vip::Fixed(ip) = vip
                    && has_endpoint(service, *ip)
                {
                    suspects.remove(ip);
                }
            }
        }
    }
    let ranges = mesh.vip_ranges.iter();
    let ranges = ranges.map(|range| range.network()..=range.broadcast());
    let ranges: Vec<_> = ranges
        .filter(|range| mesh.backends.range(range.clone()).next().is_some())
        .collect();
    if suspects.is_empty() && ranges.is_empty() {
        return;
    }
    for service in mesh.services {
        let endpoints = &service.model.endpoints;
        let is_told = suspects.iter().any(|ip| has_endpoint(service, *ip))
            || ranges.iter().any(|range| {
                let first = endpoints.partition_point(|it| it.address < *range.start());
                endpoints
                    .get(first)
                    .is_some_and(|it| range.contains(&it.address))
            });
        if !is_told {
            continue;
        }
        for item in service.endpoints() {
            let Some(ip) = super::endpoint::address_of(&item.value, mesh.shared) else {
                continue;
            };
            let spot = service.spot(item.span);
            if let Some(range) = mesh.vip_ranges.iter().find(|range| range.contains(ip)) {
                let message = format!("the endpoint `{ip}` is in `vip_ranges` (`{range}`)");
                report.push(
                    spot.warning(message)
                        .help("`auto` may give this address to a service"),
                );
            }
            let owner = vips.get(&ip).filter(|_| suspects.contains(&ip));
            let Some(vip) = owner.and_then(|owner| vip_spot(owner, ip)) else {
                continue;
            };
            let message = format!("the endpoint `{ip}` is a virtual address of another service");
            report.push(
                spot.warning(message)
                    .related(vip.place(), "the virtual address")
                    .help(ONCE),
            );
        }
    }
    for found in mesh.shared.values().filter(|it| it.waypoint.is_some()) {
        let Some(address) = found.address else {
            continue;
        };
        let ip = address.value.0;
        let owner = vips.get(&ip).filter(|_| suspects.contains(&ip));
        let Some(vip) = owner.and_then(|owner| vip_spot(owner, ip)) else {
            continue;
        };
        let message = format!("the endpoint `{ip}` is a virtual address of a service");
        report.push(
            found
                .entry
                .at(address.span)
                .warning(message)
                .related(vip.place(), "the virtual address")
                .help(ONCE),
        );
    }
}

/// Whether an address is that of an endpoint of a service.
fn has_endpoint(service: &LoweredService<'_>, ip: IpAddr) -> bool {
    let endpoints = &service.model.endpoints;
    endpoints
        .binary_search_by_key(&ip, |endpoint| endpoint.address)
        .is_ok()
}

const ONCE: &str = "connections are routed once: they go to this address itself and not on to that service's endpoints; \
     and as the address of an endpoint it passes connections to undeclared ports, which are refused otherwise";

/// A waypoint's host may be a captured endpoint itself; if that leads back, connections never
/// arrive.
fn waypoint_cycles(mesh: &Everything<'_, '_>, report: &mut Diagnostics) {
    let next = |name: &str| {
        let ip = mesh.waypoints.get(name)?.address?.value.0.ip();
        mesh.backends.get(&ip)?.waypoint.as_ref()
    };
    let mut done = BTreeSet::new();
    for start in mesh.waypoints.keys() {
        let mut path: Vec<&str> = Vec::new();
        let mut at = *start;
        while done.insert(at) {
            path.push(at);
            match next(at) {
                Some(name) => at = name.as_str(),
                None => break,
            }
        }
        let Some(begin) = path.iter().position(|name| *name == at) else {
            continue;
        };
        // A waypoint in front of its own host is how a proxy on that host is reached.
        let cycle = &path[begin..];
        if cycle.len() < 2 || next(path[path.len() - 1]).is_none() {
            continue;
        }
        let spots: Vec<_> = cycle
            .iter()
            .filter_map(|name| mesh.waypoints.get(name))
            .filter_map(|found| Some(Spot::new(found.anchor, found.address?.span)))
            .collect();
        let names: Vec<_> = cycle.iter().map(|name| format!("`{name}`")).collect();
        let message = format!(
            "the waypoints {} lead to each other: the host of each is an endpoint behind the next",
            names.join(", ")
        );
        let mut problem = spots[0].error(message);
        for spot in &spots[1..] {
            problem = problem.related(spot.place(), "leads back");
        }
        report.push(problem.help("remove `waypoint` from one of these `[endpoints]`"));
    }
}
