//! Real addresses that serve.

use super::Name;

/// What holds for an address wherever it is an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// Where connections to it go first; that also captures connects straight to its address.
    pub waypoint: Option<Name>,
}
