//! `waypoint`: the forwarder.

use super::args::{self, HeaderKind};
use super::run::absolute;
use super::{CliError, Exit, Outcome};
use crate::api::{Failure, FailureKind};
use crate::config::Loader;
use crate::host::this_host;
use crate::report::problems;
use crate::sources::Files;
use crate::waypoint::{self, Allowed, Ended, Limits, Options, header::Accept};
use ipnetwork::IpNetwork;
use log::{error, warn};
use std::path::Path;
use std::time::Duration;

pub fn run(args: args::Waypoint) -> Outcome {
    crate::log::init(args.log_level)?;
    let mut destinations = Destinations::new(&args)?;
    let allowed = destinations.allowed()?;
    let ended = waypoint::run(options(&args), allowed, || match destinations.allowed() {
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

fn options(args: &args::Waypoint) -> Options {
    Options {
        listen: args.listen,
        accept: Accept {
            tlv: args.accept.contains(&HeaderKind::Tlv),
            proxy_v2: args.accept.contains(&HeaderKind::ProxyV2),
        },
        limits: Limits {
            header: Duration::from_secs(args.header_timeout),
            connect: Duration::from_secs(args.connect_timeout),
            idle: args.idle_timeout.map(Duration::from_secs),
            connections: args.max_connections,
            grace: Duration::from_secs(args.grace),
        },
    }
}

/// Where what is allowed comes from. With neither `--config` nor `--allow` it is the usual file.
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
        let allowed = Allowed::networks(self.networks.clone());
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
        let allowed = allowed.and_mesh(&mesh);
        if allowed.is_empty() {
            warn!("{path} names no destination: every connection will be refused");
        }
        Ok(allowed)
    }
}
