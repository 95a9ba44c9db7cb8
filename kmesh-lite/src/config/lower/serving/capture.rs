//! `[dns] capture`: whose questions to other servers come to the agent, and where it listens for them.

use super::super::super::Host;
use super::super::super::piece::Anchor;
use super::super::super::read::{At, List, OneOrMore};
use super::super::super::scalar::CgroupText;
use super::super::super::schema::DnsText;
use super::super::address::is_own;
use super::super::metrics::Written;
use super::super::{Diagnostics, Spot, unit};
use super::meet;
use crate::model::{CgroupRef, Family, QueryCapture};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// Where questions are answered that were sent elsewhere, where nothing else is said: nobody has to know it.
const PORT: u16 = 15_053;

const NOT_CAPTURED: &str =
    "name the unit as `systemctl` does: its questions go where they are sent otherwise";
const CAPTURED: &str =
    "name the unit as `systemctl` does: its questions come back to the agent otherwise";

/// The first of `capture_bypass`.
pub fn bypass(text: &DnsText) -> Option<&At<CgroupText>> {
    text.capture_bypass.as_ref()?.items.first()
}

/// `reached` is what `[capture]` says: the mesh sees programs of these cgroups alone.
pub fn lower(
    anchor: Anchor<'_>,
    text: &DnsText,
    host: &Host,
    reached: Option<(Anchor<'_>, &List<CgroupText>)>,
    report: &mut Diagnostics,
) -> Option<QueryCapture> {
    let capture = text.capture.as_ref();
    if let (None, Some(bypass)) = (capture, bypass(text))
        && text.listen.is_some()
        && text.sound
        && report.whole
    {
        let problem = Spot::new(anchor, bypass.span)
            .warning("`capture_bypass` has no effect: no questions are captured");
        report.push(problem.help("say whose with `capture`: `capture = \"all\"`"));
    }
    let mut named = Vec::new();
    let mut all = None;
    let items = capture.iter().flat_map(|list| &list.items);
    for item in items {
        let spot = Spot::new(anchor, item.span);
        match &item.value.0 {
            None => all = all.or(Some(spot)),
            Some(cgroup) => {
                unit::check_named(spot, cgroup, host, NOT_CAPTURED, report);
                named.push((cgroup.clone(), spot));
            }
        }
    }
    if let Some(all) = all {
        for (cgroup, spot) in named.drain(..) {
            let problem = spot.warning(format!("`{cgroup}` has no effect: `all` are captured"));
            report.push(problem.related(all.place(), "here"));
        }
    }
    let left_alone: Option<&OneOrMore<CgroupText>> = text.capture_bypass.as_ref();
    let mut bypass = Vec::new();
    for item in left_alone.into_iter().flat_map(|list| &list.items) {
        unit::check(Spot::new(anchor, item.span), item, host, CAPTURED, report);
        bypass.push(item.value.0.clone());
    }
    let listed = |list: Vec<CgroupRef>| {
        let mut list = list;
        list.sort();
        list.dedup();
        list
    };
    // An empty list, or one of which nothing could be read, captures nobody.
    if all.is_none() && named.is_empty() {
        if let Some(list) = capture.filter(|list| list.items.is_empty() && list.whole) {
            let problem = Spot::new(anchor, list.span).warning("no questions are captured");
            report.push(problem.help("say whose, or all: `capture = \"all\"`"));
        }
        return None;
    }
    check_reach(&named, reached, report);
    Some(QueryCapture {
        cgroups: all
            .is_none()
            .then(|| listed(named.into_iter().map(|(cgroup, _)| cgroup).collect())),
        bypass: listed(bypass),
    })
}

/// Whether there are cgroups that the mesh does not see.
fn check_reach(
    named: &[(CgroupRef, Spot<'_>)],
    reached: Option<(Anchor<'_>, &List<CgroupText>)>,
    report: &mut Diagnostics,
) {
    // What could not be read may be the one that holds it; of an empty list is said already that nothing is captured.
    let Some((anchor, cgroups)) = reached.filter(|(_, list)| list.whole && !list.items.is_empty())
    else {
        return;
    };
    let place = Spot::new(anchor, cgroups.span).place();
    for (cgroup, spot) in named {
        if cgroups
            .items
            .iter()
            .all(|above| is_apart(&above.value.0, cgroup))
        {
            let message = format!("`{cgroup}` has no effect: the mesh does not see its programs");
            let problem = spot.warning(message);
            report.push(problem.related(place.clone(), "`cgroups` of `[capture]`"));
        }
    }
}

/// Whether nothing of a cgroup is in another one, as far as their names tell: only a slice has units below it, and
/// which units those are stands elsewhere.
fn is_apart(above: &CgroupRef, below: &CgroupRef) -> bool {
    let related = |one: &Path, other: &Path| one.starts_with(other) || other.starts_with(one);
    match (above, below) {
        (CgroupRef::Path(above), CgroupRef::Path(below)) => !related(above, below),
        (CgroupRef::Unit(above), CgroupRef::Unit(below)) => {
            above != below && ![above, below].iter().any(|it| it.ends_with(".slice"))
        }
        _ => false,
    }
}

/// Where to listen: as it is written, and at one address of this host for each family that has none.
pub fn listeners(
    anchor: Anchor<'_>,
    text: &DnsText,
    mut written: Vec<SocketAddr>,
    host: &Host,
    metrics: &Written<'_>,
    report: &mut Diagnostics,
) -> Vec<SocketAddr> {
    let has_v6 = host
        .own_addresses
        .contains(&IpAddr::V6(Ipv6Addr::LOCALHOST));
    let own: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    for ip in own {
        let is_there = |at: &SocketAddr| {
            let is_of_both = at.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            Family::from(at.ip()) == Family::from(ip) || is_of_both
        };
        if written.iter().any(is_there) || (ip.is_ipv6() && !has_v6) || !is_own(host, ip) {
            continue;
        }
        let at = SocketAddr::new(ip, PORT);
        let span = text.capture.as_ref().and_then(|list| list.items.first());
        if let Some((_, first)) = metrics.iter().find(|(it, _)| meet(*it, at))
            && let Some(span) = span.map(|it| it.span)
        {
            let message = format!("captured questions are answered at `{at}`, as metrics are");
            let problem = Spot::new(anchor, span).error(message);
            report.push(
                problem
                    .related(first.place(), "`listen` of `[metrics]`")
                    .help("say another address with `listen`"),
            );
        }
        written.push(at);
    }
    written.sort();
    written
}
