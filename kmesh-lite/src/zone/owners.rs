//! Whose each name is.

use super::claims::Claims;
use crate::model::Name;
use imbl::OrdMap;
use std::sync::Arc;

/// A copy that is to be looked at elsewhere. It shares its structure with the zone.
#[derive(Clone, Debug, Default)]
pub struct Owners(pub(super) OrdMap<Arc<str>, Claims>);

impl Owners {
    /// The service that has a name, in lower case.
    pub fn of(&self, name: &str) -> Option<&Name> {
        Some(&self.0.get(name)?.first().service)
    }

    /// The service that a question for `name`, which the mesh has answered, leads to: where there is no such name, it was a
    /// wildcard (RFC 4592), and then the nearest one.
    pub fn of_answered(&self, name: &str) -> Option<&Name> {
        let mut rest = name;
        let mut owner = self.of(name);
        while owner.is_none() {
            (_, rest) = rest.split_once('.')?;
            owner = self.of(&format!("*.{rest}"));
        }
        owner
    }
}
