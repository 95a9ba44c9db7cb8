//! DNS names of endpoints, in words.

use super::health::Known;
use crate::api::{Explanation, LeftOut, NameStatus, RefusedAddress};
use crate::model::{Mesh, Record};
use crate::names::NameState;
use std::net::SocketAddr;

/// What is known of every name, or of those of one service.
pub fn names(known: &Known, service: Option<&str>) -> Vec<NameStatus> {
    let is_wanted = |state: &&NameState| {
        let mut services = state.services.iter();
        service.is_none_or(|wanted| services.any(|it| it.as_str() == wanted))
    };
    let status = |state: &NameState| NameStatus {
        name: state.name.to_string(),
        srv: state.is_srv,
        services: state.services.iter().map(ToString::to_string).collect(),
        addresses: state.records.iter().map(title).collect(),
        since: state.since.map(|since| known.base.tell(since)),
        error: state.trouble.as_ref().map(|(_, reason)| reason.clone()),
        failing_since: state
            .trouble
            .as_ref()
            .map(|(since, _)| known.base.tell(*since)),
        in_part: state.in_part,
        refused: state
            .refused
            .iter()
            .map(|(address, why)| RefusedAddress {
                address: address.to_string(),
                why: why.to_string(),
            })
            .collect(),
        left_out: state.left_out,
    };
    known.names.iter().filter(is_wanted).map(status).collect()
}

/// Says in an explanation by which names endpoints were found, and which names stand for none.
pub fn tell_names(explanation: &mut Explanation, mesh: &Mesh, known: &Known) {
    let step = explanation.steps.iter().find(|step| step.name == "service");
    let name = step.and_then(|step| step.fields.get("name")?.as_str());
    let Some((name, service)) = name.and_then(|name| mesh.services.get_key_value(name)) else {
        return;
    };
    if service.named.is_empty() {
        return;
    }
    let of_name = |endpoint: &str| {
        let at: SocketAddr = endpoint.parse().ok()?;
        let mut endpoints = service.endpoints.iter();
        let found = endpoints.find(|it| {
            let mut ports = service.ports.iter();
            it.address == at.ip() && ports.any(|mapping| it.port(mapping) == at.port())
        });
        Some(found?.of_name.as_ref()?.name.to_string())
    };
    for candidate in &mut explanation.candidates {
        candidate.dns = of_name(&candidate.endpoint);
    }
    if let Some(kept) = &mut explanation.kept {
        kept.dns = of_name(&kept.endpoint);
    }
    for left_out in &mut explanation.left_out {
        left_out.dns = of_name(&left_out.endpoint);
    }
    explanation
        .left_out
        .extend(unresolved(known, name.as_str()));
}

/// Names that stand for no endpoint of a service, with the reason.
fn unresolved(known: &Known, service: &str) -> Vec<LeftOut> {
    let names = names(known, Some(service));
    let unresolved = names.into_iter().filter_map(|name| {
        let (error, since) = (name.error?, name.failing_since?);
        name.addresses.is_empty().then(|| LeftOut {
            endpoint: name.name,
            dns: None,
            why: format!("it has not resolved: {error}, since {since}"),
        })
    });
    unresolved.collect()
}

fn title(record: &Record) -> String {
    match record.port {
        Some(port) => SocketAddr::new(record.address, port).to_string(),
        None => record.address.to_string(),
    }
}
