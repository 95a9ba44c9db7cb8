//! What a filter of events can never let through, in words.
//!
//! In: the words of the filter, and the mesh. Out: why no event has such an outcome, which is an error; and
//! what is not in the mesh, which is a warning, because it may be there later.

use super::traffic::word;
use crate::api::QueryOutcome;
use crate::config::{closest, either, meant, quote};
use crate::model::{Mesh, Service};
use crate::tables::title;
use kmesh_lite_common::{Ending, MomentKind};
use kmesh_lite_ebpf::{Outcome, Refuse};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// What a connect that is sent elsewhere is counted as.
const SENT: [Outcome; 3] = [
    Outcome::Endpoint,
    Outcome::ServiceWaypoint,
    Outcome::BackendWaypoint,
];

/// All words by which events can be chosen: what they are, and what became of it.
fn outcomes() -> Vec<String> {
    let events = MomentKind::ALL.iter().map(|kind| kind.as_str().to_owned());
    let endings = Ending::ALL.iter().map(|ending| word(*ending));
    let refused = Refuse::ALL.into_iter().map(Refuse::outcome);
    let decided = SENT.into_iter().chain(refused);
    let decided = decided.map(|outcome| outcome.as_str().to_owned());
    let mut all: Vec<String> = Vec::new();
    let arrived = ["audited".to_owned()];
    for word in events.chain(endings).chain(decided).chain(arrived) {
        // A connection that is `closed` may have been closed.
        if !all.contains(&word) {
            all.push(word);
        }
    }
    all
}

/// Why no event has this outcome, if none can have it.
pub fn no_such_outcome(wanted: &str) -> Option<String> {
    let all = outcomes();
    let words = || all.iter().map(String::as_str);
    if words().any(|word| word == wanted) {
        return None;
    }
    if QueryOutcome::ALL.iter().any(|it| it.as_str() == wanted) {
        return Some(format!(
            "no connection has the outcome {}: questions of DNS have it, which `trace --dns` shows",
            quote(wanted)
        ));
    }
    Some(unknown(wanted, words()))
}

/// What came of a question, by its word; or why there is no such word.
pub fn query_outcome(wanted: &str) -> Result<QueryOutcome, String> {
    let all = QueryOutcome::ALL.into_iter();
    let mut all = all.filter(|outcome| outcome.as_str() == wanted);
    all.next()
        .ok_or_else(|| unknown(wanted, QueryOutcome::ALL.iter().map(|it| it.as_str())))
}

fn unknown<'a>(wanted: &str, words: impl Iterator<Item = &'a str> + Clone) -> String {
    let meant = closest(wanted, words.clone()).map(|word| format!(": {}", meant(word)));
    let nothing = format!("there is no outcome {}", quote(wanted));
    let list = either(words);
    match meant {
        Some(meant) => format!("{nothing}{meant} It is {list}"),
        None => format!("{nothing}: it is {list}"),
    }
}

/// What of a filter is not in the mesh, so that it lets nothing through now.
pub fn not_there(
    mesh: &Mesh,
    service: Option<&str>,
    endpoint: Option<&str>,
    policy: Option<&str>,
) -> Vec<String> {
    let of = service.map(|name| (name, mesh.services.get(name)));
    let mut said = Vec::new();
    if let Some((name, None)) = of {
        let known = mesh.services.keys().map(|known| known.as_str());
        said.push(nothing_called("service", name, known));
    }
    if let Some(name) = policy.filter(|name| !mesh.policies.contains_key(*name)) {
        let known = mesh.policies.keys().map(|known| known.as_str());
        said.push(nothing_called("policy", name, known));
    }
    let of = of.and_then(|(name, service)| Some((name, &**service?)));
    if let Some(wanted) = endpoint {
        said.extend(no_endpoint(mesh, of, wanted));
    }
    said
}

fn nothing_called<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let meant = closest(name, known).map(|known| format!("; {}", meant(known)));
    format!(
        "there is no {kind} {} in the mesh: nothing is shown until there is one{}",
        quote(name),
        meant.unwrap_or_default()
    )
}

/// `of`: the only service whose endpoints are wanted.
fn no_endpoint(mesh: &Mesh, of: Option<(&str, &Service)>, wanted: &str) -> Option<String> {
    let place = match of {
        Some((name, _)) => format!("in the service `{name}`"),
        None => "in the mesh".to_owned(),
    };
    let nothing = format!("there is no endpoint {} {place}", quote(wanted));
    let Some(address) = address(wanted) else {
        let help = match mesh.waypoints.contains_key(wanted) {
            true => "this is the name of a waypoint",
            false => "endpoints are named as in the status of their service, by address",
        };
        return Some(format!("{nothing}: {help}"));
    };
    let mut there = BTreeSet::new();
    match of {
        Some((_, service)) => there.extend(titles(service, address)),
        None => {
            let services = mesh.services.values();
            there.extend(services.flat_map(|service| titles(service, address)));
            // One whose own address is asked for is named by that.
            if mesh.backends.contains_key(&address) {
                there.insert(address.to_string());
            }
        }
    }
    if there.contains(wanted) {
        return None;
    }
    let meant = match there.len() {
        0 => String::new(),
        _ => {
            let mut few: Vec<_> = there.iter().map(String::as_str).collect();
            few.truncate(super::FEW);
            format!("; did you mean {}?", either(few))
        }
    };
    Some(format!(
        "{nothing}: nothing is shown until there is one{meant}"
    ))
}

/// The address in the name of an endpoint.
fn address(wanted: &str) -> Option<IpAddr> {
    let first = wanted.split(' ').next()?;
    let with_port = first.parse::<SocketAddr>().map(|it| it.ip());
    with_port.or_else(|_| first.parse()).ok()
}

/// The endpoints of a service at an address, by their names.
fn titles(service: &Service, address: IpAddr) -> impl Iterator<Item = String> {
    let first = service.endpoints.partition_point(|it| it.address < address);
    let there = service.endpoints[first..].iter();
    let there = there.take_while(move |it| it.address == address);
    there.map(move |endpoint| {
        let own = endpoint.ports.iter();
        let own = own.map(|it| ((it.port, it.protocol), it.target)).collect();
        let ports = service.ports.iter().map(|it| it.port);
        title(address, &own, ports)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fragments, Host, Loader, Origin};

    fn mesh() -> Mesh {
        let text = r#"
            [waypoints.inspection]
            address = "192.0.2.9:15008"
            header = "none"
            [services.payments]
            vips = ["10.96.0.10"]
            ports = [80]
            endpoints = ["192.0.2.1", "192.0.2.2:8080"]
            [services.shop]
            vips = ["10.96.0.11"]
            ports = [80]
            endpoints = ["192.0.2.3"]
            [policies.shop-in]
            action = "allow"
            services = ["shop"]
            clients = ["web.service"]
        "#;
        let fragments = [(Origin::new("mesh.toml"), text.to_owned())];
        let fragments: Fragments = fragments.into_iter().collect();
        let loaded = Loader::default().load(&fragments, &Host::default());
        loaded.mesh.expect("a mesh")
    }

    #[test]
    fn every_outcome_that_an_event_may_have_is_known() {
        for word in [
            "rejected",
            "closed",
            "timed_out",
            "refuse_no_endpoint",
            "endpoint",
        ] {
            assert_eq!(no_such_outcome(word), None, "{word}");
        }
    }

    #[test]
    fn an_outcome_that_no_event_has_is_told_with_what_was_meant_and_the_list() {
        let said = no_such_outcome("timeout").unwrap();
        assert!(said.contains("there is no outcome `timeout`"), "{said}");
        assert!(said.contains("`timed_out`, `unreachable`"), "{said}");
        let said = no_such_outcome("rejcted").unwrap();
        assert!(said.contains("did you mean `rejected`?"), "{said}");
        let said = no_such_outcome("nxdomain").unwrap();
        assert!(said.contains("`trace --dns`"), "{said}");
        // A counter, but of no event.
        assert!(no_such_outcome("pass_bypass").is_some());
    }

    #[test]
    fn outcomes_of_questions_have_words_of_their_own() {
        for outcome in QueryOutcome::ALL {
            assert_eq!(query_outcome(outcome.as_str()), Ok(outcome));
        }
        let said = query_outcome("nxdomian").unwrap_err();
        assert!(said.contains("did you mean `nxdomain`?"), "{said}");
        assert!(said.contains("`malformed` or `dropped`"), "{said}");
        assert!(query_outcome("timed_out").is_err());
    }

    #[test]
    fn what_the_mesh_has_is_not_doubted() {
        let mesh = mesh();
        for (service, endpoint) in [
            (None, None),
            (Some("shop"), Some("192.0.2.3")),
            (Some("payments"), Some("192.0.2.2:8080")),
            (None, Some("192.0.2.2:8080")),
        ] {
            let said = not_there(&mesh, service, endpoint, Some("shop-in"));
            assert!(said.is_empty(), "{said:?}");
        }
    }

    #[test]
    fn what_the_mesh_has_not_is_told_with_what_is_near() {
        let mesh = mesh();
        let only = |service, endpoint| {
            let said = not_there(&mesh, service, endpoint, None);
            assert_eq!(said.len(), 1, "{said:?}");
            said.concat()
        };
        let said = only(Some("payment"), None);
        assert!(said.contains("no service `payment`"), "{said}");
        assert!(said.contains("did you mean `payments`?"), "{said}");
        let said = only(None, Some("192.0.2.2:80"));
        assert!(said.contains("`192.0.2.2:8080`?"), "{said}");
        let said = only(Some("shop"), Some("192.0.2.1"));
        assert!(said.contains("in the service `shop`"), "{said}");
        assert!(!said.contains("did you mean"), "{said}");
        let said = only(None, Some("inspection"));
        assert!(said.contains("the name of a waypoint"), "{said}");
        assert_eq!(not_there(&mesh, Some("x"), Some("y"), Some("z")).len(), 3);
        let said = not_there(&mesh, None, None, Some("shop-inn")).concat();
        assert!(said.contains("no policy `shop-inn` in the mesh"), "{said}");
        assert!(said.contains("did you mean `shop-in`?"), "{said}");
    }
}
