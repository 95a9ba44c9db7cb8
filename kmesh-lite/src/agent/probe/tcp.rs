//! Connecting, and no more.

use super::{Deadline, Seen, socket};
use std::net::{IpAddr, SocketAddr};

pub async fn probe(address: SocketAddr, source: Option<IpAddr>, until: Deadline) -> Seen {
    socket::connect(address, source, until).await?;
    Ok("connected".into())
}
