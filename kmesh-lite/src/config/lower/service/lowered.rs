//! A service that was lowered.

use crate::config::endpoint::{EndpointText, VipText};
use crate::config::lower::Spot;
use crate::config::lower::merge::ServiceEntry;
use crate::config::port::PortText;
use crate::config::problem::Problem;
use crate::config::read::At;
use crate::config::span::Span;
use crate::model::{Name, Service};
use std::sync::Arc;

/// What a service means, with all that there is to say about it alone.
#[derive(Debug)]
pub struct Lowered {
    pub model: Arc<Service>,
    pub problems: Vec<Problem>,
    /// Whether all files could be parsed at the time. Else some problems were not said.
    pub is_all_said: bool,
    /// Whether all of it could be read.
    pub whole: bool,
    /// Whether it has hostnames.
    pub is_named: bool,
    /// Whether an endpoint of it is probed.
    pub is_checked: bool,
    /// Rows in the table of endpoints.
    pub rows: usize,
}

/// A service of the mesh.
pub struct LoweredService<'a> {
    pub entry: ServiceEntry<'a>,
    pub model: Arc<Service>,
    pub whole: bool,
    pub is_named: bool,
    pub is_checked: bool,
    pub rows: usize,
}

impl<'a> LoweredService<'a> {
    pub fn new(entry: ServiceEntry<'a>, lowered: &Lowered) -> Self {
        Self {
            entry,
            model: Arc::clone(&lowered.model),
            whole: lowered.whole,
            is_named: lowered.is_named,
            is_checked: lowered.is_checked,
            rows: lowered.rows,
        }
    }

    pub fn name(&self) -> &'a Name {
        &self.entry.name.value
    }

    pub fn spot(&self, span: Span) -> Spot<'a> {
        self.entry.at(span)
    }

    /// Where its virtual addresses are written.
    pub fn vips(&self) -> impl Iterator<Item = &'a At<VipText>> + use<'a> {
        let list = self.entry.text().and_then(|text| text.vips.as_ref());
        list.into_iter().flat_map(|list| &list.items)
    }

    /// Where its ports are written.
    pub fn ports(&self) -> impl Iterator<Item = &'a At<PortText>> + use<'a> {
        let list = self.entry.text().and_then(|text| text.ports.0.as_ref());
        list.into_iter().flat_map(|list| &list.items)
    }

    /// Where its endpoints are written.
    pub fn endpoints(&self) -> impl Iterator<Item = &'a At<EndpointText>> + use<'a> {
        let list = self.entry.text().and_then(|text| text.endpoints.as_ref());
        list.into_iter().flat_map(|list| &list.items)
    }
}
