//! What only the whole mesh shows: frontends that collide, and addresses that lead in circles.

use super::super::Host;
use super::super::endpoint::VipText;
use super::super::span::Span;
use super::address::{is_own, unusable};
use super::endpoint::SharedEndpoints;
use super::service::LoweredService;
use super::waypoint::Waypoints;
use super::{Diagnostics, Spot, hidden, udp};
use crate::model::{Backend, Protocol, Vip};
use ipnetwork::IpNetwork;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

pub struct Everything<'c, 'a> {
    pub host: &'c Host,
    pub vip_ranges: &'c [IpNetwork],
    pub waypoints: &'c Waypoints<'a>,
    pub shared: &'c SharedEndpoints<'a>,
    pub services: &'c [LoweredService<'a>],
    pub backends: &'c BTreeMap<IpAddr, Backend>,
}

pub fn check(mesh: &Everything<'_, '_>, report: &mut Diagnostics) {
    let frontends = frontends(mesh, report);
    let vips = vips(mesh);
    waypoints_at_vips(mesh, &frontends, &vips, report);
    endpoints_at_vips(mesh, &vips, report);
    waypoint_cycles(mesh, report);
    udp::check(mesh, report);
    hidden::check(mesh, report);
    hostnames(mesh.services, report);
}

/// Says once that names are kept for later.
fn hostnames(services: &[LoweredService<'_>], report: &mut Diagnostics) {
    let named = services.iter().find_map(|service| {
        let list = service.text.hostnames.as_ref()?;
        (!list.items.is_empty()).then(|| Spot::new(service.fragment, list.span))
    });
    if let Some(spot) = named {
        let problem = spot.note("`hostnames` do nothing yet: no DNS is answered here");
        report.push(problem.help(
            "programs use a virtual address, or a name that your own DNS or /etc/hosts leads there",
        ));
    }
}

/// A frontend: address, port, protocol.
type FrontendAt = (IpAddr, u16, Protocol);

/// Whose a frontend is, and where its port is declared.
#[derive(Clone, Copy)]
struct FrontendOwner<'c, 'a> {
    service: &'c LoweredService<'a>,
    port: Span,
}

impl<'a> FrontendOwner<'_, 'a> {
    fn spot(&self) -> Spot<'a> {
        Spot::new(self.service.fragment, self.port)
    }
}

/// Every frontend of a fixed address. Two services with the same one are an error.
fn frontends<'c, 'a>(
    mesh: &Everything<'c, 'a>,
    report: &mut Diagnostics,
) -> BTreeMap<FrontendAt, FrontendOwner<'c, 'a>> {
    let mut owners: BTreeMap<FrontendAt, FrontendOwner<'c, 'a>> = BTreeMap::new();
    for service in mesh.services {
        for vip in &service.model.vips {
            let Vip::Fixed(ip) = vip else { continue };
            for item in service.text.ports.0.iter().flat_map(|list| &list.items) {
                let port = item.value.0;
                let owner = FrontendOwner {
                    service,
                    port: item.span,
                };
                let key = (*ip, port.port, port.protocol);
                match owners.get(&key) {
                    // Twice in one service has been told.
                    Some(first) if first.service.name == service.name => {}
                    Some(first) => collision(key, first, &owner, report),
                    None => {
                        owners.insert(key, owner);
                    }
                }
            }
        }
    }
    owners
}

fn collision(
    key: FrontendAt,
    a: &FrontendOwner<'_, '_>,
    b: &FrontendOwner<'_, '_>,
    report: &mut Diagnostics,
) {
    let (ip, port, protocol) = key;
    let address = SocketAddr::from((ip, port));
    let (first, second) = match report.is_before(a.spot(), b.spot()) {
        true => (a, b),
        false => (b, a),
    };
    let (one, other) = (first.service.name, second.service.name);
    let message =
        format!("the services `{one}` and `{other}` have the same frontend `{address}/{protocol}`");
    let problem = second.spot().error(message);
    report.push(
        problem
            .related(first.spot().place(), format!("declared by `{one}` here"))
            .help("give one of them another address or port"),
    );
}

/// Fixed virtual addresses, with a place of each.
fn vips<'a>(mesh: &Everything<'_, 'a>) -> BTreeMap<IpAddr, Spot<'a>> {
    let mut vips = BTreeMap::new();
    for service in mesh.services {
        for item in service.text.vips.0.iter().flat_map(|list| &list.items) {
            if let VipText::Fixed(ip) = item.value
                && unusable(ip).is_none()
            {
                let spot = Spot::new(service.fragment, item.span);
                vips.entry(ip).or_insert(spot);
            }
        }
    }
    vips
}

/// Nothing listens at a virtual address, so a waypoint cannot be there.
fn waypoints_at_vips(
    mesh: &Everything<'_, '_>,
    frontends: &BTreeMap<FrontendAt, FrontendOwner<'_, '_>>,
    vips: &BTreeMap<IpAddr, Spot<'_>>,
    report: &mut Diagnostics,
) {
    for (name, found) in mesh.waypoints {
        let Some(written) = found.address else {
            continue;
        };
        let address = written.value.0;
        let Some(vip) = vips.get(&address.ip()) else {
            continue;
        };
        let key = (address.ip(), address.port(), Protocol::Tcp);
        // At an address of this host the waypoint may really listen, on a port that no service has.
        if is_own(mesh.host, address.ip()) && !frontends.contains_key(&key) {
            continue;
        }
        let message = format!("the waypoint `{name}` is at a virtual address of the mesh");
        report.push(
            Spot::new(found.fragment, written.span)
                .error(message)
                .expected("the address that the proxy itself listens on")
                .related(vip.place(), "the virtual address"),
        );
    }
}

/// A connection is routed once: an endpoint that is itself a virtual address is taken as it is.
fn endpoints_at_vips(
    mesh: &Everything<'_, '_>,
    vips: &BTreeMap<IpAddr, Spot<'_>>,
    report: &mut Diagnostics,
) {
    // Few virtual addresses are looked up among many endpoints, not the other way round.
    let suspects = vips.keys().filter(|ip| mesh.backends.contains_key(ip));
    let mut suspects: BTreeSet<IpAddr> = suspects
        .copied()
        .filter(|ip| !is_own(mesh.host, *ip))
        .collect();
    // A service that has its own virtual address as an endpoint took over an address that exists.
    for service in mesh.services {
        let endpoints = &service.model.endpoints;
        let exists = |ip: &IpAddr| endpoints.binary_search_by_key(ip, |e| e.address).is_ok();
        for vip in &service.model.vips {
            if let Vip::Fixed(ip) = vip
                && exists(ip)
            {
                suspects.remove(ip);
            }
        }
    }
    let in_ranges = mesh
        .vip_ranges
        .iter()
        .any(|range| mesh.backends.keys().any(|ip| range.contains(*ip)));
    if suspects.is_empty() && !in_ranges {
        return;
    }
    for service in mesh.services {
        for item in service.text.endpoints.iter().flat_map(|list| &list.items) {
            let Some(ip) = super::endpoint::address_of(&item.value, mesh.shared) else {
                continue;
            };
            let spot = Spot::new(service.fragment, item.span);
            if let Some(range) = mesh.vip_ranges.iter().find(|range| range.contains(ip)) {
                let message = format!("the endpoint `{ip}` is in `vip_ranges` (`{range}`)");
                report.push(
                    spot.warning(message)
                        .help("`auto` may give this address to a service"),
                );
            }
            let Some(vip) = vips.get(&ip).filter(|_| suspects.contains(&ip)) else {
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
        let Some(vip) = vips.get(&ip).filter(|_| suspects.contains(&ip)) else {
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
            .filter_map(|found| Some(Spot::new(found.fragment, found.address?.span)))
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
