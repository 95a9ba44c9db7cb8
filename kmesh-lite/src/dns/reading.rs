//! From the words of the control socket straight into a tree. A mesh of 100,000 services has 20 MB of them, and what they
//! say would need as much memory as the tree does if it were put together first.

use super::Tree;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use std::fmt;

impl Tree {
    /// Of a whole zone with the domain `domain`: the JSON of a [`crate::api::Zone`] that is no difference.
    pub fn read(domain: &str, json: &[u8]) -> Result<Self, serde_json::Error> {
        let mut tree = Self::empty(domain);
        let mut reader = serde_json::Deserializer::from_slice(json);
        WholeZone(&mut tree).deserialize(&mut reader)?;
        reader.end()?;
        Ok(tree)
    }
}

/// The zone, into the tree.
struct WholeZone<'a>(&'a mut Tree);

impl<'de> DeserializeSeed<'de> for WholeZone<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WholeZone<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a zone")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut revision, mut has_names) = (None, false);
        while let Some(key) = map.next_key::<String>()? {
            match &*key {
                "revision" => revision = Some(map.next_value()?),
                "names" => {
                    map.next_value_seed(Names(self.0))?;
                    has_names = true;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let Some(revision) = revision else {
            return Err(A::Error::missing_field("revision"));
        };
        if !has_names {
            return Err(A::Error::missing_field("names"));
        }
        self.0.be_at(revision);
        Ok(())
    }
}

/// The names, one by one.
struct Names<'a>(&'a mut Tree);

impl<'de> DeserializeSeed<'de> for Names<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names, and what each has")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            self.0.take(&name, map.next_value()?);
        }
        Ok(())
    }
}
