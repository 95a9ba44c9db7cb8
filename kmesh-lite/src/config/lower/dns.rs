//! `[dns]`, and endpoints that are DNS names.

use super::super::endpoint::EndpointTable;
use super::super::read::At;
use super::super::scalar::{DnsName, Flag};
use super::merge::Merged;
use super::service::LoweredService;
use super::{Diagnostics, Spot};
use crate::model::{Dns, Question, Vip, unusable};
use ipnetwork::IpNetwork;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// More servers than anybody needs.
const MOST_RESOLVERS: usize = 8;
/// More names than that are not looked up.
const MOST_NAMES: usize = 1_000;
/// More often than that nobody is asked.
const SHORTEST: Duration = Duration::from_millis(100);

/// A DNS name that stands for endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    pub name: Arc<str>,
    pub is_srv: bool,
}

impl Named {
    pub fn new(name: &Option<At<DnsName>>, srv: &Option<At<Flag>>) -> Option<Self> {
        Some(Self {
            name: Arc::clone(&name.as_ref()?.value.0),
            is_srv: srv.as_ref().is_some_and(|flag| flag.value.0),
        })
    }
}

/// How names are resolved.
pub fn settings(merged: &Merged<'_>, report: &mut Diagnostics) -> Dns {
    let default = Dns::default();
    let Some((anchor, text)) = merged.dns else {
        return default;
    };
    let resolvers = text.resolvers.iter().flat_map(|list| &list.items);
    let mut seen = BTreeSet::new();
    let mut asked = Vec::new();
    for item in resolvers {
        let (spot, at) = (Spot::new(anchor, item.span), item.value.0);
        if let Some(what) = unusable(at.ip()) {
            let problem = spot.error(format!("`{}` is {what}", at.ip()));
            report.push(problem.expected("the address of a server"));
        }
        if seen.insert(at) {
            asked.push(at);
        } else {
            report.push(spot.warning(format!("`{at}` stands twice in `resolvers`")));
        }
        if asked.len() == MOST_RESOLVERS + 1 {
            let problem = spot.error("too many servers to ask");
            report.push(problem.expected(format!("{MOST_RESOLVERS} at most")));
        }
    }
    for written in [&text.ttl_min, &text.ttl_max].into_iter().flatten() {
        if written.value.0 < SHORTEST {
            let problem = Spot::new(anchor, written.span).error("this is too short");
            report.push(problem.expected(format!("{} ms at least", SHORTEST.as_millis())));
        }
    }
    let said = |written: &Option<At<_>>| {
        written
            .as_ref()
            .map(|it: &At<super::super::scalar::DurationText>| it.value.0)
    };
    let (min, max) = (said(&text.ttl_min), said(&text.ttl_max));
    if let (Some(min), Some(max), Some(written)) = (min, max, &text.ttl_max)
        && max < min
    {
        let problem = Spot::new(anchor, written.span).error("`ttl_max` is less than `ttl_min`");
        report.push(problem.expected(format!("{} ms at least", min.as_millis())));
    }
    Dns {
        resolvers: asked,
        ttl_min: min.unwrap_or_else(|| default.ttl_min.min(max.unwrap_or(default.ttl_min))),
        ttl_max: max.unwrap_or_else(|| default.ttl_max.max(min.unwrap_or_default())),
        serving: None,
    }
}

/// What an endpoint says that only counts of a DNS name, or that does not count of one.
pub fn check(
    spot: Spot<'_>,
    table: &EndpointTable,
    named: Option<&Named>,
    report: &mut Diagnostics,
) {
    let at = |span| Spot::new(spot.anchor, span);
    let Some(named) = named else {
        if let Some(port) = &table.port {
            let problem = at(port.span).error("`port` is for an endpoint with `dns`");
            report.push(problem.help("an address has its port behind it: `10.0.0.1:8081`"));
        }
        if let Some(srv) = &table.srv {
            report.push(at(srv.span).error("`srv` is for an endpoint with `dns`"));
        }
        return;
    };
    if let (Some(srv), true) = (&table.srv, table.dns.is_none()) {
        let problem = at(srv.span).error("`srv` stands where the DNS name is written");
        report.push(problem.help("put it into the entry of `[endpoints]`"));
    }
    if named.is_srv {
        let port = table.port.as_ref().map(|port| port.span);
        if let Some(span) = port {
            let problem = at(span).error("SRV records say which port it is");
            report.push(problem.help("remove `port`, or `srv`"));
        }
        if table.ports.is_some() {
            let problem = spot.error("SRV records say which port it is");
            report.push(problem.help("remove `ports`, or `srv`"));
        }
        if table.weight.is_some() {
            let problem = spot.error("SRV records have weights of their own");
            report.push(
                problem.help("remove `weight`; `state = \"drain\"` takes no new connections"),
            );
        }
    } else if let Some(dns) = &table.dns
        && named.name.starts_with('_')
    {
        let problem = at(dns.span).warning(format!(
            "`{}` reads like the name of SRV records",
            named.name
        ));
        report.push(problem.help("add `srv = true`"));
    }
    if let (Some(port), Some(_)) = (&table.port, &table.ports) {
        let message = "an endpoint has a `port` or `ports`, not both";
        report.push(at(port.span).error(message));
    }
}

/// Whether a server to be asked is an address of the mesh. The agent's own connects skip the mesh.
pub fn check_resolvers(
    merged: &Merged<'_>,
    services: &[LoweredService<'_>],
    vip_ranges: &[IpNetwork],
    report: &mut Diagnostics,
) {
    let Some((anchor, text)) = merged.dns else {
        return;
    };
    let lists = [&text.resolvers, &text.upstreams].into_iter().flatten();
    for item in lists.flat_map(|list| &list.items) {
        let ip = item.value.0.ip();
        let mut services = services.iter();
        let service = services.find(|it| it.model.vips.contains(&Vip::Fixed(ip)));
        let of_whom = match service {
            Some(service) => format!("a virtual address of the service `{}`", service.name()),
            None if vip_ranges.iter().any(|range| range.contains(ip)) => {
                "an address of `vip_ranges`".to_owned()
            }
            None => continue,
        };
        let message = format!("`{ip}` is {of_whom}, and questions to it skip the mesh");
        let problem = Spot::new(anchor, item.span).warning(message);
        report.push(problem.help("name the servers themselves: the agent asks them directly"));
    }
}

/// Whether there are more names than are looked up.
pub fn check_number<T>(
    merged: &Merged<'_>,
    questions: &BTreeMap<Question, T>,
    report: &mut Diagnostics,
) {
    let names: BTreeSet<_> = questions.keys().map(|question| &question.name).collect();
    if names.len() <= MOST_NAMES {
        return;
    }
    // Any service that has some.
    let first = merged.services.values().find(|entry| {
        let endpoints = entry.text().and_then(|text| text.endpoints.as_ref());
        let mut endpoints = endpoints.into_iter().flat_map(|list| &list.items);
        endpoints.any(|it| it.value.is_dns())
    });
    let spot = first.map(|entry| entry.spot());
    let spot = spot.or_else(|| Some(merged.endpoints.values().next()?.spot()));
    if let Some(spot) = spot {
        let message = format!("the mesh has {} DNS names of endpoints", names.len());
        report.push(
            spot.error(message)
                .expected(format!("{MOST_NAMES} at most")),
        );
    }
}
