//! Virtual addresses of a service.

use super::One;
use super::reach::families;
use crate::config::endpoint::VipText;
use crate::config::lower::address::{Families, is_own, unusable};
use crate::config::lower::endpoint::Item;
use crate::config::lower::{Diagnostics, Spot};
use crate::config::read::{List, Read};
use crate::model::Vip;
use std::net::IpAddr;

impl<'a> One<'_, 'a> {
    /// The virtual addresses, and their places.
    pub(super) fn vips(
        &self,
        items: &[Item],
        whole: bool,
        report: &mut Diagnostics,
    ) -> Vec<(Vip, Spot<'a>)> {
        let Some(written) = &self.text.vips else {
            if !self.is_headless() && self.text.sound && report.whole {
                let spot = Spot::new(self.anchor, self.text.span);
                let problem = spot.error("missing key `vips`");
                report.push(problem.expected(<List<VipText> as Read>::what()).help(
                    "a service that has no address, and names its endpoints alone, is `headless = true`",
                ));
            }
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
    pub(super) fn auto(&self, items: &[Item]) -> Families {
        let mut ranges = Families::default();
        for range in self.context.vip_ranges {
            ranges.add(range.ip());
        }
        let endpoints = families(items);
        Families {
            v4: ranges.v4 && (endpoints.v4 || items.is_empty() || self.has_names()),
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
}
