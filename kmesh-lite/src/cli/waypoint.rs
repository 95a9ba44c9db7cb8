//! `waypoint`: the forwarder.

use super::args::{self, HeaderKind};
use super::run::absolute;
use super::{CliError, Exit, VerbResult};
use crate::api::{Failure, FailureKind};
use crate::config::Loader;
use crate::host::this_host;
use crate::model::{Mesh, Protocol, Vip};
use crate::report::problems;
use crate::sources::Files;
use ipnetwork::IpNetwork;
use kmesh_lite_forwarder::{Accept, Allowed, ConnectionLimits, Ended, ForwarderOptions};
use log::{error, warn};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

pub fn run(args: args::Waypoint) -> VerbResult {
    crate::log::init(args.log_level)?;
    let mut destinations = Destinations::new(&args)?;
    let allowed = destinations.allowed()?;
    let ended =
        kmesh_lite_forwarder::run(options(&args), allowed, || match destinations.allowed() {
            Ok(allowed) => Some(allowed),
            Err(failure) => {
                let problems = failure
                    .problems
                    .as_ref()
                    .map_or("", |problems| problems.text.trim_end());
                error!("cannot reload: {failure}; what was allowed stays allowed\n{problems}");
                None
            }
        })?;
    Ok(match ended {
        Ended::Drained => Exit::Fine,
        Ended::Cut(_) => Exit::Failed,
    })
}

fn options(args: &args::Waypoint) -> ForwarderOptions {
    ForwarderOptions {
        listen: args.listen,
        accept: Accept {
            tlv: args.accept.contains(&HeaderKind::Tlv),
            proxy_v2: args.accept.contains(&HeaderKind::ProxyV2),
        },
        limits: ConnectionLimits {
            header: Duration::from_secs(args.header_timeout),
            connect: Duration::from_secs(args.connect_timeout),
            idle: args.idle_timeout.map(Duration::from_secs),
            connections: args.max_connections,
            grace: Duration::from_secs(args.grace),
        },
    }
}

/// The sources of allowed destinations. The usual file is one without `--config` and `--allow`.
struct Destinations {
    networks: Vec<IpNetwork>,
    mesh: Option<(Files, Loader)>,
}

impl Destinations {
    fn new(args: &args::Waypoint) -> Result<Self, CliError> {
        let usual = Path::new(args::CONFIG);
        let mesh = match &args.config {
            Some(path) => Some(absolute(path)?),
            None if !args.allow.is_empty() => None,
            None if usual.exists() => Some(absolute(usual)?),
            None => return Err(CliError::NothingAllowed),
        };
        Ok(Self {
            networks: args.allow.clone(),
            mesh: mesh.map(|path| (Files::new(path), Loader::default())),
        })
    }

    /// Reads the file again.
    fn allowed(&mut self) -> Result<Allowed, Failure> {
        let mut allowed = Allowed {
            networks: self.networks.clone(),
            ..Allowed::default()
        };
        let Some((files, loader)) = &mut self.mesh else {
            return Ok(allowed);
        };
        let loaded = loader.load(&files.read(), &this_host());
        let path = files.main().display();
        let Some(mesh) = loaded.mesh else {
            if loaded.present {
                return Err(problems::invalid(path, &loaded.problems, false));
            }
            let error = format!("{path} does not exist");
            return Err(Failure::new(FailureKind::InvalidConfiguration, error));
        };
        allow_mesh(&mut allowed, &mesh);
        if allowed.is_empty() {
            warn!("{path} names no destination: every connection will be refused");
        }
        Ok(allowed)
    }
}

/// Allows the addresses that a redirected client may have asked for, and no port more, because the
/// addresses of a mesh can be shared with programs that are none of its business. These are a
/// service's virtual address with its ports, a backend with the ports that services reach it by, and
/// every port of a backend that has a waypoint, because all of its ports are captured.
fn allow_mesh(allowed: &mut Allowed, mesh: &Mesh) {
    let mut auto = BTreeSet::new();
    for service in mesh.services.values() {
        for port in &service.ports {
            if port.protocol != Protocol::Tcp {
                continue;
            }
            for vip in &service.vips {
                match vip {
                    Vip::Fixed(ip) => drop(allowed.addresses.insert((*ip, port.port).into())),
                    Vip::Auto => drop(auto.insert(port.port)),
                }
            }
            let endpoints = service.endpoints.iter();
            let targets =
                endpoints.map(|endpoint| SocketAddr::new(endpoint.address, endpoint.port(port)));
            allowed.addresses.extend(targets);
        }
    }
    // Hosts may have taken different automatic addresses, so the whole ranges are allowed.
    let ranges = mesh.vip_ranges.iter();
    allowed
        .network_ports
        .extend(ranges.map(|range| (*range, auto.clone())));
    let backends = mesh.backends.iter();
    let captured = backends.filter(|(_, backend)| backend.waypoint.is_some());
    allowed.hosts.extend(captured.map(|(ip, _)| *ip));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Host;

    const MESH: &str = r#"
        [mesh]
        vip_ranges = ["240.64.0.0/24"]
        [waypoints.edge]
        address = "10.0.0.5:15008"
        header = "none"
        [services.shop]
        vips = ["10.96.0.10", "127.0.0.1"]
        ports = ["80:8080", { port = 53, protocol = "udp" }]
        endpoints = ["192.168.1.10", "db-1"]
        [services.own-ports]
        vips = ["10.96.0.11"]
        ports = ["80:8080", "443:8443"]
        endpoints = [{ address = "192.168.1.13", ports = { 80 = 8081 } }]
        [services.moving]
        vips = ["auto"]
        ports = ["443:8443"]
        endpoints = ["192.168.1.12"]
        [endpoints.db-1]
        address = "192.168.1.11"
        waypoint = "edge"
    "#;

    fn allowed() -> Allowed {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mesh.toml");
        std::fs::write(&path, MESH).unwrap();
        let loaded = Files::new(&path).load(&Host::default());
        let mut allowed = Allowed {
            networks: vec!["203.0.113.0/24".parse().unwrap()],
            ..Allowed::default()
        };
        allow_mesh(&mut allowed, &loaded.mesh.unwrap());
        allowed
    }

    #[test]
    fn a_mesh_allows_what_its_clients_may_ask_for() {
        let allowed = allowed();
        for destination in [
            "10.96.0.10:80",
            "127.0.0.1:80",
            "192.168.1.10:8080",
            "192.168.1.11:22",
            "240.64.0.77:443",
            "192.168.1.12:8443",
            "192.168.1.13:8081",
            "192.168.1.13:8443",
            "203.0.113.7:1",
        ] {
            assert!(
                allowed.permits(destination.parse().unwrap()),
                "{destination}"
            );
        }
    }

    #[test]
    fn nothing_else_is_allowed() {
        let allowed = allowed();
        for destination in [
            "10.96.0.10:8080",
            "10.96.0.10:53",
            "127.0.0.1:22",
            "192.168.1.10:22",
            "192.168.1.13:8080",
            "240.64.0.77:80",
            "10.0.0.5:15008",
            "192.168.1.11:0",
            "0.0.0.0:80",
        ] {
            assert!(
                !allowed.permits(destination.parse().unwrap()),
                "{destination}"
            );
        }
    }
}
