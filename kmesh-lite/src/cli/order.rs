//! `drain`, `maintenance`, `ready` and `weight`: what the operator wants of endpoints.

mod wait;

use super::args::{Drain, Of, Weight};
use super::output::{ERROR, GOOD, Output, WARN, complain};
use super::{CliError, Exit, VerbResult};
use crate::api::{Change, EndpointHealth, OrderRequest, OrderStatus, Ordered, OrderedEndpoint};
use crate::control::Client;
use std::fmt::Write;
use std::path::Path;

pub fn change(args: Of, change: Change, output: &mut Output) -> VerbResult {
    let ordered = order(&args.socket.path, args.endpoint, change)?;
    show(&ordered, args.format.json, output)
}

pub fn weight(args: Weight, output: &mut Output) -> VerbResult {
    let change = Change::Weight(args.value);
    let ordered = order(&args.socket.path, args.endpoint, change)?;
    show(&ordered, args.format.json, output)
}

pub fn drain(args: Drain, output: &mut Output) -> VerbResult {
    let ordered = order(&args.socket.path, args.endpoint.clone(), Change::Drain)?;
    if !args.wait {
        return show(&ordered, args.format.json, output);
    }
    if !args.format.json {
        show(&ordered, false, output)?;
    }
    wait::wait(args, &ordered, output)
}

fn order(socket: &Path, endpoint: String, change: Change) -> Result<Ordered, CliError> {
    let order = OrderRequest { endpoint, change };
    let ordered: Ordered = Client::new(socket.to_owned()).post("order", Some(&order))?;
    if let Some(why) = &ordered.not_kept {
        complain(&format!(
            "{WARN}warning{WARN:#}: this is forgotten when the daemon ends: {why}"
        ));
    }
    Ok(ordered)
}

fn show(ordered: &Ordered, json: bool, output: &mut Output) -> VerbResult {
    if json {
        output.json(ordered)?;
    } else {
        output.text(&text(ordered))?;
    }
    Ok(Exit::Fine)
}

fn text(ordered: &Ordered) -> String {
    let mut text = String::new();
    for it in &ordered.endpoints {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}: {}", name(it), stands(it));
    }
    text
}

fn stands(endpoint: &OrderedEndpoint) -> String {
    match (&endpoint.health, &endpoint.order) {
        (Some(health), _) => words(health),
        (None, Some(order)) if !endpoint.absent => {
            format!(
                "has no address yet; {} counts for all that come",
                wanted(order)
            )
        }
        (None, Some(order)) => format!("not in the file; {} still counts", wanted(order)),
        (None, None) if endpoint.absent => {
            format!("{GOOD}not in the file, and nothing is wanted of it{GOOD:#}")
        }
        (None, None) => format!("{GOOD}as the file says{GOOD:#}"),
    }
}

/// What the operator wants of an endpoint, in a few words.
pub fn wanted(order: &OrderStatus) -> String {
    let state = order.state.clone();
    let weight = order.weight.map(|weight| format!("weight {weight}"));
    let wanted: Vec<_> = [state, weight].into_iter().flatten().collect();
    let wanted = wanted.join(", ");
    format!("{wanted} by uid {} at {}", order.uid, order.at)
}

fn name(endpoint: &OrderedEndpoint) -> String {
    format!("{}/{}", endpoint.service, endpoint.endpoint)
}

/// How an endpoint stands, in a few words.
pub fn words(health: &EndpointHealth) -> String {
    let style = match (health.usable, health.state.as_str()) {
        (true, _) => GOOD,
        (false, "draining" | "maintenance") => WARN,
        (false, _) => ERROR,
    };
    let mut words = format!("{style}{}{style:#}", health.state);
    if let Some(reason) = health.reason.as_ref().filter(|_| !health.usable) {
        let _ = write!(words, ": {reason}");
    }
    if let Some(since) = &health.since {
        let _ = write!(words, " since {since}");
    }
    if let Some(order) = &health.order {
        let weight = order.weight.map(|weight| format!("weight {weight} "));
        let _ = write!(
            words,
            ", {}by uid {}",
            weight.unwrap_or_default(),
            order.uid
        );
        if health.since.as_ref() != Some(&order.at) {
            let _ = write!(words, " at {}", order.at);
        }
    }
    words
}
