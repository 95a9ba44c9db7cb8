//! How it is found out whether an endpoint is healthy.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A description of probes. What it is found out about is a socket: an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    pub probe: Probe,
    /// From the beginning of a probe to that of the next one.
    pub interval: Duration,
    /// The same while an endpoint is not healthy, or was found otherwise than it counts.
    pub fast_interval: Duration,
    pub timeout: Duration,
    /// By how much each interval differs at random, in percent.
    pub jitter: u8,
    /// How many probes in a row make an endpoint healthy.
    pub rise: u32,
    /// How many make it unhealthy.
    pub fall: u32,
    /// The port that is probed; none for that of the endpoint.
    pub port: Option<u16>,
    /// The address that probes come from; none for that which the host chooses.
    pub source: Option<IpAddr>,
    /// Whether an endpoint takes new connections before anything is known of it.
    pub initially_usable: bool,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    Tcp,
    Http(HttpProbe),
    Grpc(GrpcProbe),
    Command(CommandProbe),
}

/// A request over HTTP/1.1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpProbe {
    /// Over TLS if there are any.
    pub tls: Option<TlsOptions>,
    pub method: String,
    /// With its query.
    pub path: String,
    /// None for the endpoint's address.
    pub host: Option<String>,
    pub headers: BTreeMap<String, String>,
    /// Ranges of statuses that are good, ends included.
    pub status: Vec<(u16, u16)>,
    /// What the body has to contain.
    pub body: Option<String>,
}

/// A call of the standard health protocol of gRPC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrpcProbe {
    /// Over TLS if there are any.
    pub tls: Option<TlsOptions>,
    /// Empty for the whole server.
    pub service: String,
    /// None for the endpoint's address.
    pub authority: Option<String>,
}

/// How a server is believed to be who it is, and what it is shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsOptions {
    pub verify: bool,
    /// None for the host that is asked for.
    pub server_name: Option<String>,
    /// PEM; none for the authorities of the host.
    pub authorities: Option<PathBuf>,
    /// PEM: a certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A program that ends with status 0 if the endpoint is healthy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandProbe {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// What the operator wants of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OperatorState {
    /// It serves.
    #[default]
    Ready,
    /// It takes no new connections, and keeps those that it has.
    Drain,
    /// The same, and it is not probed.
    Maintenance,
}

impl OperatorState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
        }
    }
}

/// When connections that fail take an endpoint out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eject {
    /// How many connects to it fail in a row.
    pub after: u32,
    /// How long it is out the first time.
    pub base: Duration,
    /// Of the endpoints of the service, in percent.
    pub at_most: u8,
}
