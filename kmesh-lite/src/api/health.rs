//! What the agent checks, and what it finds.

use super::{Failure, FailureKind, TimeBase};
use crate::model;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How targets are checked. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub probe: Probe,
    /// From the beginning of a probe to the beginning of the next one.
    pub interval: u64,
    /// The same while what is probed is not what the last probe found: some probes failed since it was
    /// healthy, or succeeded since it was not, and while it is not healthy at all.
    pub fast_interval: u64,
    /// A probe that is not over by then has failed.
    pub timeout: u64,
    /// By how much an interval is drawn longer or shorter each time, in percent.
    pub jitter: u8,
    /// So many probes have to succeed in a row before a target counts as healthy.
    pub rise: u32,
    /// So many have to fail in a row before it does not.
    pub fall: u32,
    /// The address that probes are sent from; none for that which the host chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Probe {
    /// Connects, and no more.
    Tcp,
    Http(HttpProbe),
    Grpc(GrpcProbe),
    Command(CommandProbe),
}

/// A request over HTTP/1.1. Redirects are not followed: their status is what was answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// Over TLS if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsOptions>,
    pub method: String,
    /// With its query.
    pub path: String,
    /// The `Host` that is asked for; none for the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Ranges of statuses, ends included, of which the answer has to be in one.
    pub status: Vec<(u16, u16)>,
    /// What the first bytes of the body have to contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// The standard health protocol of gRPC (`grpc.health.v1.Health/Check`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcProbe {
    /// Over TLS if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsOptions>,
    /// Whose health is asked for; empty for that of the whole server.
    pub service: String,
    /// The `:authority` that is asked for; none for the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
}

/// How a server is believed to be who it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsOptions {
    /// Whether its certificate has to be valid.
    pub verify: bool,
    /// The name that the certificate is for, and that is sent as SNI; none for the `Host`, or the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Authorities in PEM; none for those of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<PathBuf>,
    /// The certificate that the agent shows, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its key, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// A program that ends with status 0 if the target is healthy. It finds the target in its environment:
/// `KMESH_LITE_ADDRESS` and `KMESH_LITE_PORT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandProbe {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// What is checked: one address in one way, for however many endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub address: SocketAddr,
    /// Its place among the checks of the duties.
    pub check: u32,
    /// What the daemon believes. An agent that knows the target already goes by what it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
}

/// `POST /v1/agent/health`: what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthReport {
    /// That of the duties that have the targets.
    pub revision: u64,
    pub findings: Vec<Finding>,
}

impl HealthReport {
    /// The most that one may have: some thousand findings.
    pub const BYTES: usize = 512 * 1024;

    pub fn read(body: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(body).map_err(|error| {
            let error = format!("the body is no report of health: {error}");
            Failure::new(FailureKind::BadRequest, error)
        })
    }
}

/// What became of a target: it is told when it is known for the first time, and when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Its place among the targets of the duties.
    pub target: u32,
    pub healthy: bool,
    /// What the last probe saw, such as `connection refused` or `status 503`.
    pub reason: String,
}

/// What is known of targets, as one process leaves it to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownTargets {
    /// By which times were told.
    pub base: TimeBase,
    pub targets: Vec<KnownTarget>,
}

/// What is known of a target, as one process leaves it to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownTarget {
    pub address: SocketAddr,
    pub check: Check,
    pub healthy: bool,
    /// By CLOCK_MONOTONIC.
    pub since_ns: u64,
    pub reason: String,
}

impl From<&model::Check> for Check {
    /// The port is in the address of a target.
    fn from(check: &model::Check) -> Self {
        Self {
            probe: match &check.probe {
                model::Probe::Tcp => Probe::Tcp,
                model::Probe::Http(http) => Probe::Http(HttpProbe {
                    tls: http.tls.as_ref().map(Into::into),
                    method: http.method.clone(),
                    path: http.path.clone(),
                    host: http.host.clone(),
                    headers: http.headers.clone(),
                    status: http.status.clone(),
                    body: http.body.clone(),
                }),
                model::Probe::Grpc(grpc) => Probe::Grpc(GrpcProbe {
                    tls: grpc.tls.as_ref().map(Into::into),
                    service: grpc.service.clone(),
                    authority: grpc.authority.clone(),
                }),
                model::Probe::Command(command) => Probe::Command(CommandProbe {
                    program: command.program.clone(),
                    arguments: command.arguments.clone(),
                }),
            },
            interval: milliseconds(check.interval),
            fast_interval: milliseconds(check.fast_interval),
            timeout: milliseconds(check.timeout),
            jitter: check.jitter,
            rise: check.rise,
            fall: check.fall,
            source: check.source,
        }
    }
}

impl From<&model::TlsOptions> for TlsOptions {
    fn from(options: &model::TlsOptions) -> Self {
        let identity = options.identity.as_ref();
        Self {
            verify: options.verify,
            server_name: options.server_name.clone(),
            authorities: options.authorities.clone(),
            certificate: identity.map(|(certificate, _)| certificate.clone()),
            key: identity.map(|(_, key)| key.clone()),
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
