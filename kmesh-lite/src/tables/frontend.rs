//! Rows of frontends.

use super::auto::Vips;
use super::build::{Builder, ID};
use super::declared::{Frontends, Noun};
use super::fields::{Field, Fields};
use crate::model::{Mesh, PortMapping, Table};
use kmesh_lite_common::{Frontend, FrontendId, FrontendKey, Port, ServiceId};
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
            0 => Ok(()),
            column => write!(f, ", column {column}"),
        }
    }

    fn fields(row: &Frontend) -> Fields {
        let service = row.service.map(|id| (Table::Services, id.index()));
        vec![
            ("address", Field::Text(row.key.address.to_string())),
            ("port", Field::Number(row.key.port.get().into())),
            ("protocol", Field::Text(row.key.protocol.to_string())),
            ("service", Field::Reference(service)),
            ("target", Field::Number(row.target.get().into())),
            ("column", Field::Number(row.column.into())),
        ]
    }
}

impl Builder<'_> {
    pub(super) fn frontend(
        &mut self,
        vip: IpAddr,
        port: &PortMapping,
        service: ServiceId,
        column: u16,
    ) {
        let key = FrontendKey::new(vip.into(), Port::new(port.port), port.protocol);
        let id = FrontendId::from_index(self.ids.frontends.index(key)).expect(ID);
        let row = Frontend::new(key, service, Port::new(port.target), column);
        self.rows.frontends.insert(id, row);
    }
}
