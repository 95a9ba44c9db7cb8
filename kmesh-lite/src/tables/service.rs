//! Rows of services, with the ranges of endpoints that they refer to.

use super::alias;
use super::auto::Vips;
use super::build::{Builder, ID};
use super::declared::{Noun, Services};
use super::fields::{Field, Fields};
use crate::model::{Endpoint, Family, Mesh, Name, Policy, Service, Table, priority};
use kmesh_lite_common::{BackendId, PRIORITIES, Range, ServiceId};
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
                let end = u64::from(range.first) + u64::from(range.count);
                write!(f, ",{family} priority {priority} [{}..{end}]", range.first)?;
            }
        }
        Ok(())
    }

    fn fields(row: &Self::Row) -> Fields {
        let ranges = |ranges| Field::List(filled(ranges).map(range).collect());
        let waypoint = row.waypoint.map(|id| (Table::Waypoints, id.index()));
        vec![
            ("name", Field::Text(row.name.to_string())),
            ("policy", Field::Text(row.policy.to_string())),
            ("waypoint", Field::Reference(waypoint)),
            ("v4", ranges(&row.v4)),
            ("v6", ranges(&row.v6)),
        ]
    }
}

/// Priorities that have endpoints.
pub fn filled(ranges: &[Range; PRIORITIES]) -> impl Iterator<Item = (usize, &Range)> {
    ranges
        .iter()
        .enumerate()
        .filter(|(_, range)| range.count > 0)
}

fn range((priority, range): (usize, &Range)) -> Fields {
    vec![
        ("priority", Field::Number(priority as u64)),
        ("first", Field::Number(range.first.into())),
        ("count", Field::Number(range.count.into())),
        ("total_weight", Field::Number(range.total.into())),
    ]
}

impl Builder<'_> {
    pub(super) fn service(&mut self, name: &Name, service: &Service, vips: &[IpAddr]) {
        let row_name = name.to_row();
        let id = ServiceId::from_index(self.ids.services.index(row_name)).expect(ID);
        let old = self.actual.tables.rows.services.get(&id);
        let (v4, v6) = by_family(&service.endpoints);
        let v4_ranges = self.priorities(service, &v4, old.map(|row| &row.v4));
        // Without IPv6 endpoints, IPv6 clients share the ranges of IPv4 ones.
        let v6_ranges = if v6.is_empty() {
            v4_ranges
        } else {
            self.priorities(service, &v6, old.map(|row| &row.v6))
        };
        self.rows.services.insert(
            id,
            kmesh_lite_common::Service {
                name: row_name,
                policy: service.policy,
                waypoint: self.waypoint_id(&service.waypoint),
                v4: v4_ranges,
                v6: v6_ranges,
            },
        );
        for vip in vips {
            for port in &service.ports {
                self.frontend(*vip, port, id);
            }
            self.address(*vip);
        }
    }

    /// One range for each priority, of the endpoints that take new connections.
    pub(super) fn priorities(
        &mut self,
        service: &Service,
        endpoints: &[&Endpoint],
        old: Option<&[Range; PRIORITIES]>,
    ) -> [Range; PRIORITIES] {
        let mut members: [Vec<(BackendId, u32)>; PRIORITIES] = Default::default();
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.weight > 0) {
            let priority = match service.policy {
                Policy::Random => 0,
                _ => priority(&service.prefer, &self.mesh.node, &endpoint.place),
            };
            let index = self.ids.backends.index(endpoint.address.into());
            members[priority].push((BackendId::from_index(index).expect(ID), endpoint.weight));
        }
        let mut ranges = [Range::default(); PRIORITIES];
        for (priority, members) in members.iter().enumerate() {
            if members.is_empty() {
                continue;
            }
            let (rows, total) = alias::rows(members);
            let count = rows.len() as u32;
            let first = self.ranges.place(rows, old.map(|old| old[priority].first));
            ranges[priority] = Range {
                first,
                count,
                total,
            };
        }
        ranges
    }
}

/// Endpoints for IPv4 clients, and for IPv6 clients.
fn by_family(endpoints: &[Endpoint]) -> (Vec<&Endpoint>, Vec<&Endpoint>) {
    endpoints
        .iter()
        .partition(|endpoint| Family::from(endpoint.address) == Family::V4)
}
