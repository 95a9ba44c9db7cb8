//! `[capture]`.

use super::super::Host;
use super::super::fragment::Fragment;
use super::super::read::List;
use super::super::scalar::CgroupPath;
use super::merge::Merged;
use super::{Diagnostics, Spot, unit};
use crate::model::Capture;
use std::path::PathBuf;
use std::sync::Arc;

const ROUTED: &str =
    "name the unit as `systemctl` does: its connections are routed like any otherwise";

pub fn lower(merged: &Merged<'_>, host: &Host, report: &mut Diagnostics) -> Capture {
    let mut capture = Capture::default();
    let Some((fragment, text)) = merged.capture else {
        return capture;
    };
    if let Some(written) = &text.cgroups {
        capture.cgroups = cgroups(fragment, written, report);
    }
    if let Some(written) = &text.bypass {
        for item in &written.items {
            let spot = Spot::new(fragment, item.span);
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
    fragment: &Arc<Fragment>,
    written: &List<CgroupPath>,
    report: &mut Diagnostics,
) -> Vec<PathBuf> {
    if written.items.is_empty() && written.whole {
        let spot = Spot::new(fragment, written.span);
        let problem = spot.warning("nothing is captured");
        report.push(problem.help("leave `cgroups` out to capture the whole host"));
    }
    let mut items: Vec<_> = written.items.iter().collect();
    items.sort_by(|a, b| (&a.value.0, a.span).cmp(&(&b.value.0, b.span)));
    let mut kept: Vec<PathBuf> = Vec::new();
    for item in items {
        let path = &item.value.0;
        match kept.iter().find(|above| path.starts_with(above)) {
            Some(above) => {
                let message = format!(
                    "`{}` has no effect: `{}` is captured with all that is below it",
                    path.display(),
                    above.display()
                );
                report.push(Spot::new(fragment, item.span).warning(message));
            }
            None => kept.push(path.clone()),
        }
    }
    kept
}
