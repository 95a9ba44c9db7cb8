//! What programs remember of clients, as values.

use kmesh_lite_common::{ClientKey, ClientRow, EndpointId, Held};
use std::collections::BTreeMap;

/// What is remembered of some clients, at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// That moment, in nanoseconds of CLOCK_MONOTONIC.
    pub now: u64,
    /// Those of whom nothing is remembered are not here.
    pub clients: BTreeMap<ClientKey, ClientRow>,
    /// The terms that the endpoints of these clients have now.
    pub terms: BTreeMap<EndpointId, u32>,
}

impl Remembered {
    /// The endpoint that a client keeps under `affinity`, in milliseconds.
    pub fn kept(&self, key: &ClientKey, affinity: u32) -> Option<Held> {
        let row = self.clients.get(key)?;
        let term = row.held.endpoint.and_then(|id| self.terms.get(&id));
        row.kept(self.now, affinity, term.copied().unwrap_or_default())
    }
}
