//! Rows of destinations: addresses and ports that authorization policies are about.

use super::auto::Vips;
use super::declared::{Destinations, Noun};
use super::fields::{Field, Fields};
use super::guarded::guarded_rows;
use crate::model::{Mesh, Table};
use kmesh_lite_common::{Address, Destination, FrontendKey, Port};
use std::fmt;

impl Noun for Destinations {
    type Row = Destination;
    type Key = FrontendKey;

    const NOUN: &'static str = "destination";

    fn needed(mesh: &Mesh, _: &Vips) -> usize {
        guarded_rows(mesh).destinations
    }

    fn key(row: &Destination) -> FrontendKey {
        row.key
    }

    fn name(key: &FrontendKey) -> String {
        let port = match key.port {
            Port::EVERY => "*".to_owned(),
            port => port.to_string(),
        };
        match key.address {
            Address::EVERY => format!("*:{port}/{}", key.protocol),
            address => format!("{address}:{port}/{}", key.protocol),
        }
    }

    fn describe(row: &Destination, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match row.guard {
            Some(guard) => write!(f, " guard {guard}"),
            None => f.write_str(" no guard"),
        }
    }

    fn fields(row: &Destination) -> Fields {
        let guard = row.guard.map(|id| (Table::Guards, id.index()));
        vec![
            ("address", Field::Text(row.key.address.to_string())),
            ("port", Field::Number(row.key.port.get().into())),
            ("protocol", Field::Text(row.key.protocol.to_string())),
            ("guard", Field::Reference(guard)),
        ]
    }
}
