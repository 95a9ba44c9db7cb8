//! `explain`: where would a connect go?

use super::ask::{ask, failed};
use super::output::{ERROR, FAINT, GOOD, Output, WARN};
use super::table::Table;
use super::{Exit, VerbResult, args};
use crate::api::{Explanation, Row, VerdictKind};
use crate::model::Protocol;
use crate::report;
use serde_json::Value;
use std::fmt::Write;

pub fn run(args: args::Explain, output: &mut Output) -> VerbResult {
    let address = args.address.to_string();
    let (protocol, meant) = match args.protocol {
        args::Protocol::Tcp => ("tcp", Protocol::Tcp),
        args::Protocol::Udp => ("udp", Protocol::Udp),
    };
    let query = [("address", address.as_str()), ("protocol", protocol)];
    let explanation: Explanation = ask(
        args.socket.path,
        |daemon| daemon.get("explain", &query),
        |kernel| {
            let actual = kernel.read().map_err(failed)?;
            Ok(report::explain(&actual.tables, args.address, meant))
        },
    )?;
    if args.format.json {
        output.json(&explanation)?;
    } else {
        output.text(&text(&explanation))?;
    }
    Ok(Exit::Fine)
}

fn text(explanation: &Explanation) -> String {
    let style = match explanation.verdict {
        VerdictKind::Redirect => GOOD,
        VerdictKind::Pass => WARN,
        VerdictKind::Refuse => ERROR,
    };
    let mut text = format!(
        "{} {}: {style}{}{style:#}\n",
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
        let mut table = Table::new(&["endpoint", ">priority", ">weight", ">share", "waypoint"]);
        for candidate in &explanation.candidates {
            table.row([
                candidate.endpoint.clone(),
                candidate.priority.to_string(),
                candidate.weight.to_string(),
                format!("{:.1} %", candidate.share * 100.0),
                candidate.waypoint.clone().unwrap_or_default(),
            ]);
        }
        table.write(&mut text);
    }
    if let Some(outcome) = &explanation.outcome {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n  {FAINT}counted as {outcome}{FAINT:#}");
    }
    text
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
