//! `[waypoints]`.

use super::super::Host;
use super::super::piece::Anchor;
use super::super::read::At;
use super::super::scalar::{NameText, SocketText};
use super::super::schema::WaypointText;
use super::address::{is_own, unusable};
use super::merge::{Entry, Merged};
use super::{Diagnostics, Spot, unit};
use crate::model::{Family, Header, Name, Speaker, Waypoint};
use ipnetwork::IpNetwork;
use std::collections::BTreeMap;

/// A waypoint, or where one that could not be read is defined.
pub struct LoweredWaypoint<'a> {
    pub entry: &'a Name,
    pub anchor: Anchor<'a>,
    pub address: Option<&'a At<SocketText>>,
    pub model: Option<Waypoint>,
}

const ELSEWHERE: &str =
    "name the unit that the proxy runs in: its connections are sent back to it otherwise";

pub type Waypoints<'a> = BTreeMap<&'a str, LoweredWaypoint<'a>>;

pub fn lower<'a>(
    merged: &Merged<'a>,
    host: &Host,
    vip_ranges: &[IpNetwork],
    report: &mut Diagnostics,
) -> Waypoints<'a> {
    let waypoints = merged.waypoints.iter();
    let waypoints: Waypoints<'a> = waypoints
        .map(|(name, entry)| {
            let address = entry.text.and_then(|text| text.address.0.as_ref());
            if let Some(address) = address {
                check_address(entry, address, vip_ranges, report);
                if entry
                    .text
                    .is_some_and(|text| text.sound && text.unit.is_none())
                {
                    check_here(entry, address, host, report);
                }
            }
            if let Some(text) = entry.text {
                check_server_first(entry, text, report);
                if let Some(unit) = &text.unit {
                    unit::check(entry.at(unit.span), unit, host, ELSEWHERE, report);
                }
            }
            let found = LoweredWaypoint {
                entry: &entry.name.value,
                anchor: entry.anchor,
                address,
                model: entry.text.and_then(model),
            };
            (*name, found)
        })
        .collect();
    check_headers(&waypoints, report);
    waypoints
}

/// A proxy that is told about the same connections in two ways probably misreads one of them.
fn check_headers(waypoints: &Waypoints<'_>, report: &mut Diagnostics) {
    let mut first: BTreeMap<_, (&LoweredWaypoint<'_>, Header)> = BTreeMap::new();
    for found in waypoints.values() {
        let (Some(address), Some(model)) = (found.address, &found.model) else {
            continue;
        };
        let (other, header) = *first.entry(model.address).or_insert((found, model.header));
        let Some(other_address) = other.address.filter(|_| header != model.header) else {
            continue;
        };
        let mut spots = [
            Spot::new(other.anchor, other_address.span),
            Spot::new(found.anchor, address.span),
        ];
        if report.is_before(spots[1], spots[0]) {
            spots.swap(0, 1);
        }
        let message = format!(
            "the waypoints `{}` and `{}` have the same address and different headers (`{header}` and `{}`)",
            other.entry, found.entry, model.header
        );
        let problem = spots[1].warning(message);
        report.push(problem.related(spots[0].place(), "the same address").help(
            "a proxy that expects one header misreads connections with another; `kmesh-lite waypoint` tells `tlv` and `proxy-v2` apart",
        ));
    }
}

fn model(text: &WaypointText) -> Option<Waypoint> {
    Some(Waypoint {
        address: text.address.0.as_ref()?.value.0,
        header: text.header.0.as_ref()?.value.0,
        speaker: match &text.server_first {
            Some(first) if first.value.0 => Speaker::Server,
            _ => Speaker::Client,
        },
        unit: text.unit.as_ref().map(|unit| unit.value.0.clone()),
    })
}

fn check_address(
    entry: &Entry<'_, WaypointText>,
    address: &At<SocketText>,
    vip_ranges: &[IpNetwork],
    report: &mut Diagnostics,
) {
    let ip = address.value.0.ip();
    let why = match unusable(ip) {
        Some(what) => format!("`{ip}` is {what}"),
        None => match vip_ranges.iter().find(|range| range.contains(ip)) {
            Some(range) => format!("`{ip}` is in `vip_ranges` (`{range}`), where nothing listens"),
            None => return,
        },
    };
    let problem = entry.at(address.span).error(why);
    report.push(problem.expected("the address that the proxy listens on"));
}

/// A waypoint of this host is an ordinary program unless it is named.
fn check_here(
    entry: &Entry<'_, WaypointText>,
    address: &At<SocketText>,
    host: &Host,
    report: &mut Diagnostics,
) {
    let ip = address.value.0.ip();
    if is_own(host, ip) {
        let message = format!("the waypoint is on this host (`{ip}`), but has no `unit`");
        let problem = entry.at(address.span).warning(message);
        report.push(problem.help("with `unit`, its systemd unit or cgroup path, its own connections skip waypoints; without, those to what is behind it are sent back to it"));
    }
}

/// Without a header there is nothing that could leave before the client's first byte.
fn check_server_first(
    entry: &Entry<'_, WaypointText>,
    text: &WaypointText,
    report: &mut Diagnostics,
) {
    if let (Some(first), Some(header)) = (&text.server_first, &text.header.0)
        && first.value.0
        && header.value.0 == Header::Nothing
    {
        let problem = entry.at(first.span).warning("`server_first` has no effect");
        report.push(problem.help("it is about the header, and this waypoint gets none"));
    }
}

/// The waypoint that a service or endpoint names. `v4_clients` is what its clients with IPv4 sockets
/// connect to, if it has any: they need an IPv4 waypoint.
pub fn used<'a>(
    waypoints: &Waypoints<'a>,
    anchor: Anchor<'a>,
    written: &'a Option<At<NameText>>,
    v4_clients: Option<String>,
    report: &mut Diagnostics,
) -> Option<Name> {
    let written = written.as_ref()?;
    let spot = Spot::new(anchor, written.span);
    let Some(found) = waypoints.get(written.value.0.as_str()) else {
        let name = written.value.0.as_str();
        report.unknown(spot, "waypoint", "waypoints", name, waypoints);
        return None;
    };
    if let (Some(address), Some(client)) = (found.address, v4_clients)
        && Family::from(address.value.0.ip()) == Family::V6
    {
        let message = format!(
            "clients of {client} cannot reach the waypoint `{}`",
            found.entry
        );
        let place = Spot::new(found.anchor, address.span).place();
        report.push(
            spot.error(message)
                .expected("a waypoint with an IPv4 address")
                .related(
                    place,
                    "an IPv6 address, which IPv4 sockets cannot connect to",
                ),
        );
    }
    Some(found.entry.clone())
}

pub fn into_model(waypoints: Waypoints<'_>) -> BTreeMap<Name, Waypoint> {
    let waypoints = waypoints.into_values();
    waypoints
        .filter_map(|found| Some((found.entry.clone(), found.model?)))
        .collect()
}
