//! `[services]`.

use super::super::Host;
use super::super::endpoint::{EndpointText, VipText};
use super::super::piece::Anchor;
use super::super::port::PortText;
use super::super::problem::Problem;
use super::super::read::{At, List};
use super::super::schema::ServiceText;
use super::super::span::Span;
use super::address::{Families, is_own, unusable};
use super::backend::AtAddresses;
use super::endpoint::{self, Item, SharedEndpoints};
use super::merge::ServiceEntry;
use super::nearness::{self, Failover};
use super::own_port::ServicePorts;
use super::place::PlaceTable;
use super::waypoint::{self, Waypoints};
use super::{Diagnostics, Services, Spot, hidden, udp};
use crate::model::{
    Family, Name, Place, Policy, PortMapping, Protocol, Scope, Service, Vip, priority,
};
use ipnetwork::IpNetwork;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

#[cfg(doc)]
use super::surroundings::Surroundings;

/// What services are lowered with. What it comes from is known as [`Surroundings`], to see when it changes.
pub struct Context<'c, 'a> {
    pub host: &'c Host,
    pub node: &'c Place,
    pub vip_ranges: &'c [IpNetwork],
    pub waypoints: &'c Waypoints<'a>,
    pub shared: &'c SharedEndpoints<'a>,
    pub at_addresses: &'c AtAddresses<'a>,
    /// Services of an earlier mesh: what is the same is shared with it.
    pub before: &'c Services,
}

/// What a service means, with all that there is to say about it alone.
#[derive(Debug)]
pub struct Lowered {
    pub model: Arc<Service>,
    pub problems: Vec<Problem>,
    /// Whether all files could be parsed at the time. Else some problems were not said.
    pub is_all_said: bool,
    /// Whether all of it could be read.
    whole: bool,
    /// Whether it has hostnames.
    is_named: bool,
    /// Rows in the table of endpoints.
    rows: usize,
}

/// A service of the mesh.
pub struct LoweredService<'a> {
    pub entry: ServiceEntry<'a>,
    pub model: Arc<Service>,
    pub whole: bool,
    pub is_named: bool,
    pub rows: usize,
}

impl<'a> LoweredService<'a> {
    fn new(entry: ServiceEntry<'a>, lowered: &Lowered) -> Self {
        Self {
            entry,
            model: Arc::clone(&lowered.model),
            whole: lowered.whole,
            is_named: lowered.is_named,
            rows: lowered.rows,
        }
    }

    pub fn name(&self) -> &'a Name {
        &self.entry.name.value
    }

    pub fn spot(&self, span: Span) -> Spot<'a> {
        self.entry.at(span)
    }

    /// Where its virtual addresses are written.
    pub fn vips(&self) -> impl Iterator<Item = &'a At<VipText>> + use<'a> {
        let list = self.entry.text().and_then(|text| text.vips.0.as_ref());
        list.into_iter().flat_map(|list| &list.items)
    }

    /// Where its ports are written.
    pub fn ports(&self) -> impl Iterator<Item = &'a At<PortText>> + use<'a> {
        let list = self.entry.text().and_then(|text| text.ports.0.as_ref());
        list.into_iter().flat_map(|list| &list.items)
    }

    /// Where its endpoints are written.
    pub fn endpoints(&self) -> impl Iterator<Item = &'a At<EndpointText>> + use<'a> {
        let list = self.entry.text().and_then(|text| text.endpoints.as_ref());
        list.into_iter().flat_map(|list| &list.items)
    }
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
        let items = endpoint::of_service(
            self.anchor,
            written.map_or(&[], |list| &list.items),
            &service_ports,
            self.context.shared,
            places,
            report,
        );
        service_ports.check_number(self.spot, &items, report);
        // What could not be read might be an endpoint of either family.
        let whole = self.text.sound
            && report.whole
            && written.is_none_or(|list| list.whole && list.items.len() == items.len());
        let vips = self.vips(&items, whole, report);
        let (policy, prefer) = self.policy(report);
        let waypoint = self.waypoint(&vips, &items, report);
        self.weights(&items, report);
        if whole {
            self.families(&items, &vips, report);
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
            ports,
            policy,
            prefer,
            waypoint,
            endpoints,
        };
        udp::check(self, &model, report);
        hidden::check(self, report);
        let before = self.context.before.get(self.name);
        let hostnames = self.text.hostnames.as_ref();
        Lowered {
            rows: model.endpoint_rows(),
            is_named: hostnames.is_some_and(|list| !list.items.is_empty()),
            model: match before {
                Some(before) if **before == model => Arc::clone(before),
                _ => Arc::new(model),
            },
            problems: Vec::new(),
            is_all_said: report.whole,
            whole,
        }
    }

    fn at<T>(&self, written: &At<T>) -> Spot<'a> {
        Spot::new(self.anchor, written.span)
    }

    /// The virtual addresses, and their places.
    fn vips(&self, items: &[Item], whole: bool, report: &mut Diagnostics) -> Vec<(Vip, Spot<'a>)> {
        let Some(written) = &self.text.vips.0 else {
            return Vec::new();
        };
        self.not_empty(written, "`vips = [\"auto\"]` takes free ones", report);
        let mut vips: Vec<(Vip, Spot<'a>)> = Vec::new();
        for item in &written.items {
            let spot = self.at(item);
            let vip = match item.value {
                VipText::Fixed(ip) => {
                    self.fixed(spot, ip, report);
                    Vip::Fixed(ip)
                }
                VipText::Auto => {
                    let given = self.auto(items);
                    if whole && given.none() {
                        self.no_auto(spot, report);
                    }
                    Vip::Auto
                }
            };
            match vips.iter().find(|(earlier, _)| *earlier == vip) {
                Some((_, first)) => report.push(
                    spot.error(match vip {
                        Vip::Fixed(ip) => format!("`{ip}` stands twice in `vips`"),
                        Vip::Auto => "`auto` stands twice in `vips`".to_owned(),
                    })
                    .related(first.place(), "first here"),
                ),
                None => vips.push((vip, spot)),
            }
        }
        vips
    }

    fn fixed(&self, spot: Spot<'_>, ip: IpAddr, report: &mut Diagnostics) {
        if let Some(what) = unusable(ip) {
            let problem = spot.error(format!("`{ip}` is {what}"));
            report.push(problem.expected("an address that programs can connect to, or `auto`"));
        } else if is_own(self.context.host, ip) {
            let what = match ip.is_loopback() {
                true => "a loopback address",
                false => "an address of this host",
            };
            report.push(spot.note(format!(
                "`{ip}` is {what}: only the ports declared here are captured, all others pass"
            )));
        }
    }

    /// The families of which `auto` gives an address.
    fn auto(&self, items: &[Item]) -> Families {
        let mut ranges = Families::default();
        for range in self.context.vip_ranges {
            ranges.add(range.ip());
        }
        let endpoints = families(items);
        Families {
            v4: ranges.v4 && (endpoints.v4 || items.is_empty()),
            v6: ranges.v6,
        }
    }

    fn no_auto(&self, spot: Spot<'_>, report: &mut Diagnostics) {
        let message = match self.context.vip_ranges.is_empty() {
            true => "`auto` has no addresses to give: `vip_ranges` is empty",
            false => {
                "`auto` has no addresses to give: all endpoints are IPv6, and all of `vip_ranges` IPv4"
            }
        };
        let problem = spot.error(message);
        report.push(problem.help("add an IPv6 range to `vip_ranges` of `[mesh]`"));
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
        let udp = |item: &&At<PortText>| item.value.0.protocol == Protocol::Udp;
        if let Some(first) = written.items.iter().find(udp) {
            let message = "only UDP sockets that call connect() are routed in this version";
            report.push(self.at(first).note(message));
        }
        let mut ports: Vec<_> = written.items.iter().map(|item| item.value.0).collect();
        ports.sort();
        ports
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

    fn weights(&self, items: &[Item], report: &mut Diagnostics) {
        let sum: u64 = items
            .iter()
            .map(|item| u64::from(item.endpoint.weight))
            .sum();
        if sum > u64::from(u32::MAX) {
            let list = self.text.endpoints.as_ref();
            let spot = Spot::new(self.anchor, list.map_or(self.text.span, |list| list.span));
            let problem = spot.error(format!("the weights add up to {sum}"));
            report.push(
                problem
                    .expected(format!("a sum of at most {}", u32::MAX))
                    .help("only their ratios matter: divide all of them by the same number"),
            );
        }
    }

    /// Each endpoint can serve some client, and each client some endpoint.
    fn families(&self, items: &[Item], vips: &[(Vip, Spot<'_>)], report: &mut Diagnostics) {
        let mut clients = Families::default();
        for (vip, _) in vips {
            match vip {
                Vip::Fixed(ip) => clients.add(*ip),
                Vip::Auto => {
                    let auto = self.auto(items);
                    clients.v4 |= auto.v4;
                    clients.v6 |= auto.v6;
                }
            }
        }
        let endpoints = families(items);
        if clients.none() || endpoints.none() {
            return;
        }
        for Item { endpoint, span } in items {
            let ip = endpoint.address;
            let why = match Family::from(ip) {
                Family::V4 if clients.v4 => continue,
                Family::V4 if !endpoints.v6 => continue,
                Family::V4 => {
                    "the service has only IPv6 addresses, and IPv6 endpoints that serve them"
                }
                Family::V6 if clients.v6 => continue,
                Family::V6 => {
                    "the service has only IPv4 addresses, and an IPv4 socket cannot connect to IPv6"
                }
            };
            let spot = Spot::new(self.anchor, *span);
            let problem = spot.error(format!("no client can use the endpoint `{ip}`: {why}"));
            let vips = vips.first().map(|(_, spot)| spot.place());
            let family = match Family::from(ip) {
                Family::V4 => Family::V6,
                Family::V6 => Family::V4,
            };
            let help = format!(
                "add an {} address to `vips`, or use an {family} endpoint",
                Family::from(ip)
            );
            report.push(match vips {
                Some(place) => problem.related(place, "what clients connect to").help(help),
                None => problem.help(help),
            });
        }
        if clients.v6 && !endpoints.v4 {
            for (vip, spot) in vips {
                if let Vip::Fixed(ip @ IpAddr::V4(_)) = vip {
                    let message = format!("no endpoint can serve `{ip}`: all of them are IPv6");
                    report.push(spot.warning(message));
                }
            }
        }
    }

    /// Says so if connections will be refused, which is valid and may be meant.
    fn none_usable(
        &self,
        items: &[Item],
        policy: Policy,
        prefer: &[Scope],
        report: &mut Diagnostics,
    ) {
        let name = self.name;
        let taking = |item: &&Item| item.endpoint.weight != 0;
        if items.is_empty() {
            let message = format!("`{name}` has no endpoints: its connections are refused");
            report.push(self.spot.note(message));
        } else if !items.iter().any(|item| taking(&item)) {
            let message =
                format!("every endpoint of `{name}` has weight 0: its connections are refused");
            report.push(self.spot.note(message));
        } else if policy == Policy::Strict {
            let here = self.context.node;
            let near = |item: &Item| priority(prefer, here, &item.endpoint.place) == 0;
            if !items.iter().filter(taking).any(near) {
                let scopes: Vec<_> = prefer.iter().map(|scope| format!("`{scope}`")).collect();
                let spot = self.text.policy.as_ref().map_or(self.spot, |p| self.at(p));
                report.push(spot.note(format!(
                    "no endpoint of `{name}` matches this host in {}: its connections are refused here",
                    scopes.join(", ")
                )));
            }
        }
    }
}

/// As in Istio.
const fn default_prefer(policy: Policy) -> &'static [Scope] {
    match policy {
        Policy::Failover => &[Scope::Network, Scope::Region, Scope::Zone, Scope::Subzone],
        Policy::Strict => &[Scope::Node],
        _ => &[],
    }
}

fn families(items: &[Item]) -> Families {
    let mut families = Families::default();
    for item in items {
        families.add(item.endpoint.address);
    }
    families
}
