//! Units that are named: does this host know them?
//!
//! One that is merely stopped has a unit file, and is nothing to complain about.

use super::super::Host;
use super::super::read::At;
use super::super::scalar::CgroupText;
use super::{Diagnostics, Spot};
use crate::model::CgroupRef;

/// Warns of a unit without a unit file. `consequence` is what comes of it if the name is wrong.
pub fn check(
    spot: Spot<'_>,
    written: &At<CgroupText>,
    host: &Host,
    consequence: &str,
    report: &mut Diagnostics,
) {
    check_named(spot, &written.value.0, host, consequence, report);
}

/// The same of a name.
pub fn check_named(
    spot: Spot<'_>,
    named: &CgroupRef,
    host: &Host,
    consequence: &str,
    report: &mut Diagnostics,
) {
    let (Some(files), CgroupRef::Unit(unit)) = (&host.unit_files, named) else {
        return;
    };
    // Others come into being without a file: scopes, slices, mounts.
    let from_file = unit.ends_with(".service") || unit.ends_with(".socket");
    if !from_file || files.contains(unit) || template(unit).is_some_and(|it| files.contains(&it)) {
        return;
    }
    let candidates = files.iter().map(String::as_str);
    let help = report
        .near(unit, candidates)
        .unwrap_or_else(|| consequence.to_owned());
    let problem = spot.warning(format!("this host has no unit `{unit}`"));
    report.push(problem.help(help));
}

/// `getty@.service` for `getty@tty1.service`.
fn template(unit: &str) -> Option<String> {
    let (stem, instance) = unit.split_once('@')?;
    let (_, suffix) = instance.rsplit_once('.')?;
    Some(format!("{stem}@.{suffix}"))
}
