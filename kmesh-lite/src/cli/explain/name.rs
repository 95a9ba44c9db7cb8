//! A name of the mesh: the service that it leads to, and on from there.

use super::super::output::{FAINT, GOOD, Output, WARN};
use super::super::run::absolute;
use super::super::table::Table;
use super::super::{CliError, Exit, VerbResult, args};
use super::{explanation, text};
use crate::api::{NameExplanation, NamedExplanation};
use crate::control::Client;
use std::fmt::Write;
use std::net::SocketAddr;

/// How many addresses are gone on from.
const MOST: usize = 4;

pub fn run(name: &str, port: Option<u16>, args: &args::Explain, output: &mut Output) -> VerbResult {
    let daemon = Client::new(absolute(&args.socket.path)?);
    let name: NameExplanation = daemon.get("name", &[("name", name)])?;
    let addresses: Vec<_> = name.records.addresses.iter().flatten().copied().collect();
    let shown = addresses.iter().take(MOST);
    let explanations = shown.filter_map(|ip| Some(SocketAddr::new(*ip, port?)));
    let explanations: Result<Vec<_>, CliError> =
        explanations.map(|at| explanation(at, args)).collect();
    let found = NamedExplanation {
        name,
        explanations: explanations?,
    };
    if args.format.json {
        output.json(&found)?;
        return Ok(Exit::Fine);
    }
    let mut words = head(&found.name, port);
    for explanation in &found.explanations {
        words.push('\n');
        words += &text(explanation);
    }
    if port.is_some() && addresses.len() > MOST {
        // Writing to a String cannot fail.
        let _ = writeln!(
            words,
            "\n  {FAINT}and {} more addresses; `--json` has them{FAINT:#}",
            addresses.len() - MOST
        );
    }
    output.text(&words)?;
    Ok(Exit::Fine)
}

fn head(found: &NameExplanation, port: Option<u16>) -> String {
    let is_empty = found.records.addresses.is_empty()
        && found.records.services.is_empty()
        && found.records.pointer.is_none();
    let style = if is_empty { WARN } else { GOOD };
    let mut text = format!("{}: {style}{}{style:#}\n", found.name, found.text);
    if !found.records.services.is_empty() {
        text.push('\n');
        let mut table = Table::new(&[">priority", ">weight", ">port", "target"]);
        for record in &found.records.services {
            table.row([
                record.priority.to_string(),
                record.weight.to_string(),
                record.port.to_string(),
                record.target.clone(),
            ]);
        }
        table.write(&mut text);
    }
    if port.is_none() && !found.records.addresses.is_empty() {
        let one = found
            .ports
            .iter()
            .find_map(|port| port.strip_suffix("/tcp"));
        let on = one.map_or_else(String::new, |port| {
            format!(
                "; `kmesh-lite explain {}:{port}` goes on from here",
                found.name
            )
        });
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {FAINT}ports: {}{on}{FAINT:#}",
            found.ports.join(", ")
        );
    }
    text
}
