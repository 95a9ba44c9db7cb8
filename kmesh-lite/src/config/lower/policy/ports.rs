//! Ports of this host.

use super::super::super::Host;
use super::super::super::local_port::LocalPortText;
use super::super::super::policy::PolicyText;
use super::super::Diagnostics;
use super::super::address::is_own;
use super::super::merge::Entry;
use super::repeated;
use crate::model::LocalPorts;
use std::collections::BTreeSet;

pub fn lower(
    entry: &Entry<'_, PolicyText>,
    text: &PolicyText,
    host: &Host,
    report: &mut Diagnostics,
) -> BTreeSet<LocalPorts> {
    let Some(written) = &text.ports else {
        return BTreeSet::new();
    };
    for ports in &written.items {
        if let Some(address) = ports.value.0.address
            && !host.own_addresses.is_empty()
            && !is_own(host, address)
        {
            let spot = entry.at(ports.span);
            let problem = spot.warning(format!("this host has no address `{address}`"));
            report.push(problem.help(
                "nothing is judged there until an interface has it; leave the address out for every one of this host",
            ));
        }
    }
    let at = |span| entry.at(span);
    repeated::check(
        at,
        written,
        |it: &LocalPortText| &it.0,
        LocalPorts::to_string,
        report,
    );
    written.items.iter().map(|it| it.value.0).collect()
}
