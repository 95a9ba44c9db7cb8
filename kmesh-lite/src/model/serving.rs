//! How the names of the mesh are served.

use super::QueryCapture;
use std::net::SocketAddr;
use std::time::Duration;

/// `[dns]`, as far as questions are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Where, over UDP and TCP; sorted, and never empty.
    pub listen: Vec<SocketAddr>,
    /// The zone of the mesh, in lower case, without the dot at the end.
    pub domain: String,
    /// Of records of the mesh; whole seconds.
    pub ttl: Duration,
    /// Of the word that there is no such name or record; whole seconds.
    pub negative_ttl: Duration,
    /// Who is asked for all other names; none for those of the host's resolv.conf.
    pub upstreams: Vec<SocketAddr>,
    pub order: UpstreamOrder,
    /// For one try of one upstream.
    pub timeout: Duration,
    /// How often each upstream is asked one question at most.
    pub attempts: u32,
    /// How many answers of upstreams are remembered.
    pub cache: u32,
    /// Whose questions to other DNS servers are answered here, if anybody's.
    pub capture: Option<QueryCapture>,
}

/// Which upstream is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamOrder {
    /// The first, and each other one when those before it fail.
    #[default]
    InOrder,
    /// All at once, of which the first good answer counts.
    Race,
}
