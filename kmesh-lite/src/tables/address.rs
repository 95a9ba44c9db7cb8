//! Rows of addresses: virtual ones, and those of captured backends and of guarded endpoints.

use super::auto::Vips;
use super::build::{Builder, ID, guarded_addresses};
use super::declared::{Addresses, Noun};
use super::fields::{Field, Fields};
use crate::model::{Mesh, Table};
use kmesh_lite_common::{Address, AddressId, AddressKind, AddressRow, BackendId};
use std::fmt;
use std::net::IpAddr;

impl Noun for Addresses {
    type Row = AddressRow;
    type Key = Address;

    const NOUN: &'static str = "address";

    fn needed(mesh: &Mesh, vips: &Vips) -> usize {
        let captured = mesh.backends.iter();
        let captured = captured.filter(|(ip, backend)| {
            // A virtual address that is captured as well has one row.
            backend.waypoint.is_some() && !vips.has(ip)
        });
        let guarded = guarded_addresses(mesh).into_iter().filter(|ip| {
            let backend = mesh.backends.get(ip);
            !vips.has(ip) && backend.is_none_or(|backend| backend.waypoint.is_none())
        });
        vips.addresses() + captured.count() + guarded.count()
    }

    fn key(row: &AddressRow) -> Address {
        row.address
    }

    fn name(key: &Address) -> String {
        key.to_string()
    }

    fn describe(row: &AddressRow, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ", {}", row.kind)?;
        if row.guarded != 0 {
            f.write_str(", guarded")?;
        }
        match row.backend {
            Some(backend) => write!(f, ", backend {backend}"),
            None => Ok(()),
        }
    }

    fn fields(row: &AddressRow) -> Fields {
        let backend = row.backend.map(|id| (Table::Backends, id.index()));
        vec![
            ("address", Field::Text(row.address.to_string())),
            ("kind", Field::Text(row.kind.to_string())),
            ("guarded", Field::Text((row.guarded != 0).to_string())),
            ("backend", Field::Reference(backend)),
        ]
    }
}

impl Builder<'_> {
    /// The row of an address that is virtual, or that of a captured backend or a guarded endpoint.
    pub(super) fn address(&mut self, ip: IpAddr) {
        let address = Address::from(ip);
        let backend = self.mesh.backends.get(&ip);
        let real = backend.is_some() || ip.is_loopback() || self.facts.own_addresses.contains(&ip);
        let captured = backend.is_some_and(|backend| backend.waypoint.is_some());
        let row = AddressRow {
            address,
            kind: if real {
                AddressKind::Real
            } else {
                AddressKind::Virtual
            },
            guarded: self.guarded.contains(&ip).into(),
            backend: if captured {
                self.ids
                    .backends
                    .get(&address)
                    .and_then(BackendId::from_index)
            } else {
                None
            },
        };
        let id = AddressId::from_index(self.ids.addresses.index(address)).expect(ID);
        self.rows.addresses.insert(id, row);
    }
}
