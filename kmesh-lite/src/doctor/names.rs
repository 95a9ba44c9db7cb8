//! DNS names of endpoints.

use super::{Check, Finding};
use crate::api::{NameStatus, Status};
use crate::control::ClientError;

/// None where no endpoint has a name.
pub fn judge(status: &Result<Status, ClientError>) -> Option<Check> {
    let names = &status.as_ref().ok()?.names;
    if names.is_empty() {
        return None;
    }
    let findings: Vec<_> = names.iter().flat_map(found).collect();
    if findings.is_empty() {
        let count = match names.len() {
            1 => "the DNS name of endpoints has an answer".to_owned(),
            n => format!("all {n} DNS names of endpoints have an answer"),
        };
        return Some(Finding::fine(count).named("names"));
    }
    Some(Check::of("names", findings))
}

fn found(name: &NameStatus) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (what, services) = (&name.name, name.services.join(", "));
    if let (Some(error), Some(since)) = (&name.error, &name.failing_since) {
        let found = match name.addresses.is_empty() {
            true => format!(
                "{what} has not resolved: {error}, since {since}; {services} goes without its endpoints"
            ),
            false if name.in_part => format!(
                "{what} is not answered in full since {since}: {error}; what it had before stays"
            ),
            false => {
                format!("{what} is not answered since {since}: {error}; the last answer stays")
            }
        };
        let todo = format!(
            "`getent ahosts {what}` and the servers of /etc/resolv.conf or `[dns] resolvers`, which the agent has to reach"
        );
        findings.push(Finding::warning(found, &todo));
    }
    for refused in &name.refused {
        let found = format!(
            "{what} has {}, which is {}: it is no endpoint",
            refused.address, refused.why
        );
        findings.push(Finding::warning(
            found,
            "mend the zone of that name, or `mesh.toml`",
        ));
    }
    if name.left_out > 0 {
        let found = format!(
            "{what} has {} addresses more than the {} that are used",
            name.left_out,
            name.addresses.len()
        );
        findings.push(Finding::warning(found, "split the name"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::State;
    use crate::doctor::Verdict;

    fn judged(change: impl FnOnce(&mut NameStatus)) -> Check {
        let mut name = NameStatus {
            name: "db.internal".to_owned(),
            srv: false,
            services: vec!["pg".to_owned()],
            addresses: vec!["10.0.0.1".to_owned()],
            since: None,
            error: None,
            failing_since: None,
            in_part: false,
            refused: Vec::new(),
            left_out: 0,
        };
        change(&mut name);
        let status = Status {
            names: vec![name],
            ..crate::doctor::daemon::tests::running(State::Routing).unwrap()
        };
        judge(&Ok(status)).unwrap()
    }

    #[test]
    fn a_name_without_an_answer_is_a_warning() {
        assert_eq!(judged(|_| {}).verdict, Verdict::Fine);
        let fails = |name: &mut NameStatus| {
            name.error = Some("SERVFAIL".to_owned());
            name.failing_since = Some("2026-11-29T10:00:00.000Z".to_owned());
        };
        let stale = judged(fails);
        assert_eq!(stale.verdict, Verdict::Warning);
        assert!(
            stale.found.contains("the last answer stays"),
            "{}",
            stale.found
        );
        let in_part = judged(|name| {
            fails(name);
            name.in_part = true;
        });
        assert_eq!(in_part.verdict, Verdict::Warning);
        assert!(in_part.found.contains("in full"), "{}", in_part.found);
        let unknown = judged(|name| {
            fails(name);
            name.addresses.clear();
        });
        assert!(
            unknown
                .found
                .contains("has not resolved: SERVFAIL, since 2026"),
            "{}",
            unknown.found
        );
        assert_eq!(judged(|name| name.left_out = 3).verdict, Verdict::Warning);
    }
}
