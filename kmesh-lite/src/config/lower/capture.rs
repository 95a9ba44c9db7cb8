//! `[capture]`.

use super::super::Host;
use super::super::piece::Anchor;
use super::super::read::List;
use super::super::scalar::CgroupText;
use super::merge::Merged;
use super::{Diagnostics, Spot, unit};
use crate::model::{Capture, CgroupRef};

const ROUTED: &str =
    "name the unit as `systemctl` does: its connections are routed like any otherwise";
const NOT_CAPTURED: &str =
    "name the unit as `systemctl` does: its connections are not routed otherwise";

pub fn lower(merged: &Merged<'_>, host: &Host, report: &mut Diagnostics) -> Capture {
    let mut capture = Capture::default();
    let Some((anchor, text)) = merged.capture else {
        return capture;
    };
    if let Some(written) = &text.cgroups {
        capture.cgroups = cgroups(anchor, written, host, report);
    }
    if let Some(written) = &text.bypass {
        for item in &written.items {
            let spot = Spot::new(anchor, item.span);
            unit::check(spot, item, host, ROUTED, report);
        }
        let bypass = written.items.iter().map(|item| item.value.0.clone());
        capture.bypass = bypass.collect();
        capture.bypass.sort();
        capture.bypass.dedup();
    }
    capture
}

/// Without those below others, whose programs are captured already.
fn cgroups(
    anchor: Anchor<'_>,
    written: &List<CgroupText>,
    host: &Host,
    report: &mut Diagnostics,
) -> Vec<CgroupRef> {
    if written.items.is_empty() && written.whole {
        let spot = Spot::new(anchor, written.span);
        let problem = spot.warning("nothing is captured");
        report.push(problem.help("leave `cgroups` out to capture the whole host"));
    }
    let mut items: Vec<_> = written.items.iter().collect();
    items.sort_by(|a, b| (&a.value.0, a.span).cmp(&(&b.value.0, b.span)));
    let mut kept: Vec<CgroupRef> = Vec::new();
    for item in items {
        let (spot, named) = (Spot::new(anchor, item.span), &item.value.0);
        unit::check(spot, item, host, NOT_CAPTURED, report);
        match kept.iter().find(|above| holds(above, named)) {
            Some(above) => {
                let message = format!(
                    "`{named}` has no effect: `{above}` is captured with all that is below it"
                );
                report.push(spot.warning(message));
            }
            None => kept.push(named.clone()),
        }
    }
    kept
}

/// Whether one cgroup is the other or above it, as far as their names tell. Every unit is below the root.
fn holds(above: &CgroupRef, below: &CgroupRef) -> bool {
    match (above, below) {
        (CgroupRef::Path(above), CgroupRef::Path(below)) => below.starts_with(above),
        (CgroupRef::Path(above), _) => above.as_os_str() == "/",
        (above, below) => above == below,
    }
}
