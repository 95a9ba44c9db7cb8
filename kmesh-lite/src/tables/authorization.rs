//! Rows of authorization policies.

use super::auto::Vips;
use super::build::{Builder, ID};
use super::declared::{Authorizations, Noun};
use super::fields::{Field, Fields};
use crate::model::{self, Mesh};
use kmesh_lite_common::{Authorization, AuthorizationId, Mode, Name};
use std::fmt;

impl Noun for Authorizations {
    type Row = Authorization;
    type Key = Name;

    const NOUN: &'static str = "policy";

    fn needed(mesh: &Mesh, _: &Vips) -> usize {
        mesh.policies.len()
    }

    fn key(row: &Authorization) -> Name {
        row.name
    }

    fn name(key: &Name) -> String {
        key.to_string()
    }

    fn describe(row: &Authorization, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " {}", row.action)?;
        match row.mode {
            Mode::Enforce => Ok(()),
            mode => write!(f, ", {mode}"),
        }
    }

    fn fields(row: &Authorization) -> Fields {
        vec![
            ("name", Field::Text(row.name.to_string())),
            ("action", Field::Text(row.action.to_string())),
            ("mode", Field::Text(row.mode.to_string())),
        ]
    }
}

impl Builder<'_> {
    pub(super) fn authorization(&mut self, name: &model::Name, policy: &model::Authorization) {
        let row = Authorization {
            name: name.to_row(),
            action: policy.action,
            mode: policy.mode,
        };
        let id = AuthorizationId::from_index(self.ids.authorizations.index(row.name)).expect(ID);
        self.rows.authorizations.insert(id, row);
    }
}
