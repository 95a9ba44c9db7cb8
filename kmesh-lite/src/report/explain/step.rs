//! What the decision looked up, in words.

use super::{client_word, name, new, ranges, word};
use crate::api::{Step, TimeBase};
use crate::kernel::Snapshot;
use crate::report::candidates::Choice;
use crate::report::rate::Rate;
use crate::tables::{LookedUp, Tables};
use kmesh_lite_common::{
    Action, AddressRow, Backend, Balance, Endpoint, Frontend, Judgement, Service, ServiceId,
    Waypoint,
};
use kmesh_lite_ebpf::{Connect, Refuse, Verdict};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

/// One decision, with what it looked up.
pub struct Steps<'a> {
    pub snapshot: &'a Snapshot,
    pub connect: &'a Connect,
    pub verdict: &'a Verdict,
    pub found: &'a [LookedUp],
    pub choice: Option<&'a Choice<'a>>,
    pub base: TimeBase,
}

impl Steps<'_> {
    pub fn told(&self) -> impl Iterator<Item = Step> {
        self.found.iter().filter_map(|found| self.step(found))
    }

    fn step(&self, found: &LookedUp) -> Option<Step> {
        let tables = &self.snapshot.tables;
        Some(match found {
            LookedUp::Address(row) => address(self.connect, row.as_ref()),
            LookedUp::Frontend(row) => frontend(tables, self.connect, row.as_ref()),
            LookedUp::Service(id, row) => self.service(*id, row.as_ref()),
            LookedUp::Endpoint(index, row) => self.endpoint(*index, row.as_ref()),
            LookedUp::Backend(id, row) => backend(tables, &id.to_string(), row.as_ref()),
            LookedUp::Waypoint(id, row) => waypoint(&id.to_string(), row.as_ref()),
            LookedUp::Judgement(_, judgement) => authorization(tables, judgement),
            LookedUp::Kept(..) => self.kept()?,
            // The service tells how many are left.
            LookedUp::Made(..) => return None,
        })
    }

    fn service(&self, id: ServiceId, row: Option<&Service>) -> Step {
        let (snapshot, connect) = (self.snapshot, self.connect);
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
        let [of_service, of_client] = self.choice.map_or([None; 2], Choice::rates);
        let left = |rate: Option<Rate>| {
            let left = rate.map(|rate| format!(", {} of them at this moment", rate.left()));
            left.unwrap_or_default()
        };
        if row.picking.connects_per_second() != 0 {
            text += &format!(
                "; at most {} connects a second{}",
                row.picking.connects_per_second(),
                left(of_service)
            );
        }
        if row.clients.connects_per_second() != 0 {
            text += &format!(
                "; at most {} connects a second of a unit{}",
                row.clients.connects_per_second(),
                left(of_client)
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
        for (key, rate) in [
            ("connects_left", of_service),
            ("client_connects_left", of_client),
        ] {
            if let Some(rate) = rate {
                fields[key] = rate.left().into();
            }
        }
        new("service", text, fields)
    }

    fn endpoint(&self, index: u32, row: Option<&Endpoint>) -> Step {
        if matches!(self.verdict, Verdict::Refuse(Refuse::EndpointsFull)) {
            let text =
                "every endpoint that the policy allows has as many connections as it may have";
            return new("endpoint", text.to_owned(), json!({}));
        }
        let tables = &self.snapshot.tables;
        let address = row
            .and_then(|row| tables.rows.backends.get(&row.own.backend?))
            .map_or_else(|| "(unknown)".to_owned(), |row| row.address.to_string());
        let own = row.map_or(0, |row| row.own.port.get());
        let address = match own {
            0 => address,
            own => format!("{address} on its port {own}"),
        };
        let mut fields = json!({ "row": index });
        let is_kept = self.choice.is_some_and(Choice::is_kept);
        let is_known = self.choice.is_some_and(Choice::is_known);
        let text = match row.and_then(Endpoint::in_maglev) {
            _ if is_kept => format!("the one that is kept, {address}"),
            Some(_) if is_known && self.choice.is_some_and(Choice::counts) => {
                format!(
                    "the first slot of this client whose endpoint has room, which is of {address}"
                )
            }
            Some(_) if is_known => format!("the slot of this client, which is of {address}"),
            Some(seat) => format!(
                "a slot for each client, for example one of {address}, which has {} of {}",
                seat.slots, seat.keep
            ),
            None if self.choice.is_some_and(Choice::is_least) => {
                fields = json!({});
                "two random choices by weight, of which the one with fewer open connections for its weight is taken".to_owned()
            }
            None => format!("a weighted draw, for example {address}"),
        };
        new("endpoint", text, fields)
    }

    /// The endpoint that the client keeps.
    fn kept(&self) -> Option<Step> {
        let choice = self.choice?;
        let (kept, by) = (choice.kept()?, choice.by_client()?);
        let who = format!("this {}", word(by));
        let Some(endpoint) = choice.kept_endpoint(self.base) else {
            let text = format!("{who} keeps no endpoint at this moment");
            return Some(new("client", text, json!({ "endpoint": null })));
        };
        let left = Duration::from_millis(kept.until.saturating_sub(kept.now) / 1_000_000);
        let left = match left.as_secs() {
            0 => left,
            seconds => Duration::from_secs(seconds),
        };
        let what = match (endpoint.taken, self.verdict) {
            (true, _) => "and goes there",
            (false, Verdict::Refuse(_)) => "but cannot go there now",
            (false, _) => "but cannot go there now, and chooses anew",
        };
        let text = format!(
            "{who} keeps {} until {}, for {left:?} more, {what}",
            endpoint.endpoint, endpoint.until
        );
        let fields = json!({
            "endpoint": endpoint.endpoint,
            "until": endpoint.until,
            "taken": endpoint.taken,
        });
        Some(new("client", text, fields))
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

pub fn authorization(tables: &Tables, judgement: &Judgement) -> Step {
    let policy = |id| {
        let row = tables.rows.authorizations.get(&id);
        let name = row.map_or_else(|| format!("{id}"), |row| row.name.to_string());
        let allows_others = row.is_some_and(|row| row.action == Action::Allow);
        (name, allows_others)
    };
    let (text, by, verdict) = match (judgement.denied, judgement.audited) {
        (Some(id), _) => {
            let (name, allows_others) = policy(id);
            let text = match allows_others {
                true => format!("policy {name} allows others, and none allows this one"),
                false => format!("policy {name} denies it"),
            };
            (text, Some(name), "denied")
        }
        (None, Some(id)) => {
            let (name, allows_others) = policy(id);
            let text = match allows_others {
                true => format!(
                    "policy {name}, which is in audit mode, allows others, and none allows this one"
                ),
                false => format!("policy {name}, which is in audit mode, would deny it"),
            };
            (text, Some(name), "audited")
        }
        (None, None) => ("the policies about it allow it".to_owned(), None, "allowed"),
    };
    new(
        "authorization",
        text,
        json!({ "verdict": verdict, "policy": by }),
    )
}
