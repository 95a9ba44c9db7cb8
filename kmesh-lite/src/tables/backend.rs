//! Rows of backends.

use super::auto::Vips;
use super::build::{Builder, ID};
use super::declared::{Backends, Noun};
use super::fields::{Field, Fields};
use crate::model::{self, Mesh, Table};
use kmesh_lite_common::{Address, Backend, BackendId};
use std::fmt;
use std::net::IpAddr;

impl Noun for Backends {
    type Row = Backend;
    type Key = Address;

    const NOUN: &'static str = "backend";

    fn needed(mesh: &Mesh, _: &Vips) -> usize {
        mesh.backends.len()
    }

    fn key(row: &Backend) -> Address {
        row.address
    }

    fn name(key: &Address) -> String {
        key.to_string()
    }

    fn describe(row: &Backend, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match row.waypoint {
            Some(waypoint) => write!(f, " by waypoint {waypoint}"),
            None => Ok(()),
        }
    }

    fn fields(row: &Backend) -> Fields {
        let waypoint = row.waypoint.map(|id| (Table::Waypoints, id.index()));
        vec![
            ("address", Field::Text(row.address.to_string())),
            ("waypoint", Field::Reference(waypoint)),
        ]
    }
}

impl Builder<'_> {
    pub(super) fn backend(&mut self, ip: IpAddr, backend: &model::Backend) {
        let row = Backend {
            address: ip.into(),
            waypoint: self.waypoint_id(&backend.waypoint),
        };
        let id = BackendId::from_index(self.ids.backends.index(row.address)).expect(ID);
        self.rows.backends.insert(id, row);
    }
}
