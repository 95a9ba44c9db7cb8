//! `explain`: where would a connect go?

mod name;

use super::ask::{ask, failed};
use super::output::{ERROR, FAINT, GOOD, Output, WARN};
use super::run::rooted;
use super::table::Table;
use super::{CliError, Exit, VerbResult, args};
use crate::api::{Candidate, Explanation, Failure, FailureKind, Row, TimeBase, VerdictKind};
use crate::host::{Cgroups, monotonic};
use crate::model::{CgroupRef, Protocol};
use crate::report::{self, Asked, Client};
use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;

pub fn run(args: args::Explain, output: &mut Output) -> VerbResult {
    let at = match &args.address {
        args::Goal::Address(at) => *at,
        args::Goal::Name(name, port) => return name::run(name, *port, &args, output),
    };
    let explanation = explanation(at, &args)?;
    if args.format.json {
        output.json(&explanation)?;
    } else {
        output.text(&text(&explanation))?;
    }
    Ok(Exit::Fine)
}

/// What would become of a connect to an address.
fn explanation(at: SocketAddr, args: &args::Explain) -> Result<Explanation, CliError> {
    let address = at.to_string();
    let (protocol, meant) = match args.protocol {
        args::Protocol::Tcp => ("tcp", Protocol::Tcp),
        args::Protocol::Udp => ("udp", Protocol::Udp),
    };
    let cgroup = cgroup(&args.client)?;
    let named = cgroup.as_ref().map(ToString::to_string);
    let pid = args.client.pid.map(|pid| pid.to_string());
    let mut query = vec![("address", address.as_str()), ("protocol", protocol)];
    query.extend(named.as_deref().map(|cgroup| ("cgroup", cgroup)));
    query.extend(pid.as_deref().map(|pid| ("pid", pid)));
    let user = match (args.user, args.client.pid) {
        (Some(user), _) => Some(user),
        (None, pid) => pid.and_then(user_of),
    };
    let group = match (user, args.client.pid) {
        (_, Some(pid)) if args.user.is_none() => number_of(pid, "Gid:"),
        (user, _) => user.and_then(group_of),
    };
    let number = user.map(|user| user.to_string());
    query.extend(number.as_deref().map(|user| ("user", user)));
    let of_group = group.map(|group| group.to_string());
    query.extend(of_group.as_deref().map(|group| ("group", group)));
    let from = args.from.map(|from| from.to_string());
    query.extend(from.as_deref().map(|from| ("from", from)));
    ask(
        args.socket.path.clone(),
        |daemon| daemon.get("explain", &query),
        |kernel, _| {
            if let Some(from) = args.from {
                let snapshot = kernel.snapshot().map_err(failed)?;
                let arrival = report::explain_arrival(&snapshot, at, meant, from);
                return Ok(arrival);
            }
            let mut client = Client::ANY;
            if let Some(name) = &cgroup {
                client = Client::of(name, Cgroups::find().map_err(failed)?.lineage(name))?;
            }
            client.user = user;
            client.group = group;
            let asked = Asked {
                client,
                address: at,
                protocol: meant,
            };
            let snapshot = kernel.snapshot().map_err(failed)?;
            let remembered = kernel.remembered(&asked.clients(&snapshot));
            let remembered = remembered.map_err(failed)?;
            let base = TimeBase::new(monotonic());
            // Nobody knows more than the tables say.
            Ok(report::explain(
                &snapshot,
                &asked,
                &remembered,
                base,
                &|_, _, _| None,
            ))
        },
    )
}

/// More endpoints than this are not shown.
const MOST: usize = 60;

/// The cgroup of the program that is meant, if one is.
fn cgroup(client: &args::Client) -> Result<Option<CgroupRef>, CliError> {
    let of_unit = client.unit.as_deref().map(unit).map(CgroupRef::Unit);
    let by_path = client.cgroup.as_deref().map(rooted).map(CgroupRef::Path);
    let of_process = client.pid.map(of_process).transpose()?;
    Ok(of_unit.or(by_path).or(of_process))
}

/// The cgroup of a process, from the line `0::/PATH` of cgroups(7).
fn of_process(pid: u32) -> Result<CgroupRef, Failure> {
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(
            FailureKind::NotFound,
            format!("process {pid} has no cgroup: {why}"),
        )
    };
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup"));
    let table = table.map_err(|error| failed(&error))?;
    let mut lines = table.lines();
    let path = lines.find_map(|line| line.strip_prefix("0::"));
    let path = path.ok_or_else(|| failed(&"it is in none of version 2"))?;
    Ok(CgroupRef::Path(path.into()))
}

/// The user of a process by which services tell it from others, and policies know it.
fn user_of(pid: u32) -> Option<u32> {
    number_of(pid, "Uid:")
}

/// The first number, which is the real one, of a line of `/proc/PID/status`: it is what the kernel tells programs of ours.
fn number_of(pid: u32, line: &str) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mut lines = status.lines();
    let numbers = lines.find_map(|it| it.strip_prefix(line))?;
    numbers.split_whitespace().next()?.parse().ok()
}

/// The first group of a user.
fn group_of(user: u32) -> Option<u32> {
    let user = nix::unistd::User::from_uid(user.into()).ok()??;
    Some(user.gid.as_raw())
}

fn text(explanation: &Explanation) -> String {
    let style = match explanation.verdict {
        VerdictKind::Redirect if explanation.uses_all => WARN,
        VerdictKind::Redirect => GOOD,
        VerdictKind::Pass => WARN,
        VerdictKind::Refuse => ERROR,
    };
    let from = explanation.from.as_ref();
    let from = from.map_or_else(String::new, |from| format!(" from {from}"));
    let mut text = format!(
        "{} {}{from}: {style}{}{style:#}\n",
        explanation.address, explanation.protocol, explanation.text
    );
    if !explanation.steps.is_empty() {
        text.push('\n');
        let mut table = Table::new(&["step", "finding", "fields"]);
        for step in &explanation.steps {
            table.row([step.name.clone(), step.text.clone(), fields(&step.fields)]);
        }
        table.write(&mut text);
    }
    if !explanation.candidates.is_empty() {
        text.push('\n');
        let columns = [
            "endpoint",
            ">priority",
            ">weight",
            ">share",
            ">connects",
            ">open",
            "waypoint",
            "",
        ];
        let mut table = Table::new(&columns);
        for candidate in explanation.candidates.iter().take(MOST) {
            table.row([
                named(&candidate.endpoint, &candidate.dns),
                candidate.priority.to_string(),
                candidate.weight.to_string(),
                format!("{:.1} %", candidate.share * 100.0),
                candidate
                    .connects
                    .map_or_else(String::new, |it| it.to_string()),
                open(candidate),
                candidate.waypoint.clone().unwrap_or_default(),
                candidate.down.clone().unwrap_or_default(),
            ]);
        }
        table.write(&mut text);
        more(&mut text, explanation.candidates.len());
    }
    if !explanation.left_out.is_empty() {
        text.push('\n');
        let mut table = Table::new(&["left out", "why"]);
        for left_out in explanation.left_out.iter().take(MOST) {
            table.row([
                named(&left_out.endpoint, &left_out.dns),
                left_out.why.clone(),
            ]);
        }
        table.write(&mut text);
        more(&mut text, explanation.left_out.len());
    }
    if let Some(outcome) = &explanation.outcome {
        let times = match explanation.outcome_count {
            None => String::new(),
            Some(1) => ", as 1 connect of this host before".to_owned(),
            Some(count) => format!(", as {count} connects of this host before"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n  {FAINT}counted as {outcome}{times}{FAINT:#}");
    }
    text
}

/// How many connections are open, and may be.
fn open(candidate: &Candidate) -> String {
    match (candidate.open, candidate.max_connections) {
        (Some(open), Some(limit)) => format!("{open} of {limit}"),
        (Some(open), None) => open.to_string(),
        (None, _) => String::new(),
    }
}

/// Says how many were not shown.
fn more(text: &mut String, count: usize) {
    if count > MOST {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {FAINT}and {} more; `--json` has all{FAINT:#}",
            count - MOST
        );
    }
}

fn fields(row: &Row) -> String {
    let fields: Vec<_> = row
        .iter()
        .map(|(key, value)| format!("{key}={}", cell(value)))
        .collect();
    fields.join(" ")
}

/// A value as a table shows it: text without quotes, nothing as a dash.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// The name of a unit; one without a type is a service, as in systemctl.
fn unit(name: &str) -> String {
    if name.contains('.') {
        name.to_owned()
    } else {
        format!("{name}.service")
    }
}

/// An endpoint, with the DNS name that it was found by.
fn named(endpoint: &str, dns: &Option<String>) -> String {
    match dns {
        Some(dns) => format!("{dns}@{endpoint}"),
        None => endpoint.to_owned(),
    }
}
