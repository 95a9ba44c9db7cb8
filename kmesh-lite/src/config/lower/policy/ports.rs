//! Ports of this host.

use super::super::super::Host;
use super::super::super::local_port::LocalPortText;
use super::super::super::policy::PolicyText;
use super::super::Diagnostics;
use super::super::address::is_own;
use super::super::merge::Entry;
use super::repeated;
use crate::model::{Action, Authorization, LocalPorts, Protocol};
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

/// Warns where every UDP port is closed: datagrams that answer programs of this host arrive there as well.
pub fn warn_of_answers(
    entry: &Entry<'_, PolicyText>,
    text: &PolicyText,
    model: &Authorization,
    report: &mut Diagnostics,
) {
    if model.action != Action::Allow || model.from.is_none() {
        return;
    }
    let ports = text.ports.iter().flat_map(|list| &list.items);
    for ports in ports {
        let LocalPorts {
            protocol: Protocol::Udp,
            range: None,
            ..
        } = ports.value.0
        else {
            continue;
        };
        let problem = entry
            .at(ports.span)
            .warning("answers to programs of this host are refused as well");
        report.push(
            problem
                .expected("the UDP ports that programs listen at")
                .help("what a resolver or a time server answers to a socket that is not connected arrives at any UDP port: it passes only if `from` has its address"),
        );
    }
}
