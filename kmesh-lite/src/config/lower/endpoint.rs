//! `[endpoints]`, and the endpoints of a service.

use super::super::endpoint::{EndpointTable, EndpointText, SharedEndpoint, looks_like_v4};
use super::super::health::HealthField;
use super::super::piece::Anchor;
use super::super::read::At;
use super::super::scalar::{Address, Connections, Weight};
use super::super::span::Span;
use super::address::unusable;
use super::eject;
use super::health::{self, Checks, Said};
use super::merge::{Entry, Merged};
use super::own_port::ServicePorts;
use super::place::{PlaceTable, PlaceText};
use super::waypoint::{self, Waypoints};
use super::{Diagnostics, Spot};
use crate::model::{Endpoint, Name, OperatorState, Place, PortMapping};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

/// An entry of `[endpoints]`.
pub struct LoweredEndpoint<'a> {
    pub entry: &'a Entry<'a, SharedEndpoint>,
    /// None if it could not be read.
    pub address: Option<&'a At<Address>>,
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
    for (name, entry) in &merged.endpoints {
        if looks_like_v4(name) {
            let problem = entry.spot().error(format!("`{name}` reads as an address"));
            report.push(problem.expected("a name with a letter in it"));
        }
        let mut found = LoweredEndpoint {
            entry,
            address: entry.text.and_then(|text| text.address.0.as_ref()),
            waypoint: None,
            resolved: Arc::default(),
            state: OperatorState::Ready,
            place: PlaceText::default(),
            share: ShareText::default(),
        };
        if let Some(text) = entry.text {
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
    let place = first.text.and_then(|text| text.address.0.as_ref());
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

/// The endpoints of a service, by address. Those that cannot be resolved are left out.
pub fn of_service<'a>(
    service: &OfService<'_, 'a>,
    written: &'a [At<EndpointText>],
    places: &mut PlaceTable<'a>,
    report: &mut Diagnostics,
) -> Vec<Item> {
    let OfService {
        anchor,
        ports,
        shared,
        ..
    } = *service;
    let mut items = Vec::with_capacity(written.len());
    let mut checks = Checks::default();
    let check_of_service = checks.of(service.health);
    for At { span, value } in written {
        let found = match value {
            EndpointText::Address(ip, _) => Some(Resolved::at(*ip)),
            EndpointText::Name(name) => by_name(Spot::new(anchor, *span), name, shared, report),
            EndpointText::Table(table) => from_table(anchor, table, shared, report),
        };
        let own_ports = ports.own(Spot::new(anchor, *span), value, report);
        let (Some(found), Some(own_ports)) = (found, own_ports) else {
            continue;
        };
        let address = found.address;
        if !matches!(value, EndpointText::Name(_)) {
            check_address(Spot::new(anchor, *span), address, report);
        }
        let endpoint = Endpoint {
            address,
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
        };
        items.push(Item {
            endpoint,
            span: *span,
        });
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
    items
}

fn key(item: &Item) -> (IpAddr, &[PortMapping]) {
    (item.endpoint.address, &item.endpoint.ports)
}

/// What an endpoint says, with what the entry says that it names.
struct Resolved<'a> {
    address: IpAddr,
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
            address,
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
    let found = match (&table.address, &table.name) {
        (Some(address), _) => Resolved::at(address.value.0.0),
        (None, Some(name)) => by_name(Spot::new(anchor, name.span), &name.value.0, shared, report)?,
        (None, None) => return None,
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
        ..Resolved::at(found.address?.value.0)
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
