//! Rows of waypoints.

use super::auto::Vips;
use super::build::{Builder, ID};
use super::declared::{Noun, Waypoints};
use super::fields::{Field, Fields};
use crate::model::{self, Mesh};
use kmesh_lite_common::{Name, Port, Waypoint, WaypointId};
use std::fmt;
use std::net::SocketAddr;

impl Noun for Waypoints {
    type Row = Waypoint;
    type Key = Name;

    const NOUN: &'static str = "waypoint";

    fn needed(mesh: &Mesh, _: &Vips) -> usize {
        mesh.waypoints.len()
    }

    fn key(row: &Waypoint) -> Name {
        row.name
    }

    fn name(key: &Name) -> String {
        key.to_string()
    }

    fn describe(row: &Waypoint, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = SocketAddr::new(row.address.into(), row.port.get());
        write!(f, " at {address}, header {}", row.header)
    }

    fn fields(row: &Waypoint) -> Fields {
        vec![
            ("name", Field::Text(row.name.to_string())),
            ("address", Field::Text(row.address.to_string())),
            ("port", Field::Number(row.port.get().into())),
            ("header", Field::Text(row.header.to_string())),
        ]
    }
}

impl Builder<'_> {
    pub(super) fn waypoint(&mut self, name: &model::Name, waypoint: &model::Waypoint) {
        let row = Waypoint {
            name: name.to_row(),
            address: waypoint.address.ip().into(),
            port: Port::new(waypoint.address.port()),
            header: waypoint.header,
            speaker: waypoint.speaker,
        };
        let id = WaypointId::from_index(self.ids.waypoints.index(row.name)).expect(ID);
        self.rows.waypoints.insert(id, row);
    }

    pub(super) fn waypoint_id(&self, name: &Option<model::Name>) -> Option<WaypointId> {
        let index = self.ids.waypoints.get(&name.as_ref()?.to_row())?;
        WaypointId::from_index(index)
    }
}
