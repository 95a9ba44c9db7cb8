//! `connections`: which connections are open.

use super::ask::{ask, failed};
use super::output::{BOLD, FAINT, Output};
use super::table::Table;
use super::{Exit, VerbResult, args};
use crate::api::{ConnectionStatus, Connections};
use crate::host::{Cgroups, monotonic};
use crate::report;
use std::fmt::Write;

pub fn run(args: args::Connections, output: &mut Output) -> VerbResult {
    let name = args.name.as_deref();
    let query: Vec<_> = name.iter().map(|name| ("name", *name)).collect();
    let connections: Connections = ask(
        args.socket.path,
        |daemon| daemon.get("connections", &query),
        |kernel, _| {
            let snapshot = kernel.snapshot().map_err(failed)?;
            let ids = snapshot.connections.iter().map(|it| it.connection.cgroup);
            let cgroups = Cgroups::find().map_err(failed)?.paths(ids);
            report::connections(&snapshot, &cgroups, monotonic(), name)
        },
    )?;
    if args.format.json {
        output.json(&connections)?;
    } else {
        output.text(&text(&connections))?;
    }
    Ok(Exit::Fine)
}

/// Writing to a String cannot fail, so no outcome is looked at.
fn text(connections: &Connections) -> String {
    let open = &connections.connections;
    let mut text = match open.len() {
        0 => format!("{BOLD}no connection is open{BOLD:#}\n"),
        1 => format!("{BOLD}1 connection is open{BOLD:#}\n\n"),
        count => format!("{BOLD}{count} connections are open{BOLD:#}\n\n"),
    };
    if !open.is_empty() {
        let mut table = Table::new(&[
            "service",
            "asked for",
            "goes to",
            "client",
            ">uid",
            ">pid",
            ">age",
        ]);
        for connection in open {
            table.row([
                or_dash(connection.service.as_deref()),
                format!(
                    "{}/{}",
                    connection.original_destination, connection.protocol
                ),
                goes_to(connection),
                or_dash(connection.unit.as_deref().or(connection.cgroup.as_deref())),
                connection.uid.to_string(),
                connection.pid.to_string(),
                age(connection.age_seconds),
            ]);
        }
        table.write(&mut text);
    }
    if connections.unlisted > 0 {
        let _ = writeln!(
            text,
            "\n  {FAINT}{} connections since the start found no room in the list, which has room for {}: \
             `[limits] connections`{FAINT:#}",
            connections.unlisted, connections.limit
        );
    }
    text
}

fn goes_to(connection: &ConnectionStatus) -> String {
    match (&connection.endpoint, &connection.waypoint) {
        (Some(endpoint), Some(waypoint)) => format!("{endpoint} via {waypoint}"),
        (Some(endpoint), None) => endpoint.clone(),
        (None, Some(waypoint)) => format!("waypoint {waypoint}"),
        (None, None) => "-".to_owned(),
    }
}

pub fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

/// `0.4s`, `12s`, `3m05s`, `2h07m` or `9d04h`.
pub fn age(seconds: f64) -> String {
    let whole = seconds as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3_600, whole / 86_400);
    match whole {
        0..10 => format!("{seconds:.1}s"),
        10..60 => format!("{whole}s"),
        60..3_600 => format!("{minutes}m{:02}s", whole % 60),
        3_600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units_at_most() {
        for (seconds, expected) in [
            (0.04, "0.0s"),
            (9.94, "9.9s"),
            (59.9, "59s"),
            (61.0, "1m01s"),
            (7_260.0, "2h01m"),
            (90_000.0, "1d01h"),
        ] {
            assert_eq!(age(seconds), expected);
        }
    }
}
