//! `completions`: what a shell needs to complete our arguments, and the names that it completes.
//!
//! The script of a shell asks the program for each completion, because only the program knows the
//! services that there are.

use super::args::{Args, CONFIG};
use super::output::Output;
use super::{CliError, Exit, VerbResult, args};
use crate::api::Status;
use crate::control::Client;
use crate::daemon::SOCKET;
use crate::host::this_host;
use crate::model::{Mesh, Vip};
use crate::sources::Files;
use clap::CommandFactory;
use clap_complete::CompletionCandidate;
use clap_complete::env::{CompleteEnv, Shells};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use std::{io, iter};

/// Set by the scripts where they ask.
const VARIABLE: &str = "KMESH_LITE_COMPLETE";

/// Somebody waits at a prompt.
const PATIENCE: Duration = Duration::from_secs(1);

pub fn run(args: &args::Completions, output: &mut Output) -> VerbResult {
    let script = script(&args.shell.to_string()).map_err(CliError::Completions)?;
    output.text(&script)?;
    Ok(Exit::Fine)
}

/// The script of a shell.
pub fn script(shell: &str) -> io::Result<String> {
    let shells = Shells::builtins();
    let completer = shells
        .completer(shell)
        .ok_or_else(|| io::Error::other(format!("nothing is known of the shell {shell}")))?;
    let program = "kmesh-lite";
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, program, program, program, &mut script)?;
    Ok(String::from_utf8_lossy(&script).into_owned())
}

/// Answers a script and ends the process, if a script asks.
pub fn answer() {
    CompleteEnv::with_factory(Args::command)
        .var(VARIABLE)
        .complete();
}

/// Names of services.
pub fn services() -> Vec<CompletionCandidate> {
    candidates(known().into_iter().map(|(name, _)| name))
}

/// What programs can connect to.
pub fn frontends() -> Vec<CompletionCandidate> {
    candidates(known().into_iter().flat_map(|(_, frontends)| frontends))
}

/// Endpoints that an order may be about.
pub fn endpoints() -> Vec<CompletionCandidate> {
    let client = Client::new(SOCKET.into()).patient_for(PATIENCE);
    let status = client.get::<Status>("status", &[]);
    let services = status.map_or_else(|_| Vec::new(), |it| it.datapath.services);
    let names = services.iter().flat_map(|service| {
        let priorities = service.priorities.iter();
        let endpoints = priorities.flat_map(|priority| &priority.endpoints);
        endpoints.map(|it| format!("{}/{}", service.name, it.endpoint))
    });
    candidates(names)
}

/// Names of authorization policies.
pub fn policies() -> Vec<CompletionCandidate> {
    let client = Client::new(SOCKET.into()).patient_for(PATIENCE);
    let status = client.get::<Status>("status", &[]);
    let policies = status.map_or_else(|_| Vec::new(), |it| it.datapath.policies);
    candidates(policies.into_iter().map(|it| it.name))
}

fn candidates(texts: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let texts: BTreeSet<_> = texts.collect();
    texts.into_iter().map(CompletionCandidate::new).collect()
}

/// Services and their frontends: of the daemon, and where it does not answer, of the file.
fn known() -> Vec<(String, Vec<String>)> {
    let client = Client::new(SOCKET.into()).patient_for(PATIENCE);
    if let Ok(status) = client.get::<Status>("status", &[]) {
        let services = status.datapath.services.into_iter();
        return services.map(|it| (it.name, it.frontends)).collect();
    }
    let loaded = Files::new(CONFIG).load(&this_host());
    loaded.mesh.as_ref().map(of_mesh).unwrap_or_default()
}

fn of_mesh(mesh: &Mesh) -> Vec<(String, Vec<String>)> {
    let services = mesh.services.iter();
    let frontends = services.map(|(name, service)| {
        let fixed = service.vips.iter().filter_map(|vip| match vip {
            Vip::Fixed(ip) => Some(*ip),
            Vip::Auto => None,
        });
        let each = fixed.flat_map(|ip| service.ports.iter().zip(iter::repeat(ip)));
        let each = each.map(|(port, ip)| SocketAddr::new(ip, port.port).to_string());
        (name.to_string(), each.collect())
    });
    frontends.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn services_and_frontends_of_a_file_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mesh.toml");
        let text = "services.web = { vips = ['10.96.0.10', 'fd00::1', 'auto'], ports = [80] }";
        std::fs::write(&file, text).unwrap();
        let loaded = Files::new(file).load(&this_host());
        let frontends = ["10.96.0.10:80", "[fd00::1]:80"].map(str::to_owned);
        let known = of_mesh(&loaded.mesh.unwrap());
        assert_eq!(known, [("web".to_owned(), frontends.to_vec())]);
    }

    #[test]
    fn every_shell_that_can_be_named_has_a_script() {
        for shell in clap_complete::Shell::value_variants() {
            let script = script(&shell.to_string()).unwrap();
            assert!(script.contains(VARIABLE), "{shell}");
        }
    }
}
