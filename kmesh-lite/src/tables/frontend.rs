//! Rows of frontends.

use super::auto::Vips;
use super::build::{Builder, ID};
use super::declared::{Frontends, Noun};
use super::fields::{Field, Fields};
use super::picking;
use super::service::unranked;
use crate::model::{Mesh, PortMapping, Table};
use kmesh_lite_common::{Frontend, FrontendId, FrontendKey, Port, Service, ServiceId};
use kmesh_lite_ebpf::in_use;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

impl Noun for Frontends {
    type Row = Frontend;
    type Key = FrontendKey;

    const NOUN: &'static str = "frontend";

    fn needed(mesh: &Mesh, vips: &Vips) -> usize {
        let services = mesh.services.iter();
        services
            .map(|(name, service)| vips.of(name).len() * service.ports.len())
            .sum()
    }

    fn key(row: &Frontend) -> FrontendKey {
        row.key
    }

    fn name(key: &FrontendKey) -> String {
        let address = SocketAddr::new(key.address.into(), key.port.get());
        format!("{address}/{}", key.protocol)
    }

    fn describe(row: &Frontend, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = row.service.map(|id| id.to_string());
        let service = service.as_deref().unwrap_or("nothing");
        write!(f, " to service {service}, port {}", row.target)?;
        match row.column {
            0 => {}
            column => write!(f, ", column {column}")?,
        }
        match (row.waypoint, row.in_use.column(row.column)) {
            (Some(waypoint), _) => write!(f, ", waypoint {waypoint}"),
            (None, _) if row.in_use.count == 0 => f.write_str(", no endpoint"),
            (None, first) => write!(f, ", [{first}..{}]", first + row.in_use.count),
        }?;
        picking::describe(&row.picking, f)
    }

    fn fields(row: &Frontend) -> Fields {
        let service = row.service.map(|id| (Table::Services, id.index()));
        let waypoint = row.waypoint.map(|id| (Table::Waypoints, id.index()));
        let in_use = Some(&row.in_use)
            .filter(|range| range.count > 0)
            .into_iter();
        vec![
            ("address", Field::Text(row.key.address.to_string())),
            ("port", Field::Number(row.key.port.get().into())),
            ("protocol", Field::Text(row.key.protocol.to_string())),
            ("service", Field::Reference(service)),
            ("target", Field::Number(row.target.get().into())),
            ("column", Field::Number(row.column.into())),
            ("waypoint", Field::Reference(waypoint)),
            ("in_use", Field::List(in_use.map(unranked).collect())),
        ]
        .into_iter()
        .chain(picking::fields(&row.picking))
        .collect()
    }
}

impl Builder<'_> {
    pub(super) fn frontend(
        &mut self,
        vip: IpAddr,
        port: &PortMapping,
        column: u16,
        service: ServiceId,
        row: &Service,
    ) {
        let key = FrontendKey::new(vip.into(), Port::new(port.port), port.protocol);
        let id = FrontendId::from_index(self.ids.frontends.index(key)).expect(ID);
        let in_use = in_use(row, key.address.family());
        let target = Port::new(port.target);
        let row = Frontend::new(
            key,
            service,
            row.waypoint,
            in_use,
            target,
            column,
            row.picking,
        );
        self.rows.frontends.insert(id, row);
    }
}
