//! Rows of services, with the ranges of endpoints that they refer to.

use super::auto::Vips;
use super::build::{Builder, ID};
use super::declared::{Noun, Services};
use super::endpoint::{Form, Layout, Placing, length};
use super::fields::{Field, Fields};
use super::picking;
use super::spread::{self, ByPriority};
use crate::model::{
    Endpoint, Family, Membership, Mesh, Name, Policy, Service, Table, priority, standing_by,
};
use kmesh_lite_common::{PRIORITIES, Range, ServiceId};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

impl Noun for Services {
    type Row = kmesh_lite_common::Service;
    type Key = kmesh_lite_common::Name;

    const NOUN: &'static str = "service";

    fn needed(mesh: &Mesh, _: &Vips) -> usize {
        mesh.services.len()
    }

    fn key(row: &Self::Row) -> Self::Key {
        row.name
    }

    fn name(key: &Self::Key) -> String {
        key.to_string()
    }

    fn describe(row: &Self::Row, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ", {}", row.policy)?;
        if let Some(waypoint) = row.waypoint {
            write!(f, ", waypoint {waypoint}")?;
        }
        let families: &[(&str, _)] = if row.v4 == row.v6 {
            &[("", &row.v4)]
        } else {
            &[(" IPv4", &row.v4), (" IPv6", &row.v6)]
        };
        for (family, ranges) in families {
            for (priority, range) in filled(ranges) {
                write!(
                    f,
                    ",{family} priority {priority} {}",
                    span(range, row.columns)
                )?;
            }
        }
        if row.drained.count > 0 {
            write!(f, ", drained {}", span(&row.drained, row.columns))?;
        }
        match row.columns {
            1 => {}
            columns => write!(f, ", {columns} columns")?,
        }
        picking::describe(&row.picking, f)?;
        picking::describe_clients(&row.clients, f)
    }

    fn fields(row: &Self::Row) -> Fields {
        let ranges = |ranges| Field::List(filled(ranges).map(range).collect());
        let waypoint = row.waypoint.map(|id| (Table::Waypoints, id.index()));
        let drained = Some(&row.drained)
            .filter(|range| range.count > 0)
            .into_iter();
        vec![
            ("name", Field::Text(row.name.to_string())),
            ("policy", Field::Text(row.policy.to_string())),
            ("waypoint", Field::Reference(waypoint)),
            ("v4", ranges(&row.v4)),
            ("v6", ranges(&row.v6)),
            ("drained", Field::List(drained.map(unranked).collect())),
            ("columns", Field::Number(row.columns.into())),
        ]
        .into_iter()
        .chain(picking::fields(&row.picking))
        .chain(picking::clients_fields(&row.clients))
        .collect()
    }
}

/// The rows of a range, in all columns.
fn span(range: &Range, columns: u16) -> String {
    let end = range.first as usize + length(range, columns);
    format!("[{}..{end}]", range.first)
}

/// Priorities that have endpoints.
pub fn filled(ranges: &[Range; PRIORITIES]) -> impl Iterator<Item = (usize, &Range)> {
    ranges
        .iter()
        .enumerate()
        .filter(|(_, range)| range.count > 0)
}

fn range((priority, range): (usize, &Range)) -> Fields {
    let priority = ("priority", Field::Number(priority as u64));
    [priority].into_iter().chain(unranked(range)).collect()
}

pub fn unranked(range: &Range) -> Fields {
    vec![
        ("first", Field::Number(range.first.into())),
        ("count", Field::Number(range.count.into())),
        ("total_weight", Field::Number(range.total.into())),
    ]
}

impl Builder<'_> {
    pub(super) fn service(&mut self, name: &Name, service: &Service, vips: &[IpAddr]) {
        let row_name = name.to_row();
        let id = ServiceId::from_index(self.ids.services.index(row_name)).expect(ID);
        let old = self.before.rows.services.get(&id);
        let columns = service.columns();
        let counters = self.counters_before(old);
        let standings = self.facts.standings.get(name);
        let standing_of = |endpoint: &Endpoint| {
            let standing = standings.and_then(|all| all.get(&Membership::from(endpoint)));
            standing.copied().unwrap_or_default()
        };
        let standing_by = match service.named.iter().any(|named| named.is_srv) {
            true => standing_by(&service.endpoints, |it| standing_of(it).takes(it.weight)),
            false => BTreeSet::new(),
        };
        let mut members = Members::default();
        for (place, endpoint) in service.endpoints.iter().enumerate() {
            let own_ports = service.own_ports(&columns, endpoint);
            let standing = standing_of(endpoint);
            let placing = self.placing(name, &counters, own_ports, endpoint, standing);
            if standing_by.contains(&place) {
                members.standing_by.push(placing);
                continue;
            }
            let priority = match service.policy {
                Policy::Random => 0,
                _ => priority(&service.prefer, &self.mesh.node, &endpoint.place),
            };
            members.add(endpoint.address, priority, placing);
        }
        members.spread(service);
        let mut picking = service.picking();
        let guard = self.guard_of_clients(name);
        if guard.is_some() {
            picking = picking.with_guard();
        }
        if members.has_v6 && picking.holds() {
            picking = picking.with_families_apart();
        }
        let form = Form {
            columns: &columns,
            layout: Layout::of(service, &picking),
        };
        let v4 = self.priorities(&members.v4, form, old.map(|row| &row.v4));
        // Without IPv6 endpoints, IPv6 clients share the ranges of IPv4 ones.
        let v6 = if members.has_v6 {
            self.priorities(&members.v6, form, old.map(|row| &row.v6))
        } else {
            v4
        };
        let drained = old.map(|row| row.drained.first);
        let drained = self.range(&members.drained, form, drained, true);
        let row = kmesh_lite_common::Service {
            name: row_name,
            policy: service.policy,
            columns: columns.count() as u16,
            waypoint: self.waypoint_id(&service.waypoint),
            v4,
            v6,
            drained,
            picking,
            clients: service.each_client(),
            guard,
        };
        self.rows.services.insert(id, row);
        for vip in vips {
            for (port, column) in service.ports_by_column(&columns) {
                self.frontend(*vip, port, column as u16, id, &row);
            }
            self.address(*vip);
        }
    }

    /// One range for each priority.
    fn priorities(
        &mut self,
        members: &[Vec<Placing>; PRIORITIES],
        form: Form<'_>,
        old: Option<&[Range; PRIORITIES]>,
    ) -> [Range; PRIORITIES] {
        let mut ranges = [Range::default(); PRIORITIES];
        for (priority, members) in members.iter().enumerate() {
            let old = old.map(|old| old[priority].first);
            ranges[priority] = self.range(members, form, old, false);
        }
        ranges
    }
}

/// The endpoints of a service: those that take new connections by family and priority, and the others.
#[derive(Default)]
struct Members {
    v4: ByPriority,
    v6: ByPriority,
    /// Whether any endpoint is of IPv6, whatever its weight.
    has_v6: bool,
    drained: Vec<Placing>,
    /// They are as good as drained, and count for no priority.
    standing_by: Vec<Placing>,
}

impl Members {
    fn add(&mut self, address: IpAddr, priority: usize, placing: Placing) {
        match Family::from(address) {
            Family::V4 => self.v4[priority].push(placing),
            Family::V6 => {
                self.has_v6 = true;
                self.v6[priority].push(placing);
            }
        }
    }

    /// Leaves those that take connections at their priorities.
    fn spread(&mut self, service: &Service) {
        self.drained = spread::spread(&mut self.v4, service);
        self.drained.extend(spread::spread(&mut self.v6, service));
        self.drained.append(&mut self.standing_by);
    }
}
