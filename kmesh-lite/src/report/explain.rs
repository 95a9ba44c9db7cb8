//! The decision of one connect, step by step.

use super::caller::Client;
use super::candidates::{Choice, WhyDown, candidates};
use crate::api::{Candidate, Explanation, Row, Step, VerdictKind};
use crate::kernel::Snapshot;
use crate::tables::{LookedUp, Tables, replay};
use kmesh_lite_common::{
    AddressRow, Backend, Balance, ClientsBy, Endpoint, Family, Frontend, PRIORITIES, Port,
    Protocol, Range, Service, ServiceId, Waypoint, WaypointId,
};
use kmesh_lite_ebpf::{Connect, Judgement, PassReason, Redirect, Refuse, Verdict};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

/// Replays what the programs do with a connect of `client`, and says how often they did it.
pub fn explain(
    snapshot: &Snapshot,
    client: &Client,
    address: SocketAddr,
    protocol: Protocol,
    why_down: WhyDown<'_>,
) -> Explanation {
    let (tables, attached) = (&snapshot.tables, &snapshot.attached[..]);
    let connect = Connect {
        address: address.ip().into(),
        port: Port::new(address.port()),
        protocol,
    };
    let caller_step = client.step(tables, attached);
    if let Err(why) = client.captured(attached) {
        return Explanation {
            address: address.to_string(),
            protocol: protocol.to_string(),
            verdict: VerdictKind::Pass,
            outcome: None,
            outcome_count: None,
            text: format!("left alone: {why}"),
            steps: caller_step.into_iter().collect(),
            candidates: Vec::new(),
            uses_all: false,
            left_out: Vec::new(),
        };
    }
    let whose = client.whose(tables);
    let (verdict, found) = replay(tables, &connect, whose.clone(), 0, &snapshot.counters.open);
    let choice = Choice::of(&connect, whose, &found);
    let candidates = candidates(snapshot, &verdict, choice.as_ref(), why_down);
    let uses_all = candidates.iter().any(|it| it.down.is_some());
    let is_known = choice.as_ref().is_some_and(Choice::is_known);
    let steps = found
        .iter()
        .map(|found| step(snapshot, &connect, found, is_known));
    let count = |outcome| snapshot.counters.outcomes.get(&outcome).copied();
    Explanation {
        address: address.to_string(),
        protocol: protocol.to_string(),
        verdict: match verdict {
            Verdict::Pass(_) => VerdictKind::Pass,
            Verdict::Redirect(_) => VerdictKind::Redirect,
            Verdict::Refuse(_) => VerdictKind::Refuse,
        },
        outcome: verdict.outcome().map(|outcome| outcome.as_str().to_owned()),
        outcome_count: verdict.outcome().and_then(count),
        text: text(tables, &verdict, choice.as_ref(), &candidates),
        steps: caller_step.into_iter().chain(steps).collect(),
        candidates,
        uses_all,
        left_out: choice.map_or_else(Vec::new, |choice| {
            choice.left_out(snapshot, &connect, &verdict, why_down)
        }),
    }
}

fn text(
    tables: &Tables,
    verdict: &Verdict,
    choice: Option<&Choice<'_>>,
    candidates: &[Candidate],
) -> String {
    match verdict {
        Verdict::Pass(PassReason::NotOurs) => "left alone: the address is not ours".to_owned(),
        Verdict::Pass(PassReason::Bypass) => "left alone: the caller bypasses the mesh".to_owned(),
        Verdict::Pass(PassReason::UndeclaredPort) => {
            "left alone: no service declares the port, and a real host has the address".to_owned()
        }
        Verdict::Pass(PassReason::Direct) => "left alone: a backend without a waypoint".to_owned(),
        Verdict::Redirect(Redirect {
            waypoint: Some(waypoint),
            address,
            port,
            ..
        }) => {
            let to = SocketAddr::new((*address).into(), port.get());
            format!("redirected to waypoint {} at {to}", name(tables, *waypoint))
        }
        Verdict::Redirect(_) => match candidates {
            [
                Candidate {
                    endpoint,
                    down: Some(_),
                    ..
                },
            ] => format!("sent to {endpoint}, which is down: no endpoint is not"),
            [only] => format!("sent to {}", only.endpoint),
            several if several.iter().any(|it| it.down.is_some()) => format!(
                "sent to one of {} endpoints, which are down: no endpoint is not",
                several.len()
            ),
            several => {
                let text = format!("sent to one of {} endpoints", several.len());
                match choice.and_then(Choice::by_client) {
                    Some(by) => format!("{text}, the same for each {}", client_word(by)),
                    None => text,
                }
            }
        },
        Verdict::Refuse(reason) => refusal(*reason).to_owned(),
    }
}

/// What is one client.
pub fn client_word(by: ClientsBy) -> &'static str {
    match by {
        ClientsBy::User => "user",
        ClientsBy::Address => "address that clients are bound to",
        ClientsBy::NetworkNamespace => "network namespace",
        _ => "unit",
    }
}

/// Why a connect is refused, in words.
pub const fn refusal(reason: Refuse) -> &'static str {
    match reason {
        Refuse::UndeclaredPort => "refused with ECONNREFUSED: no service declares the port",
        Refuse::UndeclaredUdpPort => "refused with ECONNREFUSED: no service declares the UDP port",
        Refuse::NoEndpoint => {
            "refused with EHOSTUNREACH: the service has no endpoint that its policy allows"
        }
        Refuse::Dangling => {
            "refused with EHOSTUNREACH: the tables contradict themselves; `kmesh-lite reload` repairs them"
        }
        Refuse::Family => "refused with EHOSTUNREACH: an IPv4 client cannot reach what was chosen",
        Refuse::NoMemory => "refused with ENOMEM",
        Refuse::Header => {
            "refused with EOPNOTSUPP: the waypoint has to learn the original destination, which only TCP can tell it"
        }
        Refuse::ServiceFull => {
            "refused with ECONNREFUSED: as many connections to the service are open as its `max_connections` allows"
        }
        Refuse::EndpointsFull => {
            "refused with ECONNREFUSED: every endpoint that the policy allows has as many connections as its `max_connections` allows"
        }
        Refuse::Denied => {
            "refused with EACCES: an authorization policy says that this client may not connect to the service"
        }
        Refuse::TooFast => {
            "refused with ECONNREFUSED: more connects a second than the `connects_per_second` of the service"
        }
        Refuse::ClientTooFast => {
            "refused with ECONNREFUSED: more connects a second of one unit than the `client_connects_per_second` of the service"
        }
    }
}

pub fn name(tables: &Tables, id: WaypointId) -> String {
    tables
        .rows
        .waypoints
        .get(&id)
        .map_or_else(|| id.to_string(), |row| row.name.to_string())
}

fn step(snapshot: &Snapshot, connect: &Connect, found: &LookedUp, is_known: bool) -> Step {
    let tables = &snapshot.tables;
    match found {
        LookedUp::Address(row) => address(connect, row.as_ref()),
        LookedUp::Frontend(row) => frontend(tables, connect, row.as_ref()),
        LookedUp::Service(id, row) => service(snapshot, connect, *id, row.as_ref()),
        LookedUp::Endpoint(index, row) => endpoint(tables, *index, row.as_ref(), is_known),
        LookedUp::Backend(id, row) => backend(tables, &id.to_string(), row.as_ref()),
        LookedUp::Waypoint(id, row) => waypoint(&id.to_string(), row.as_ref()),
        LookedUp::Judgement(_, judgement) => authorization(tables, judgement),
    }
}

fn authorization(tables: &Tables, judgement: &Judgement) -> Step {
    let named = |id| {
        let row = tables.rows.authorizations.get(&id);
        row.map_or_else(|| id.to_string(), |row| row.name.to_string())
    };
    let (text, by, verdict) = match (judgement.denied, judgement.audited) {
        (Some(id), _) => {
            let name = named(id);
            (format!("policy {name} refuses it"), Some(name), "denied")
        }
        (None, Some(id)) => {
            let name = named(id);
            let text = format!("policy {name} would refuse it, and is in audit mode");
            (text, Some(name), "audited")
        }
        (None, None) => (
            "the policies of the service allow it".to_owned(),
            None,
            "allowed",
        ),
    };
    new(
        "authorization",
        text,
        json!({ "verdict": verdict, "policy": by }),
    )
}

pub fn new(name: &str, text: String, fields: serde_json::Value) -> Step {
    let fields = match fields {
        serde_json::Value::Object(fields) => fields,
        _ => Row::new(),
    };
    Step {
        name: name.to_owned(),
        text,
        fields,
    }
}

fn address(connect: &Connect, row: Option<&AddressRow>) -> Step {
    match row {
        None => new(
            "address",
            format!("{} is in no table", connect.address),
            json!({}),
        ),
        Some(row) => {
            let captured = if row.backend.is_some() {
                ", and a captured backend"
            } else {
                ""
            };
            let text = format!("{} is ours: a {} address{captured}", row.address, row.kind);
            new("address", text, json!({ "kind": row.kind.as_str() }))
        }
    }
}

fn frontend(tables: &Tables, connect: &Connect, row: Option<&Frontend>) -> Step {
    let (port, protocol) = (connect.port, connect.protocol);
    match row {
        None => new(
            "frontend",
            format!("no service declares port {port}/{protocol} of it"),
            json!({}),
        ),
        Some(row) => {
            let service = row.service.and_then(|id| tables.rows.services.get(&id));
            let service = service.map_or_else(
                || "(unknown)".to_owned(),
                |service| service.name.to_string(),
            );
            let text = format!(
                "port {port}/{protocol} belongs to service {service}, target port {}",
                row.target
            );
            new(
                "frontend",
                text,
                json!({ "service": service, "target": row.target.get() }),
            )
        }
    }
}

fn service(snapshot: &Snapshot, connect: &Connect, id: ServiceId, row: Option<&Service>) -> Step {
    let tables = &snapshot.tables;
    let Some(row) = row else {
        return new("service", format!("service {id} does not exist"), json!({}));
    };
    let mut text = format!("policy {}", row.policy);
    if row.picking.balance != Balance::default() {
        text += &format!(", {}", row.picking.balance);
    }
    if row.picking.hashes() {
        text += &format!(" by {}", row.picking.clients_by());
    }
    if row.clients.affinity != 0 {
        let time = Duration::from_millis(row.clients.affinity.into());
        text += &format!(
            "; each {} keeps its endpoint for {time:?} after its last connect",
            client_word(row.picking.clients_by())
        );
    }
    match row.waypoint {
        Some(waypoint) => text += &format!(", waypoint {}", name(tables, waypoint)),
        None => {
            let counts: Vec<_> = ranges(row, connect)
                .iter()
                .enumerate()
                .filter(|(_, range)| range.count > 0)
                .map(|(priority, range)| (priority, tables.listed(range).count()))
                .map(|(priority, count)| format!("{count} at priority {priority}"))
                .collect();
            let counts = if counts.is_empty() {
                "none".to_owned()
            } else {
                counts.join(", ")
            };
            text += &format!(
                "; endpoints for {} clients: {counts}",
                connect.address.family()
            );
        }
    }
    if row.picking.max_connections != 0 {
        text += &format!(
            "; {} of {} connections open",
            snapshot.counters.open.service(id),
            row.picking.max_connections
        );
    }
    if row.picking.connects_per_second() != 0 {
        text += &format!(
            "; at most {} connects a second",
            row.picking.connects_per_second()
        );
    }
    if row.clients.connects_per_second() != 0 {
        text += &format!(
            "; at most {} connects a second of a unit",
            row.clients.connects_per_second()
        );
    }
    let mut fields = json!({
        "name": row.name.as_str(),
        "policy": row.policy.as_str(),
        "connects": snapshot.counters.service(id),
    });
    if row.picking.counts() {
        fields["open"] = snapshot.counters.open.service(id).into();
    }
    new("service", text, fields)
}

pub fn ranges<'a>(row: &'a Service, connect: &Connect) -> &'a [Range; PRIORITIES] {
    match connect.address.family() {
        Family::V4 => &row.v4,
        Family::V6 => &row.v6,
    }
}

fn endpoint(tables: &Tables, index: u32, row: Option<&Endpoint>, is_known: bool) -> Step {
    let address = row
        .and_then(|row| tables.rows.backends.get(&row.own.backend?))
        .map_or_else(|| "(unknown)".to_owned(), |row| row.address.to_string());
    let own = row.map_or(0, |row| row.own.port.get());
    let address = match own {
        0 => address,
        own => format!("{address} on its port {own}"),
    };
    let text = match row.and_then(Endpoint::in_maglev) {
        Some(_) if is_known => format!("the slot of this client, which is of {address}"),
        Some(seat) => format!(
            "a slot for each client, for example one of {address}, which has {} of {}",
            seat.slots, seat.keep
        ),
        None => format!("a weighted draw, for example {address}"),
    };
    new("endpoint", text, json!({ "row": index }))
}

fn backend(tables: &Tables, id: &str, row: Option<&Backend>) -> Step {
    match row {
        None => new("backend", format!("backend {id} does not exist"), json!({})),
        Some(row) => {
            let waypoint = row.waypoint.map(|id| name(tables, id));
            let by = waypoint.as_ref().map_or_else(
                || "no waypoint".to_owned(),
                |name| format!("waypoint {name}"),
            );
            let text = format!("{}, {by}", row.address);
            new(
                "backend",
                text,
                json!({ "address": row.address.to_string(), "waypoint": waypoint }),
            )
        }
    }
}

fn waypoint(id: &str, row: Option<&Waypoint>) -> Step {
    match row {
        None => new(
            "waypoint",
            format!("waypoint {id} does not exist"),
            json!({}),
        ),
        Some(row) => {
            let address = SocketAddr::new(row.address.into(), row.port.get());
            let text = format!("{} at {address}, header {}", row.name, row.header);
            let fields = json!({ "name": row.name.as_str(), "address": address.to_string(), "header": row.header.as_str() });
            new("waypoint", text, fields)
        }
    }
}
