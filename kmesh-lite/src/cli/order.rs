//! `drain`, `maintenance`, `ready` and `weight`: what the operator wants of endpoints.

use super::args::{Drain, Of, Weight};
use super::output::{ERROR, FAINT, GOOD, Output, WARN, complain};
use super::{CliError, Exit, VerbResult};
use crate::api::{
    Change, EndpointHealth, KillRequest, Killed, OrderRequest, OrderStatus, Ordered,
    OrderedEndpoint, Status,
};
use crate::control::Client;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether connections have ended.
const PAUSE: Duration = Duration::from_millis(500);

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
    wait(args, &ordered, output)
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

/// How many connections are still open, as `drain --wait --json` tells it whenever that changes.
#[derive(Serialize)]
struct Progress {
    open_connections: u64,
    endpoints: BTreeMap<String, u64>,
}

/// Waits until no connection is open, and shows how many are whenever that changes.
fn wait(args: Drain, ordered: &Ordered, output: &mut Output) -> VerbResult {
    let began = Instant::now();
    let is_after = |time: Option<u64>| {
        time.is_some_and(|seconds| began.elapsed() >= Duration::from_secs(seconds))
    };
    let json = args.format.json;
    let client = Client::new(args.socket.path);
    let mut shown = None;
    loop {
        let open = open(&client, ordered)?;
        let total = open.values().sum();
        if shown != Some(total) {
            shown = Some(total);
            if json {
                output.json_line(&Progress {
                    open_connections: total,
                    endpoints: open,
                })?;
            } else {
                output.text(&match total {
                    0 => format!("{GOOD}no connection is open{GOOD:#}"),
                    1 => "1 connection is open".to_owned(),
                    n => format!("{n} connections are open"),
                })?;
            }
        }
        if total == 0 {
            return Ok(Exit::Fine);
        }
        // Again each time: a connect that had chosen before may be late.
        if is_after(args.kill_after) && kill(&client, &args.endpoint, json, output)? > 0 {
            return Ok(Exit::Failed);
        }
        if is_after(args.timeout) {
            complain(&format!(
                "{ERROR}error{ERROR:#}: {total} still open; {FAINT}no new ones come, and `kmesh-lite connections` lists them{FAINT:#}"
            ));
            return Ok(Exit::Failed);
        }
        thread::sleep(PAUSE);
    }
}

/// Ends what is open. Gives how many connections cannot be ended.
fn kill(client: &Client, endpoint: &str, json: bool, output: &mut Output) -> Result<u64, CliError> {
    let kill = KillRequest {
        endpoint: endpoint.to_owned(),
    };
    let killed: Killed = client.post("kill", Some(&kill))?;
    if json {
        output.json_line(&killed)?;
    } else {
        let count: u64 = killed.endpoints.iter().map(|it| it.killed).sum();
        output.text(&match count {
            1 => "1 connection was ended".to_owned(),
            n => format!("{n} connections were ended"),
        })?;
    }
    let out_of_reach = killed.endpoints.iter().map(|it| it.out_of_reach).sum();
    if out_of_reach > 0 {
        complain(&format!(
            "{ERROR}error{ERROR:#}: {out_of_reach} cannot be ended and go on: not in the network namespace of the \
             daemon, which has no CAP_SYS_PTRACE"
        ));
    }
    Ok(out_of_reach)
}

/// Connections of each endpoint that are open now.
fn open(client: &Client, ordered: &Ordered) -> Result<BTreeMap<String, u64>, CliError> {
    let mut open: BTreeMap<_, _> = ordered.endpoints.iter().map(|it| (name(it), 0)).collect();
    let status: Status = client.get("status", &[])?;
    for service in &status.datapath.services {
        for endpoint in service.priorities.iter().flat_map(|it| &it.endpoints) {
            let name = format!("{}/{}", service.name, endpoint.endpoint);
            if let Some(open) = open.get_mut(&name) {
                *open = endpoint.open_connections;
            }
        }
    }
    Ok(open)
}
