//! Programs of this host.

use super::super::super::Host;
use super::super::super::policy::PolicyText;
use super::super::super::read::At;
use super::super::super::scalar::PrincipalText;
use super::super::super::suggest::quote;
use super::super::merge::Entry;
use super::super::{Diagnostics, unit};
use crate::model::Principal;

const NEVER_MATCHES: &str = "name the unit as `systemctl` does: it never matches otherwise";

/// Warns of a client that this host does not know.
pub fn check(
    entry: &Entry<'_, PolicyText>,
    client: &At<PrincipalText>,
    host: &Host,
    report: &mut Diagnostics,
) {
    let spot = entry.at(client.span);
    let (kind, name, known) = match &client.value.0 {
        Principal::Anyone => return,
        Principal::Cgroup(named) => {
            return unit::check_named(spot, named, host, NEVER_MATCHES, report);
        }
        Principal::User(name) => ("user", name, &host.users),
        Principal::Group(name) => ("group", name, &host.groups),
    };
    if known.is_empty() || known.contains_key(name) || name.parse::<u32>().is_ok() {
        return;
    }
    let help = report.near(name, known.keys().map(String::as_str)).unwrap_or_else(|| {
        format!(
            "names are looked up in /etc/passwd and /etc/group; write `{kind}:NUMBER` for others"
        )
    });
    let problem = spot.warning(format!("this host has no {kind} {}", quote(name)));
    report.push(problem.help(help));
}
