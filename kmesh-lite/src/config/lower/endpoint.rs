//! `[endpoints]`, and the endpoints of a service.

use super::super::endpoint::{EndpointTable, EndpointText, SharedEndpoint, looks_like_v4};
use super::super::health::HealthField;
use super::super::piece::Anchor;
use super::super::read::At;
use super::super::scalar::{Address, Connections, DnsName, Weight};
use super::super::span::Span;
use super::address::unusable;
use super::dns::{self, Named};
use super::eject;
use super::health::{self, Checks, Said};
use super::merge::{Entry, Merged};
use super::own_port::ServicePorts;
use super::place::{PlaceTable, PlaceText};
use super::waypoint::{self, Waypoints};
use super::{Diagnostics, Spot};
use crate::model::{Endpoint, Name, NamedEndpoints, OperatorState, Place, PortMapping};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;

/// An entry of `[endpoints]`.
pub struct LoweredEndpoint<'a> {
    pub entry: &'a Entry<'a, SharedEndpoint>,
    /// None if it could not be read, or is a DNS name.
    pub address: Option<&'a At<Address>>,
    /// None if it is no DNS name, or none that could be read.
    pub named: Option<Named>,
    pub waypoint: Option<Name>,
    /// Where it is.
    pub resolved: Arc<Place>,
    pub state: OperatorState,
    place: PlaceText<'a>,
    share: ShareText,
}

impl<'a> LoweredEndpoint<'a> {
    /// What it says of its checks.
    pub fn health(&self) -> Option<&'a HealthField> {
        self.entry.text?.health.as_ref()
    }
}

pub type SharedEndpoints<'a> = BTreeMap<&'a str, LoweredEndpoint<'a>>;

/// How much an endpoint takes, as far as it is written.
#[derive(Clone, Copy, Debug, Default)]
struct ShareText {
    weight: Option<Weight>,
    max_connections: Option<Connections>,
}

impl ShareText {
    /// With what another place says where this one does not.
    fn or(self, other: Self) -> Self {
        Self {
            weight: self.weight.or(other.weight),
            max_connections: self.max_connections.or(other.max_connections),
        }
    }

    fn weight(self) -> u32 {
        self.weight.map_or(DEFAULT_WEIGHT, |weight| weight.0)
    }

    fn max_connections(self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.max_connections?.0)
    }
}

const DEFAULT_WEIGHT: u32 = 1;

pub fn shared<'a>(
    merged: &'a Merged<'a>,
    places: &mut PlaceTable<'a>,
    waypoints: &Waypoints<'a>,
    said: &Said,
    report: &mut Diagnostics,
) -> SharedEndpoints<'a> {
    let mut shared = SharedEndpoints::new();
    let mut by_address: BTreeMap<IpAddr, &Entry<'_, SharedEndpoint>> = BTreeMap::new();
    let mut by_dns: BTreeMap<&str, (&At<DnsName>, &Entry<'_, SharedEndpoint>)> = BTreeMap::new();
    for (name, entry) in &merged.endpoints {
        if looks_like_v4(name) {
            let problem = entry.spot().error(format!("`{name}` reads as an address"));
            report.push(problem.expected("a name with a letter in it"));
        }
        let mut found = LoweredEndpoint {
            entry,
            address: entry.text.and_then(|text| text.address.as_ref()),
            named: None,
            waypoint: None,
            resolved: Arc::default(),
            state: OperatorState::Ready,
            place: PlaceText::default(),
            share: ShareText::default(),
        };
        if let Some(text) = entry.text {
            found.named = Named::new(&text.dns, &text.srv);
            of_dns(entry, text, &mut by_dns, report);
            let labels = [&text.network, &text.node, &text.cluster];
            found.place = PlaceText::new(entry.anchor, &text.locality, labels);
            // Also of one that no service uses.
            found.resolved = places.resolve(found.place, report);
            found.share = ShareText {
                weight: text.weight,
                max_connections: text.max_connections,
            };
            found.state = text.state.map_or(OperatorState::Ready, |state| state.0);
            health::laid_over(entry.anchor, text.health.as_ref(), said, report);
            eject::of_endpoint(entry.anchor, text.health.as_ref(), report);
            let clients = found
                .address
                .filter(|address| address.value.0.is_ipv4())
                .map(|address| format!("the endpoint `{}`", address.value.0));
            found.waypoint =
                waypoint::used(waypoints, entry.anchor, &text.waypoint, clients, report);
        }
        if let Some(address) = found.address {
            check_address(entry.at(address.span), address.value.0, report);
            match by_address.get(&address.value.0) {
                Some(first) => same_address(first, entry, address, report),
                None => {
                    by_address.insert(address.value.0, entry);
                }
            }
        }
        shared.insert(name, found);
    }
    shared
}

/// The addresses of all entries that have a good one.
pub fn names(shared: &SharedEndpoints<'_>) -> BTreeMap<Name, IpAddr> {
    let named = shared.values().filter_map(|found| {
        let address = found.address?.value.0;
        Some((found.entry.name.value.clone(), address))
    });
    named.collect()
}

/// The DNS names of all entries that have one.
pub fn dns_names(shared: &SharedEndpoints<'_>) -> BTreeMap<Name, Arc<str>> {
    let named = shared.values().filter_map(|found| {
        let name = Arc::clone(&found.named.as_ref()?.name);
        Some((found.entry.name.value.clone(), name))
    });
    named.collect()
}

/// Whether an entry is either an address or a DNS name, and what goes with a name.
fn of_dns<'e, 'a>(
    entry: &'e Entry<'a, SharedEndpoint>,
    text: &'a SharedEndpoint,
    by_dns: &mut BTreeMap<&'a str, (&'a At<DnsName>, &'e Entry<'a, SharedEndpoint>)>,
    report: &mut Diagnostics,
) {
    let Some(dns) = &text.dns else {
        if text.address.is_none() && text.sound {
            let problem = entry
                .at(text.span)
                .error("an entry needs an `address` or a `dns`");
            report.push(problem);
        }
        if let Some(srv) = &text.srv {
            report.push(entry.at(srv.span).error("`srv` is for an entry with `dns`"));
        }
        return;
    };
    let spot = entry.at(dns.span);
    if text.address.is_some() {
        report.push(spot.error("an entry has an `address` or a `dns`, not both"));
    }
    if let Some(waypoint) = &text.waypoint {
        let problem = entry
            .at(waypoint.span)
            .error("the addresses of a DNS name cannot be captured");
        report.push(problem.help("give the entry an `address`, or the service a `waypoint`"));
    }
    let is_srv = text.srv.as_ref().is_some_and(|flag| flag.value.0);
    if is_srv && text.weight.is_some() {
        let problem = entry.spot().error("SRV records have weights of their own");
        report.push(problem.help("remove `weight`; `state = \"drain\"` takes no new connections"));
    }
    match by_dns.get(&*dns.value.0) {
        Some((other, first)) => {
            let message = format!(
                "the endpoints `{}` and `{}` have the same DNS name",
                first.name.value, entry.name.value
            );
            let (mut first, mut second) = (first.at(other.span), spot);
            if report.is_before(second, first) {
                std::mem::swap(&mut first, &mut second);
            }
            let problem = second.error(message);
            report.push(problem.related(first.place(), "the same name"));
        }
        None => {
            by_dns.insert(&dns.value.0, (dns, entry));
        }
    }
}

fn same_address(
    first: &Entry<'_, SharedEndpoint>,
    entry: &Entry<'_, SharedEndpoint>,
    address: &At<Address>,
    report: &mut Diagnostics,
) {
    let message = format!(
        "the endpoints `{}` and `{}` have the same address",
        first.name.value, entry.name.value
    );
    let place = first.text.and_then(|text| text.address.as_ref());
    let place = first.at(place.map_or(first.name.span, |address| address.span));
    let (mut first, mut second) = (place, entry.at(address.span));
    if report.is_before(second, first) {
        std::mem::swap(&mut first, &mut second);
    }
    let problem = second.error(message);
    report.push(
        problem
            .expected("an address that no other entry has")
            .related(first.place(), "the same address"),
    );
}

fn check_address(spot: Spot<'_>, ip: IpAddr, report: &mut Diagnostics) {
    if let Some(what) = unusable(ip) {
        let problem = spot.error(format!("`{ip}` is {what}"));
        report.push(problem.expected("the address of a host"));
    }
}

/// What endpoints of a service have in common.
pub struct OfService<'c, 'a> {
    pub anchor: Anchor<'a>,
    pub ports: &'c ServicePorts<'c>,
    /// What the service says of checks.
    pub health: &'c Said,
    pub shared: &'c SharedEndpoints<'a>,
}

/// An endpoint of a service, and where it is written.
pub struct Item {
    pub endpoint: Endpoint,
    pub span: Span,
}

/// A DNS name among the endpoints of a service, and where it is written.
pub struct NamedItem {
    pub named: NamedEndpoints,
    pub span: Span,
}

/// The endpoints of a service, by address, and its DNS names. Those that cannot be resolved are left out.
pub fn of_service<'a>(
    service: &OfService<'_, 'a>,
    written: &'a [At<EndpointText>],
    places: &mut PlaceTable<'a>,
    report: &mut Diagnostics,
) -> (Vec<Item>, Vec<NamedItem>) {
    let OfService {
        anchor,
        ports,
        shared,
        ..
    } = *service;
    let mut items = Vec::with_capacity(written.len());
    let mut names: Vec<NamedItem> = Vec::new();
    let mut checks = Checks::default();
    let check_of_service = checks.of(service.health);
    for At { span, value } in written {
        let found = match value {
            EndpointText::Address(ip, _) => Some(Resolved::at(*ip)),
            EndpointText::Name(name) => by_name(Spot::new(anchor, *span), name, shared, report),
            EndpointText::Table(table) => from_table(anchor, table, shared, report),
        };
        if let (EndpointText::Table(table), Some(found)) = (value, &found) {
            dns::check(
                Spot::new(anchor, *span),
                table,
                found.named.as_ref(),
                report,
            );
        }
        let is_srv = |found: &Resolved<'_>| found.named.as_ref().is_some_and(|it| it.is_srv);
        let own_ports = match found.as_ref().is_some_and(is_srv) {
            true => ports.of_srv(Spot::new(anchor, *span), report),
            false => ports.own(Spot::new(anchor, *span), value, report),
        };
        let (Some(found), Some(own_ports)) = (found, own_ports) else {
            continue;
        };
        if let Some(address) = found.address
            && !matches!(value, EndpointText::Name(_))
        {
            check_address(Spot::new(anchor, *span), address, report);
        }
        let endpoint = Endpoint {
            address: found.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            ports: own_ports,
            place: places.resolve(found.place, report),
            weight: found.share.weight(),
            max_connections: found.share.max_connections(),
            check: match (found.own_health, found.shared_health) {
                (None, None) => check_of_service.clone(),
                (own, of_entry) => {
                    eject::of_endpoint(anchor, own, report);
                    // What is wrong with the entry is said where it stands.
                    let said = of_entry.map_or_else(
                        || service.health.clone(),
                        |entry| Said::from(entry).over(service.health),
                    );
                    checks.of(&health::laid_over(anchor, own, &said, report))
                }
            },
            state: found.state,
            of_name: None,
        };
        match found.named {
            None => items.push(Item {
                endpoint,
                span: *span,
            }),
            Some(named) => names.push(NamedItem {
                named: NamedEndpoints {
                    name: named.name,
                    is_srv: named.is_srv,
                    like: endpoint,
                },
                span: *span,
            }),
        }
    }
    names.sort_by(|a, b| (name_key(a)).cmp(&name_key(b)));
    for pair in names.windows(2) {
        if name_key(&pair[0]) == name_key(&pair[1]) {
            let first = Spot::new(anchor, pair[0].span).place();
            let message = format!("`{}` is among the endpoints twice", pair[1].named.name);
            let problem = Spot::new(anchor, pair[1].span).error(message);
            report.push(problem.related(first, "first here"));
        }
    }
    // A stable sort: those that are the same stay as they are written.
    items.sort_by(|a, b| key(a).cmp(&key(b)));
    for pair in items.windows(2) {
        if key(&pair[0]) == key(&pair[1]) {
            let first = Spot::new(anchor, pair[0].span).place();
            let message = format!("`{}` is an endpoint twice", ports.title(&pair[1].endpoint));
            let problem = Spot::new(anchor, pair[1].span).error(message);
            report.push(problem.related(first, "first here").help(
                "give it a larger `weight` if it should get more connections, or each a port of its own if there are two servers",
            ));
        }
    }
    (items, names)
}

fn name_key(item: &NamedItem) -> (&str, &[PortMapping]) {
    (&item.named.name, &item.named.like.ports)
}

fn key(item: &Item) -> (IpAddr, &[PortMapping]) {
    (item.endpoint.address, &item.endpoint.ports)
}

/// What an endpoint says, with what the entry says that it names.
struct Resolved<'a> {
    /// None where it is a DNS name.
    address: Option<IpAddr>,
    named: Option<Named>,
    place: PlaceText<'a>,
    share: ShareText,
    state: OperatorState,
    own_health: Option<&'a HealthField>,
    shared_health: Option<&'a HealthField>,
}

impl Resolved<'_> {
    /// One that says no more than its address.
    fn at(address: IpAddr) -> Self {
        Self {
            address: Some(address),
            ..Self::unknown()
        }
    }

    /// One that says no more than its DNS name.
    fn named(named: Named) -> Self {
        Self {
            named: Some(named),
            ..Self::unknown()
        }
    }

    fn unknown() -> Self {
        Self {
            address: None,
            named: None,
            place: PlaceText::default(),
            share: ShareText::default(),
            state: OperatorState::Ready,
            own_health: None,
            shared_health: None,
        }
    }
}

fn from_table<'a>(
    anchor: Anchor<'a>,
    table: &'a EndpointTable,
    shared: &SharedEndpoints<'a>,
    report: &mut Diagnostics,
) -> Option<Resolved<'a>> {
    let labels = [&table.network, &table.node, &table.cluster];
    let place = PlaceText::new(anchor, &table.locality, labels);
    let named = Named::new(&table.dns, &table.srv);
    let found = match (&table.address, &table.name, named) {
        (Some(address), ..) => Resolved::at(address.value.0.0),
        (None, Some(name), _) => {
            by_name(Spot::new(anchor, name.span), &name.value.0, shared, report)?
        }
        (None, None, Some(named)) => Resolved::named(named),
        (None, None, None) => return None,
    };
    let own = ShareText {
        weight: table.weight,
        max_connections: table.max_connections,
    };
    Some(Resolved {
        place: place.or(found.place),
        share: own.or(found.share),
        state: table.state.map_or(found.state, |state| state.0),
        own_health: table.health.as_ref(),
        ..found
    })
}

fn by_name<'a>(
    spot: Spot<'_>,
    name: &Name,
    shared: &SharedEndpoints<'a>,
    report: &mut Diagnostics,
) -> Option<Resolved<'a>> {
    let Some(found) = shared.get(name.as_str()) else {
        report.unknown(spot, "endpoint", "endpoints", name.as_str(), shared);
        return None;
    };
    Some(Resolved {
        place: found.place,
        share: found.share,
        state: found.state,
        shared_health: found.health(),
        ..match (&found.named, found.address) {
            (Some(named), _) => Resolved::named(named.clone()),
            (None, address) => Resolved::at(address?.value.0),
        }
    })
}

/// The address that an endpoint of a service comes to.
pub fn address_of(written: &EndpointText, shared: &SharedEndpoints<'_>) -> Option<IpAddr> {
    let named = |name: &Name| Some(shared.get(name.as_str())?.address?.value.0);
    match written {
        EndpointText::Address(ip, _) => Some(*ip),
        EndpointText::Name(name) => named(name),
        EndpointText::Table(table) => match (&table.address, &table.name) {
            (Some(address), _) => Some(address.value.0.0),
            (None, name) => named(&name.as_ref()?.value.0),
        },
    }
}
