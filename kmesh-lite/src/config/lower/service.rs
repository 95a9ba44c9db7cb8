//! `[services]`.

mod limits;
mod lowered;
mod reach;
mod vip;
mod weight;

use super::super::Host;
use super::super::endpoint::EndpointText;
use super::super::piece::Anchor;
use super::super::port::PortText;
use super::super::read::{At, List};
use super::super::schema::ServiceText;
use super::backend::AtAddresses;
use super::endpoint::{self, Item, NamedItem, OfService, SharedEndpoints};
use super::health::{self, Said};
use super::merge::ServiceEntry;
use super::nearness::{self, Failover};
use super::own_port::ServicePorts;
use super::place::PlaceTable;
use super::waypoint::{self, Waypoints};
use super::{Diagnostics, Services, Spot, hidden, udp};
use crate::model::{
    Check, Name, OnRemove, Place, Policy, PortMapping, Probe, Protocol, Scope, Service, Vip,
};
use ipnetwork::IpNetwork;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

pub use lowered::{Lowered, LoweredService};

#[cfg(doc)]
use super::surroundings::Surroundings;

/// What services are lowered with. What it comes from is known as [`Surroundings`], to see when it changes.
pub struct Context<'c, 'a> {
    pub host: &'c Host,
    pub node: &'c Place,
    pub vip_ranges: &'c [IpNetwork],
    /// What `[health]` says.
    pub health: &'c Said,
    pub waypoints: &'c Waypoints<'a>,
    pub shared: &'c SharedEndpoints<'a>,
    pub at_addresses: &'c AtAddresses<'a>,
    /// Of services that say nothing.
    pub on_remove: OnRemove,
    /// Services of an earlier mesh: what is the same is shared with it.
    pub before: &'c Services,
}

pub fn lower<'a>(
    services: &BTreeMap<&'a str, ServiceEntry<'a>>,
    context: &Context<'_, 'a>,
    places: &mut PlaceTable<'a>,
    report: &mut Diagnostics,
) -> Vec<LoweredService<'a>> {
    let services = services.values();
    services
        .filter_map(|entry| {
            if let Some(known) = &*entry.piece.lowered.borrow() {
                report.problems.extend(known.problems.iter().cloned());
                return Some(LoweredService::new(*entry, known));
            }
            let service = One {
                context,
                name: &entry.name.value,
                anchor: entry.anchor(),
                spot: entry.spot(),
                text: entry.text()?,
            };
            let said = report.problems.len();
            let mut lowered = service.lower(places, report);
            lowered.problems = report.problems[said..].to_vec();
            let service = LoweredService::new(*entry, &lowered);
            entry.remember(lowered);
            Some(service)
        })
        .collect()
}

/// A service that is lowered.
pub struct One<'c, 'a> {
    pub context: &'c Context<'c, 'a>,
    name: &'a Name,
    pub anchor: Anchor<'a>,
    /// The name.
    spot: Spot<'a>,
    pub text: &'a ServiceText,
}

impl<'a> One<'_, 'a> {
    fn lower(&self, places: &mut PlaceTable<'a>, report: &mut Diagnostics) -> Lowered {
        let written = self.text.endpoints.as_ref();
        let ports = self.ports(report);
        let service_ports = ServicePorts {
            mappings: &ports,
            whole: self.text.ports.0.as_ref().is_some_and(|list| list.whole),
        };
        let said = self.text.health.as_ref();
        let said = health::laid_over(self.anchor, said, self.context.health, report);
        let of_service = OfService {
            anchor: self.anchor,
            ports: &service_ports,
            health: &said,
            shared: self.context.shared,
        };
        let (items, names) = endpoint::of_service(
            &of_service,
            written.map_or(&[], |list| &list.items),
            places,
            report,
        );
        self.probed(&items, &names, report);
        service_ports.check_number(self.spot, &items, report);
        // What could not be read might be an endpoint of either family.
        let whole = self.text.sound
            && report.whole
            && written
                .is_none_or(|list| list.whole && list.items.len() == items.len() + names.len());
        // The same goes for what a name may stand for.
        let is_known = whole && names.is_empty();
        let vips = self.vips(&items, is_known, report);
        let (policy, prefer) = self.policy(report);
        let waypoint = self.waypoint(&vips, &items, report);
        self.weights(&items, report);
        self.limits_of_endpoints(waypoint.as_ref(), report);
        if is_known {
            // Those who are told of the endpoints of a headless service can use any.
            if !self.is_headless() {
                self.families(&items, &vips, report);
            }
            if waypoint.is_none() {
                self.none_usable(&items, policy, &prefer, report);
                if policy == Policy::Failover {
                    let service = Failover {
                        name: self.name.as_str(),
                        policy: self.text.policy.as_ref().map_or(self.spot, |p| self.at(p)),
                        prefer: &prefer,
                        here: self.context.node,
                        items: &items,
                    };
                    nearness::check(&service, report);
                }
            }
        }
        let mut model_vips: Vec<_> = vips.iter().map(|(vip, _)| *vip).collect();
        model_vips.sort();
        model_vips.dedup();
        // Collected in the place of the items, which are larger, they would keep all of that.
        let mut endpoints = Vec::with_capacity(items.len());
        endpoints.extend(items.into_iter().map(|item| item.endpoint));
        let model = Service {
            vips: model_vips,
            hostnames: self.hostnames(report),
            headless: self.is_headless(),
            ports,
            port_names: self.port_names(report),
            policy,
            balance: self.balance(waypoint.as_ref(), report),
            clients_by: self.clients_by(report),
            hash_slots: self.hash_slots(report),
            max_connections: self.max_connections(),
            connects_per_second: self.connects_per_second(),
            client_connects_per_second: self.client_connects_per_second(),
            affinity: self.affinity(waypoint.as_ref(), report),
            prefer,
            waypoint,
            on_all_down: value(&self.text.on_all_down, |it| it.0).unwrap_or_default(),
            overprovision: self.overprovision(policy, report),
            slow_start: value(&self.text.slow_start, |it| it.0),
            eject: said.eject(),
            endpoints,
            named: names.into_iter().map(|item| item.named).collect(),
            on_remove: match &self.text.on_remove {
                Some(written) => written.value.0,
                None => self.context.on_remove,
            },
        };
        udp::check(self, &model, report);
        hidden::check(self, report);
        let before = self.context.before.get(self.name);
        let hostnames = self.text.hostnames.as_ref();
        Lowered {
            rows: model.endpoint_rows(),
            is_named: hostnames.is_some_and(|list| !list.items.is_empty()),
            is_checked: {
                let named = model.named.iter().map(|it| &it.like);
                let mut all = model.endpoints.iter().chain(named);
                all.any(|it| it.check.is_some())
            },
            model: match before {
                Some(before) if **before == model => Arc::clone(before),
                _ => Arc::new(model),
            },
            problems: Vec::new(),
            is_all_said: report.whole,
            whole,
        }
    }

    fn is_headless(&self) -> bool {
        value(&self.text.headless, |it| it.0).unwrap_or_default()
    }

    /// Whether a DNS name is among the endpoints.
    fn has_names(&self) -> bool {
        let mut written = self.text.endpoints.iter().flat_map(|list| &list.items);
        let is_named = |name: &Name| {
            let found = self.context.shared.get(name.as_str());
            found.is_some_and(|found| found.named.is_some())
        };
        written.any(|item| match &item.value {
            EndpointText::Address(..) => false,
            EndpointText::Name(name) => is_named(name),
            EndpointText::Table(table) => {
                let name = table.name.as_ref();
                table.dns.is_some() || name.is_some_and(|name| is_named(&name.value.0))
            }
        })
    }

    fn at<T>(&self, written: &At<T>) -> Spot<'a> {
        Spot::new(self.anchor, written.span)
    }

    fn not_empty<T>(&self, list: &List<T>, help: &str, report: &mut Diagnostics) {
        if list.items.is_empty() && list.whole {
            let spot = Spot::new(self.anchor, list.span);
            let problem = spot.error("this is empty: nothing could connect to the service");
            report.push(problem.expected("at least one item").help(help));
        }
    }

    fn ports(&self, report: &mut Diagnostics) -> Vec<PortMapping> {
        let Some(written) = &self.text.ports.0 else {
            return Vec::new();
        };
        self.not_empty(written, "`ports = [80]` declares port 80", report);
        let key = |port: &PortMapping| (port.protocol, port.port);
        let mut seen = BTreeMap::new();
        for item in &written.items {
            let port = item.value.0;
            if let Some(first) = seen.get(&key(&port)) {
                let message = format!("port {}/{} is declared twice", port.port, port.protocol);
                let problem = self.at(item).error(message);
                report.push(problem.related(self.at(*first).place(), "first declared here"));
            } else {
                seen.insert(key(&port), item);
            }
        }
        let mut ports: Vec<_> = written.items.iter().map(|item| item.value.0).collect();
        ports.sort();
        ports
    }

    /// What ports are called.
    fn port_names(&self, report: &mut Diagnostics) -> BTreeMap<(Protocol, u16), Box<str>> {
        let written = self.text.ports.0.iter().flat_map(|list| &list.items);
        let mut first: BTreeMap<(Protocol, &str), &At<PortText>> = BTreeMap::new();
        let mut names = BTreeMap::new();
        for item in written {
            let PortText(port, Some(name)) = &item.value else {
                continue;
            };
            if let Some(first) = first.get(&(port.protocol, &**name)) {
                let message = format!("two ports over {} are called `{name}`", port.protocol);
                let problem = self.at(item).error(message);
                report.push(problem.related(self.at(*first).place(), "the first one"));
            } else {
                first.insert((port.protocol, name), item);
                names.insert((port.protocol, port.port), name.clone());
            }
        }
        names
    }

    fn overprovision(&self, policy: Policy, report: &mut Diagnostics) -> Option<u32> {
        let written = self.text.overprovision.as_ref()?;
        if policy != Policy::Failover && self.text.sound {
            let message = format!("`overprovision` has no effect with the policy `{policy}`");
            let problem = self.at(written).warning(message);
            report.push(problem.help("use `policy = \"failover\"` to have a next priority"));
        }
        Some(written.value.0)
    }

    /// Whether there is a port that probes can go to, and a way to it.
    fn probed(&self, items: &[Item], names: &[NamedItem], report: &mut Diagnostics) {
        let ports = self.text.ports.0.as_ref().filter(|list| list.whole);
        let has_tcp = |list: &List<PortText>| {
            let mut ports = list.items.iter();
            ports.any(|port| port.value.0.protocol == Protocol::Tcp)
        };
        let no_tcp = ports.is_some_and(|list| !has_tcp(list));
        let no_port = |check: &Check| {
            no_tcp && check.port.is_none() && !matches!(check.probe, Probe::Command(_))
        };
        let say = |spot: Spot<'_>, endpoint: &dyn Display| {
            let problem = spot.error(format!("`{endpoint}` has no TCP port to be probed"));
            problem.help("add `port` to its `health`, or use a `command`")
        };
        for NamedItem { named, span } in names {
            if named.like.check.as_deref().is_some_and(no_port) {
                report.push(say(Spot::new(self.anchor, *span), &named.name));
            }
        }
        for item in items {
            let Some(check) = &item.endpoint.check else {
                continue;
            };
            let spot = Spot::new(self.anchor, item.span);
            if no_port(check) {
                report.push(say(spot, &item.endpoint.address));
            }
            if let Some(source) = check.source
                && source.is_ipv4() != item.endpoint.address.is_ipv4()
            {
                let message = format!(
                    "`{}` cannot be probed from `{source}`, which is of another family",
                    item.endpoint.address
                );
                report.push(spot.error(message));
            }
        }
    }

    fn hostnames(&self, report: &mut Diagnostics) -> Vec<String> {
        let mut seen: BTreeMap<_, &At<_>> = BTreeMap::new();
        for item in self.text.hostnames.iter().flat_map(|list| &list.items) {
            if let Some(first) = seen.get(&item.value.0) {
                let problem = self
                    .at(item)
                    .error(format!("`{}` stands twice", item.value.0));
                report.push(problem.related(self.at(first).place(), "first here"));
            } else {
                seen.insert(&item.value.0, item);
            }
        }
        seen.into_keys().map(|name| name.to_string()).collect()
    }

    fn policy(&self, report: &mut Diagnostics) -> (Policy, Vec<Scope>) {
        let policy = self
            .text
            .policy
            .as_ref()
            .map_or(Policy::Random, |p| p.value.0);
        let Some(written) = &self.text.prefer else {
            return (policy, default_prefer(policy).to_vec());
        };
        let mut prefer = Vec::new();
        for item in &written.items {
            let scope = item.value.0;
            if prefer.contains(&scope) {
                report.push(
                    self.at(item)
                        .error(format!("`{scope}` stands twice in `prefer`")),
                );
            } else {
                prefer.push(scope);
            }
        }
        let spot = Spot::new(self.anchor, written.span);
        if policy == Policy::Random {
            if self.text.policy.is_some() || self.text.sound {
                let problem = spot.warning("`prefer` has no effect with the policy `random`");
                report.push(problem.help("use `policy = \"failover\"` to prefer near endpoints"));
            }
            prefer.clear();
        } else if prefer.is_empty() && written.whole {
            let message = format!("with an empty `prefer`, `{policy}` picks like `random`");
            report.push(spot.warning(message));
        }
        (policy, prefer)
    }

    fn waypoint(
        &self,
        vips: &[(Vip, Spot<'_>)],
        items: &[Item],
        report: &mut Diagnostics,
    ) -> Option<Name> {
        let v4_clients = vips.iter().find_map(|(vip, _)| match vip {
            Vip::Fixed(ip) => ip.is_ipv4().then(|| format!("the virtual address `{ip}`")),
            Vip::Auto => self
                .auto(items)
                .v4
                .then(|| "the IPv4 address that `auto` gives".to_owned()),
        });
        let waypoints = self.context.waypoints;
        waypoint::used(
            waypoints,
            self.anchor,
            &self.text.waypoint,
            v4_clients,
            report,
        )
    }
}

fn value<T, U>(written: &Option<At<T>>, inner: impl Fn(&T) -> U) -> Option<U> {
    written.as_ref().map(|it| inner(&it.value))
}

/// As in Istio.
const fn default_prefer(policy: Policy) -> &'static [Scope] {
    match policy {
        Policy::Failover => &[Scope::Network, Scope::Region, Scope::Zone, Scope::Subzone],
        Policy::Strict => &[Scope::Node],
        _ => &[],
    }
}
