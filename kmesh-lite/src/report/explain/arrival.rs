//! What becomes of a connection that arrives at this host.

use super::new;
use super::step::authorization;
use crate::api::{Explanation, Step, VerdictKind};
use crate::kernel::Snapshot;
use crate::tables::{Arrived, Sources, arrived};
use kmesh_lite_common::{Address, FrontendKey, Port, Protocol};
use serde_json::json;
use std::net::{IpAddr, SocketAddr};

/// Replays what the programs say of a connection, or a datagram, from an address to a port of this host.
pub fn explain_arrival(
    snapshot: &Snapshot,
    local: SocketAddr,
    protocol: Protocol,
    from: IpAddr,
) -> Explanation {
    let tables = &snapshot.tables;
    let key = FrontendKey::new(local.ip().into(), Port::new(local.port()), protocol);
    let is_for_many = match local.ip() {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.is_multicast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    };
    // The kernel looks for no socket then, but hands it to all.
    let arrived = arrived(tables, &key, &Address::from(from)).filter(|_| !is_for_many);
    let named = |id| {
        let row = tables.rows.authorizations.get(&id);
        row.map_or_else(String::new, |row| row.name.to_string())
    };
    let (verdict, text) = match &arrived {
        None if is_for_many => (
            VerdictKind::Pass,
            "let in: broadcast and multicast are not judged".to_owned(),
        ),
        None => (
            VerdictKind::Pass,
            "let in: no policy is about this address and port".to_owned(),
        ),
        Some(Arrived { judgement, .. }) => match (judgement.denied, judgement.audited) {
            (Some(id), _) => (
                VerdictKind::Refuse,
                format!(
                    "denied by policy {}: the client is refused at its first packet (ECONNREFUSED)",
                    named(id)
                ),
            ),
            (None, Some(id)) => (
                VerdictKind::Pass,
                format!(
                    "let in, because policy {} is in audit mode: it would be denied",
                    named(id)
                ),
            ),
            (None, None) => (
                VerdictKind::Pass,
                "let in: the policies allow it".to_owned(),
            ),
        },
    };
    Explanation {
        address: local.to_string(),
        protocol: protocol.to_string(),
        from: Some(from.to_string()),
        verdict,
        outcome: None,
        outcome_count: None,
        text,
        steps: arrived.iter().flat_map(|it| steps(snapshot, it)).collect(),
        kept: None,
        candidates: Vec::new(),
        uses_all: false,
        left_out: Vec::new(),
    }
}

fn steps(snapshot: &Snapshot, arrived: &Arrived<'_>) -> Vec<Step> {
    let tables = &snapshot.tables;
    let destination = arrived.destination.key;
    let (address, port) = (destination.address, destination.port);
    let whole = |is_every: bool, what: &str, one: String| match is_every {
        true => format!("every {what}"),
        false => one,
    };
    let address = whole(address == Address::EVERY, "address", address.to_string());
    let port = whole(port == Port::EVERY, "port", format!("port {port}"));
    let guard = arrived.guard.name.to_string();
    let source = match arrived.source {
        Some(source) => Sources::network(&source.key),
        None => "in no network that a policy names".to_owned(),
    };
    vec![
        new(
            "destination",
            format!("policies are about {address} at {port}"),
            json!({ "guard": guard }),
        ),
        new(
            "source",
            source.clone(),
            json!({ "network": arrived.source.map(|_| source) }),
        ),
        authorization(tables, &arrived.judgement),
    ]
}
