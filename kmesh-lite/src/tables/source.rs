//! Rows of sources: what authorization policies say of the addresses of a network.

use super::auto::Vips;
use super::declared::{Noun, Sources};
use super::fields::{Field, Fields};
use super::guard::{policy_fields, write_policies};
use super::guarded::guarded_rows;
use crate::model::{Mesh, Table};
use kmesh_lite_common::{AuthorizationId, Family, Judgement, Source, SourceKey};
use std::fmt;

impl Noun for Sources {
    type Row = Source;
    type Key = SourceKey;

    const NOUN: &'static str = "source";

    fn needed(mesh: &Mesh, _: &Vips) -> usize {
        guarded_rows(mesh).sources
    }

    fn key(row: &Source) -> SourceKey {
        row.key
    }

    fn name(key: &SourceKey) -> String {
        let guard = key.guard.map(|id| id.to_string());
        let guard = guard.as_deref().unwrap_or("nothing");
        format!("{} to guard {guard}", Self::network(key))
    }

    fn describe(row: &Source, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if row.judgement == Judgement::default() {
            return f.write_str(" allowed");
        }
        write_policies(of(&row.judgement).into_iter(), f)
    }

    fn fields(row: &Source) -> Fields {
        let guard = row.key.guard.map(|id| (Table::Guards, id.index()));
        let mut fields = vec![
            ("guard", Field::Reference(guard)),
            ("network", Field::Text(Self::network(&row.key))),
        ];
        fields.extend(policy_fields(of(&row.judgement).into_iter()));
        fields
    }
}

fn of(judgement: &Judgement) -> [(&'static str, Option<AuthorizationId>); 2] {
    [
        ("denied_by", judgement.denied),
        ("audited_by", judgement.audited),
    ]
}

impl Sources {
    /// The network of a key, as operators write it.
    pub fn network(key: &SourceKey) -> String {
        let bits = key.bits.saturating_sub(SourceKey::OF_GUARD);
        match key.address.family() {
            Family::V4 if bits >= 96 => format!("{}/{}", key.address, bits - 96),
            _ => format!("{}/{bits}", key.address),
        }
    }
}
