//! Ports that an endpoint has for itself behind the ports of its service.

use super::super::endpoint::EndpointText;
use super::super::port::OwnPortsText;
use super::endpoint::Item;
use super::{Diagnostics, Spot};
use crate::model::{Endpoint, PortMapping};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// The ports of the service that endpoints are read for.
pub struct ServicePorts<'a> {
    pub mappings: &'a [PortMapping],
    /// Whether all of them could be read; else one that is missing here proves nothing.
    pub whole: bool,
}

impl ServicePorts<'_> {
    /// The own ports of an endpoint; `None` after reporting why they cannot be meant.
    pub fn own(
        &self,
        spot: Spot<'_>,
        written: &EndpointText,
        report: &mut Diagnostics,
    ) -> Option<Vec<PortMapping>> {
        match written {
            EndpointText::Name(_) | EndpointText::Address(_, None) => Some(Vec::new()),
            EndpointText::Address(ip, Some(port)) => self.only(spot, *ip, *port, report),
            EndpointText::Table(table) if table.port.is_some() => {
                let port = table.port.as_ref()?;
                let own = u16::try_from(port.value.0).ok()?;
                self.of_dns(Spot::new(spot.anchor, port.span), own, report)
            }
            EndpointText::Table(table) => {
                let address = table.address.as_ref();
                let in_address =
                    address.and_then(|at| Some((at.value.0.0, at.value.0.1?, at.span)));
                match (in_address, &table.ports) {
                    (None, None) => Some(Vec::new()),
                    (None, Some(ports)) => self.each(spot, ports, report),
                    (Some((ip, port, span)), None) => {
                        self.only(Spot::new(spot.anchor, span), ip, port, report)
                    }
                    (Some(_), Some(_)) => {
                        let message = "an endpoint has a port in `address` or `ports`, not both";
                        report.push(spot.error(message));
                        None
                    }
                }
            }
        }
    }

    /// The port that stands behind the address of an endpoint, where the service has one port.
    fn only(
        &self,
        spot: Spot<'_>,
        ip: IpAddr,
        own: u16,
        report: &mut Diagnostics,
    ) -> Option<Vec<PortMapping>> {
        let numbers = self.numbers();
        if numbers.len() > 1 {
            let at = SocketAddr::new(ip, own);
            let message = format!(
                "`{at}` does not say which port it is: the service has {}",
                list(&numbers)
            );
            let ports: Vec<_> = numbers
                .iter()
                .map(|port| format!("{port} = {own}"))
                .collect();
            report.push(spot.error(message).help(format!(
                "write `{{ address = \"{ip}\", ports = {{ {} }} }}`, with the ports that differ",
                ports[0]
            )));
            return None;
        }
        let own = self.mappings.iter().map(|mapping| PortMapping {
            target: own,
            ..*mapping
        });
        Some(self.sorted(own.collect()))
    }

    fn numbers(&self) -> BTreeSet<u16> {
        self.mappings.iter().map(|mapping| mapping.port).collect()
    }

    /// The port of the addresses of a DNS name, where the service has one port.
    fn of_dns(
        &self,
        spot: Spot<'_>,
        own: u16,
        report: &mut Diagnostics,
    ) -> Option<Vec<PortMapping>> {
        let numbers = self.numbers();
        if let (Some(first), true) = (numbers.first(), numbers.len() > 1) {
            let message = format!(
                "`port` does not say which port it is: the service has {}",
                list(&numbers)
            );
            let help = format!("write `ports = {{ {first} = {own} }}`, with the ports that differ");
            report.push(spot.error(message).help(help));
            return None;
        }
        let own = self.mappings.iter().map(|mapping| PortMapping {
            target: own,
            ..*mapping
        });
        Some(self.sorted(own.collect()))
    }

    /// Of an endpoint whose port an SRV record says: none yet.
    pub fn of_srv(&self, spot: Spot<'_>, report: &mut Diagnostics) -> Option<Vec<PortMapping>> {
        let numbers = self.numbers();
        if numbers.len() > 1 {
            let message = format!(
                "SRV records say one port, and the service has {}",
                list(&numbers)
            );
            let problem = spot.error(message);
            report.push(problem.help("make a service of each port, or leave `srv` out"));
            return None;
        }
        Some(Vec::new())
    }

    fn each(
        &self,
        spot: Spot<'_>,
        written: &OwnPortsText,
        report: &mut Diagnostics,
    ) -> Option<Vec<PortMapping>> {
        let mut own: Vec<PortMapping> = Vec::new();
        let mut sound = true;
        for (key, target) in &written.items {
            let at = Spot::new(spot.anchor, key.span);
            let mut meant = self
                .mappings
                .iter()
                .filter(|it| key.value.means(it))
                .peekable();
            if meant.peek().is_none() && self.whole {
                let numbers = self.mappings.iter().map(|mapping| mapping.port).collect();
                let message = format!("the service has no port {}", key.value);
                report.push(at.error(message).expected(list(&numbers)));
                sound = false;
            }
            for mapping in meant {
                let same =
                    |it: &PortMapping| (it.protocol, it.port) == (mapping.protocol, mapping.port);
                if own.iter().any(same) {
                    let (port, protocol) = (mapping.port, mapping.protocol);
                    report
                        .push(at.error(format!("port {port}/{protocol} stands twice in `ports`")));
                    sound = false;
                }
                own.push(PortMapping {
                    target: *target,
                    ..*mapping
                });
            }
        }
        sound.then(|| self.sorted(own))
    }

    /// The kernel's tables number the ports of a service with 16 bits.
    pub fn check_number(&self, service: Spot<'_>, items: &[Item], report: &mut Diagnostics) {
        let own = items.iter().any(|item| !item.endpoint.ports.is_empty());
        if own && self.mappings.len() > usize::from(u16::MAX) {
            let message = "the service has too many ports for endpoints with ports of their own";
            report.push(service.error(message).expected("65535 at most"));
        }
    }

    /// What says the same as the service is left out.
    fn sorted(&self, mut own: Vec<PortMapping>) -> Vec<PortMapping> {
        own.retain(|own| !self.mappings.contains(own));
        own.sort();
        own.dedup();
        own
    }

    /// An endpoint as the file could name it.
    pub fn title(&self, endpoint: &Endpoint) -> String {
        match endpoint.ports.first() {
            Some(own) if self.mappings.len() == 1 => {
                SocketAddr::new(endpoint.address, own.target).to_string()
            }
            _ => endpoint.address.to_string(),
        }
    }
}

/// `port 80`, or `the ports 80 and 443`.
fn list(numbers: &BTreeSet<u16>) -> String {
    let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
    match numbers.split_last() {
        None => "a port that the service declares".to_owned(),
        Some((last, [])) => format!("port {last}"),
        Some((last, before)) => format!("the ports {} and {last}", before.join(", ")),
    }
}
