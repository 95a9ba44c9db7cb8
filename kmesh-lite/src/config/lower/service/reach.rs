//! Whether clients and endpoints of a service can reach each other.

use super::One;
use crate::config::lower::address::Families;
use crate::config::lower::endpoint::Item;
use crate::config::lower::{Diagnostics, Spot};
use crate::model::{Family, Vip};
use std::net::IpAddr;

impl One<'_, '_> {
    /// Each endpoint can serve some client, and each client some endpoint.
    pub(super) fn families(
        &self,
        items: &[Item],
        vips: &[(Vip, Spot<'_>)],
        report: &mut Diagnostics,
    ) {
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
}

pub fn families(items: &[Item]) -> Families {
    let mut families = Families::default();
    for item in items {
        families.add(item.endpoint.address);
    }
    families
}
