//! One connection, from its first byte to its last.

use crate::allowed::Allowed;
use crate::buffers::Buffers;
use crate::counters::{ConnectionCounters, Count};
use crate::header::{Accept, Decoded, Header, LONGEST, Malformed, decode};
use crate::limits::ConnectionLimits;
use crate::relay::{RelayError, relay};
use crate::socket;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The rules that every connection is held to.
pub struct Rules<'a> {
    pub accept: Accept,
    pub limits: &'a ConnectionLimits,
    pub allowed: &'a Allowed,
    pub counters: &'a ConnectionCounters,
    pub buffers: &'a Buffers,
}

/// The ways in which a connection ends well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Finished(SocketAddr),
    /// The connection was the sending proxy's own.
    Local,
}

/// The reason why a connection was not forwarded, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error("the connection was closed without a header")]
    Empty,
    #[error("the connection was closed after {0} bytes of a header")]
    Truncated(usize),
    #[error("cannot read the header")]
    Header(#[source] io::Error),
    #[error("the header was not complete after {} s", .0.as_secs_f64())]
    HeaderTimeout(Duration),
    #[error("{0}")]
    Malformed(Malformed),
    #[error("destination {0} is not allowed: neither the mesh file nor `--allow` names it")]
    NotAllowed(SocketAddr),
    #[error("destination {0} is this forwarder")]
    Loop(SocketAddr),
    #[error("cannot connect to {destination}")]
    Connect {
        destination: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot connect to {destination}: no answer in {} s", .limit.as_secs_f64())]
    ConnectTimeout {
        destination: SocketAddr,
        limit: Duration,
    },
    #[error("cannot set the options of a socket")]
    Options(#[source] io::Error),
    #[error("cannot relay to {destination}")]
    Relay {
        destination: SocketAddr,
        #[source]
        source: RelayError,
    },
}

/// Reads the header, connects and relays. An error drops the sockets, and that resets them.
pub async fn forward(client: TcpStream, rules: Rules<'_>) -> Result<Done, ForwardError> {
    socket::prepare(&client).map_err(ForwardError::Options)?;
    let limit = rules.limits.header;
    let Some((header, first)) = timeout(limit, read_header(&client, rules.accept))
        .await
        .map_err(|_| ForwardError::HeaderTimeout(limit))??
    else {
        socket::ends_well(&client).map_err(ForwardError::Options)?;
        return Ok(Done::Local);
    };
    let destination = admit(header.destination, &client, rules.allowed)?;
    let upstream = connect(destination, rules.limits.connect).await?;
    rules.counters.add(Count::Forwarded);
    relay(&client, &upstream, first, rules.limits.idle, rules.buffers)
        .await
        .map_err(|source| ForwardError::Relay {
            destination,
            source,
        })?;
    Ok(Done::Finished(destination))
}

/// The header and the bytes that came with it; none if the connection is to go nowhere.
async fn read_header(
    client: &TcpStream,
    accept: Accept,
) -> Result<Option<(Header, Vec<u8>)>, ForwardError> {
    let mut buffer = Vec::new();
    let mut length = 0;
    loop {
        client.readable().await.map_err(ForwardError::Header)?;
        // The buffer is made only now: a connection that says nothing costs nothing.
        buffer.resize(LONGEST, 0);
        match client.try_read(&mut buffer[length..]) {
            Ok(0) if length == 0 => return Err(ForwardError::Empty),
            Ok(0) => return Err(ForwardError::Truncated(length)),
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(ForwardError::Header(error)),
        }
        match decode(&buffer[..length], accept) {
            Decoded::NeedMore => {}
            Decoded::Header(header) => {
                let first = buffer[header.length..length].to_vec();
                return Ok(Some((header, first)));
            }
            Decoded::Local => return Ok(None),
            Decoded::Malformed(malformed) => return Err(ForwardError::Malformed(malformed)),
        }
    }
}

/// The address to connect to, if that is allowed.
fn admit(
    destination: SocketAddr,
    client: &TcpStream,
    allowed: &Allowed,
) -> Result<SocketAddr, ForwardError> {
    // ::ffff:10.0.0.1 is 10.0.0.1, and it must not slip past a rule.
    let canonical =
        |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let destination = canonical(destination);
    if !allowed.permits(destination) {
        return Err(ForwardError::NotAllowed(destination));
    }
    let own = client.local_addr().map_err(ForwardError::Options)?;
    if destination == canonical(own) {
        return Err(ForwardError::Loop(destination));
    }
    Ok(destination)
}

async fn connect(destination: SocketAddr, limit: Duration) -> Result<TcpStream, ForwardError> {
    let upstream = timeout(limit, TcpStream::connect(destination))
        .await
        .map_err(|_| ForwardError::ConnectTimeout { destination, limit })?
        .map_err(|source| ForwardError::Connect {
            destination,
            source,
        })?;
    socket::prepare(&upstream).map_err(ForwardError::Options)?;
    Ok(upstream)
}

impl ForwardError {
    pub fn count(&self) -> Count {
        match self {
            Self::Empty => Count::Empty,
            Self::Truncated(_) => Count::Truncated,
            Self::Header(_) | Self::Options(_) => Count::Failed,
            Self::HeaderTimeout(_) => Count::HeaderTimeout,
            Self::Malformed(malformed) => Count::Malformed(*malformed),
            Self::NotAllowed(_) => Count::NotAllowed,
            Self::Loop(_) => Count::Loop,
            Self::Connect { .. } => Count::ConnectFailed,
            Self::ConnectTimeout { .. } => Count::ConnectTimeout,
            Self::Relay {
                source: RelayError::Idle(_),
                ..
            } => Count::IdleTimeout,
            Self::Relay { .. } => Count::Broken,
        }
    }
}
