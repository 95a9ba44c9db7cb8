//! How an endpoint of a service is picked, and how many connections there may be.

use super::One;
use crate::config::lower::Diagnostics;
use crate::model::{Balance, Name};
use std::num::NonZeroU32;

impl One<'_, '_> {
    pub(super) fn balance(&self, waypoint: Option<&Name>, report: &mut Diagnostics) -> Balance {
        let Some(written) = &self.text.balance else {
            return Balance::default();
        };
        if waypoint.is_some() && written.value.0 != Balance::default() {
            let message = "`balance` has no effect on clients: the waypoint of the service picks";
            report.push(self.at(written).note(message));
        }
        written.value.0
    }

    pub(super) fn max_connections(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.text.max_connections?.0)
    }

    pub(super) fn connects_per_second(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.text.connects_per_second?.0)
    }
}
