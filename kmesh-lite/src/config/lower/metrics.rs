//! `[metrics]`: where the agent is to listen.

use super::super::read::OneOrMore;
use super::super::scalar::SocketText;
use super::address::unusable;
use super::merge::Merged;
use super::{Diagnostics, Spot};
use crate::model::Family;
use std::net::{IpAddr, SocketAddr};

/// More listeners than anybody needs, so that the agent's answers stay small.
const MOST: usize = 16;

/// The addresses as they are written.
pub type Written<'a> = Vec<(SocketAddr, Spot<'a>)>;

pub fn written<'a>(merged: &Merged<'a>) -> Written<'a> {
    let Some((anchor, text)) = merged.metrics else {
        return Vec::new();
    };
    let listen: Option<&OneOrMore<SocketText>> = text.listen.as_ref();
    let items = listen.into_iter().flat_map(|listen| &listen.items);
    items
        .map(|it| (it.value.0, Spot::new(anchor, it.span)))
        .collect()
}

/// Without those that another one contains.
pub fn lower(written: &Written<'_>, report: &mut Diagnostics) -> Vec<SocketAddr> {
    if let Some((_, spot)) = written.get(MOST) {
        let problem = spot.error("too many addresses to listen at");
        report.push(problem.expected(format!("{MOST} at most")));
    }
    let mut kept = Vec::new();
    for (place, (at, spot)) in written.iter().enumerate() {
        check(*at, *spot, report);
        if is_needed(written, place, report) {
            kept.push(*at);
        }
    }
    kept.sort();
    kept
}

fn check(at: SocketAddr, spot: Spot<'_>, report: &mut Diagnostics) {
    let ip = at.ip();
    if !ip.is_unspecified()
        && let Some(what) = unusable(ip)
    {
        let problem = spot.error(format!("`{ip}` is {what}"));
        report.push(
            problem.expected("an address of this host, or `0.0.0.0` or `[::]` for all of them"),
        );
    }
}

/// Whether nothing else that is written says the same. What stands twice counts where it stands first.
pub fn is_needed(written: &Written<'_>, place: usize, report: &mut Diagnostics) -> bool {
    let (at, spot) = written[place];
    if let Some((_, first)) = written[..place].iter().find(|(it, _)| *it == at) {
        let problem = spot.warning(format!("`{at}` stands twice in `listen`"));
        report.push(problem.related(first.place(), "first here"));
        return false;
    }
    let mut others = written.iter().filter(|(it, _)| contains(*it, at));
    let Some((wider, whole)) = others.next() else {
        return true;
    };
    let is_same_family = Family::from(wider.ip()) == Family::from(at.ip());
    let message = match is_same_family {
        true => format!("`{at}` has no effect: `{wider}` is every address"),
        false => format!("`{at}` is taken by `{wider}`, which is every IPv4 address as well"),
    };
    let problem = spot
        .warning(message)
        .related(whole.place(), "every address");
    report.push(match is_same_family {
        true => problem,
        false => {
            problem.help("remove one of them, unless `net.ipv6.bindv6only` is set on this host")
        }
    });
    !is_same_family
}

/// Whether who listens at `wider` gets what goes to another address as well.
pub fn contains(wider: SocketAddr, at: SocketAddr) -> bool {
    wider != at
        && wider.port() == at.port()
        && match wider.ip() {
            IpAddr::V4(ip) => ip.is_unspecified() && at.is_ipv4(),
            IpAddr::V6(ip) => ip.is_unspecified(),
        }
}
