//! Localities, and the places made of them.

use super::super::piece::Anchor;
use super::super::read::At;
use super::super::scalar::{Label, LocalityRef, locality};
use super::merge::Merged;
use super::{Diagnostics, Spot};
use crate::model::{Locality, Place};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The keys that make a place, as written.
#[derive(Clone, Copy, Default)]
pub struct PlaceText<'a> {
    pub locality: Option<(Anchor<'a>, &'a At<LocalityRef>)>,
    pub network: Option<&'a str>,
    pub node: Option<&'a str>,
    pub cluster: Option<&'a str>,
}

impl<'a> PlaceText<'a> {
    pub fn new(
        anchor: Anchor<'a>,
        locality: &'a Option<At<LocalityRef>>,
        [network, node, cluster]: [&'a Option<At<Label>>; 3],
    ) -> Self {
        let text = |label: &'a Option<At<Label>>| label.as_ref().map(|label| &*label.value.0);
        Self {
            locality: locality.as_ref().map(|locality| (anchor, locality)),
            network: text(network),
            node: text(node),
            cluster: text(cluster),
        }
    }

    /// What is not given here is taken from `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            locality: self.locality.or(other.locality),
            network: self.network.or(other.network),
            node: self.node.or(other.node),
            cluster: self.cluster.or(other.cluster),
        }
    }
}

type PlaceKey<'a> = [Option<&'a str>; 4];

/// Resolves localities, and makes one [`Place`] of equal texts.
pub struct PlaceTable<'a> {
    localities: BTreeMap<&'a str, Option<&'a Locality>>,
    known: HashMap<PlaceKey<'a>, Arc<Place>>,
    /// Neighbours in a file are often in the same place.
    last: Option<(PlaceKey<'a>, Arc<Place>)>,
}

impl<'a> PlaceTable<'a> {
    pub fn new(merged: &Merged<'a>) -> Self {
        let localities = merged.localities.iter();
        Self {
            localities: localities
                .map(|(name, entry)| (*name, entry.text.map(|text| &text.0)))
                .collect(),
            known: HashMap::new(),
            last: None,
        }
    }

    pub fn resolve(&mut self, text: PlaceText<'a>, report: &mut Diagnostics) -> Arc<Place> {
        let written = text.locality.map(|(_, locality)| &*locality.value.0);
        let key = [written, text.network, text.node, text.cluster];
        if let Some((last, place)) = &self.last
            && *last == key
        {
            return Arc::clone(place);
        }
        let known = self.known.get(&key).cloned();
        let place = match known {
            Some(place) => place,
            None => {
                let owned = |text: Option<&str>| text.map(str::to_owned);
                let found = match text.locality {
                    Some((anchor, locality)) => self.locality(anchor, locality, report),
                    None => Some(Locality::default()),
                };
                let place = Arc::new(Place {
                    network: owned(text.network),
                    locality: found.clone().unwrap_or_default(),
                    node: owned(text.node),
                    cluster: owned(text.cluster),
                });
                if found.is_none() {
                    // Not remembered: every use of an unknown locality is a problem of its own.
                    return place;
                }
                self.known.insert(key, Arc::clone(&place));
                place
            }
        };
        self.last = Some((key, Arc::clone(&place)));
        place
    }

    fn locality(
        &self,
        anchor: Anchor<'_>,
        written: &At<LocalityRef>,
        report: &mut Diagnostics,
    ) -> Option<Locality> {
        let text = &*written.value.0;
        if text.contains('/') {
            return locality(text).ok();
        }
        match self.localities.get(text) {
            Some(found) => Some(found.cloned().unwrap_or_default()),
            None => {
                let spot = Spot::new(anchor, written.span);
                report.unknown(spot, "locality", "localities", text, &self.localities);
                None
            }
        }
    }
}
