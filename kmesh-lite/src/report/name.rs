//! Where a name of the mesh leads, in words.

use crate::api::{Failure, FailureKind, NameExplanation, ZoneRecords};
use crate::model::{Mesh, dns_name};
use crate::zone::Zone;

/// What is answered for a name, and whose it is.
pub fn explain_name(mesh: &Mesh, zone: &Zone, name: &str) -> Result<NameExplanation, Failure> {
    let none = |why: String| Failure::new(FailureKind::NotFound, why);
    let Some(serving) = &mesh.dns.serving else {
        let why = "no names are served: say where with `listen` under `[dns]`";
        return Err(none(why.to_owned()));
    };
    let name = dns_name(name);
    let domain = &serving.domain;
    let Some((matches, claim)) = zone.lookup(&name) else {
        let is_ours = name == *domain || name.ends_with(&format!(".{domain}"));
        return Err(none(match is_ours {
            true => format!(
                "`{name}` is no name of the mesh, and nobody else is asked for names below `{domain}`"
            ),
            false => format!("`{name}` is no name of the mesh: upstreams are asked for it"),
        }));
    };
    let (owner, records) = claim;
    let service = mesh.services.get(owner);
    let headless = service.is_some_and(|service| service.headless);
    let ports = service.iter().flat_map(|service| &service.ports);
    let ports = ports.map(|port| format!("{}/{}", port.port, port.protocol));
    let records = ZoneRecords::from(records);
    Ok(NameExplanation {
        text: text(owner.as_str(), headless, (&name, matches), &records),
        matches: matches.to_owned(),
        name,
        service: owner.to_string(),
        headless,
        ports: ports.collect(),
        records,
    })
}

fn text(
    service: &str,
    headless: bool,
    (name, matches): (&str, &str),
    records: &ZoneRecords,
) -> String {
    let by = match name == matches {
        true => String::new(),
        false => format!(" by `{matches}`"),
    };
    if let Some(pointer) = &records.pointer {
        return format!("the name of an address of the service {service}: {pointer}");
    }
    if !records.services.is_empty() {
        return format!("SRV records of a port of the service {service}");
    }
    let addresses: Vec<_> = records
        .addresses
        .iter()
        .flatten()
        .map(ToString::to_string)
        .collect();
    let list = super::first_few(&addresses).join(", ");
    match (addresses.is_empty(), headless) {
        (true, true) => format!("the service {service}{by}, which has no usable endpoint"),
        (true, false) => format!("the service {service}{by}, which has no address"),
        (false, true) => format!("endpoints of the service {service}{by}: {list}"),
        (false, false) => format!("the service {service}{by}: {list}"),
    }
}
