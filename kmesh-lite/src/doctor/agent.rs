//! The agent, which talks to the network for the daemon.

use super::{Check, Finding};
use crate::api::{AgentStatus, Status};
use crate::control::ClientError;

/// None where there is nothing to do for an agent.
pub fn judge(status: &Result<Status, ClientError>) -> Option<Check> {
    let agent = status.as_ref().ok()?.agent.as_ref()?;
    if agent.targets == 0 && agent.names == 0 && agent.metrics.is_empty() {
        return None;
    }
    Some(found(agent).named("agent"))
}

fn found(agent: &AgentStatus) -> Finding {
    let mut duties = Vec::new();
    match agent.targets {
        0 => {}
        1 => duties.push("probes 1 address".to_owned()),
        n => duties.push(format!("probes {n} addresses")),
    }
    match agent.names {
        0 => {}
        1 => duties.push("looks up 1 DNS name".to_owned()),
        n => duties.push(format!("looks up {n} DNS names")),
    }
    if !agent.metrics.is_empty() {
        duties.push("serves metrics".to_owned());
    }
    let duties = duties.join(" and ");
    if !agent.away {
        return Finding::fine(format!("the agent {duties}"));
    }
    let since = match &agent.heard {
        Some(heard) => format!("since {heard}"),
        None => "since the daemon began".to_owned(),
    };
    let consequence = match agent.targets + agent.names {
        0 => "",
        _ => "; endpoints are what they were found to be until then",
    };
    Finding::warning(
        format!("no agent answers {since}, so nobody {duties}{consequence}"),
        "`systemctl start kmesh-lite-agent`; if it does not stay, `journalctl -u kmesh-lite-agent -n 50` says why",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn judged(targets: usize, away: bool) -> Option<Check> {
        let status = Status {
            agent: Some(AgentStatus {
                targets,
                away,
                heard: Some("2026-11-29T10:00:00.000Z".to_owned()),
                ..AgentStatus::default()
            }),
            ..crate::doctor::daemon::tests::running(crate::api::State::Routing).unwrap()
        };
        judge(&Ok(status))
    }

    #[test]
    fn an_agent_that_is_away_while_it_has_to_probe_is_a_warning() {
        assert_eq!(judged(0, true), None);
        assert_eq!(judged(2, false).unwrap().verdict, Verdict::Fine);
        let away = judged(2, true).unwrap();
        assert_eq!(away.verdict, Verdict::Warning);
        assert!(away.found.contains("since 2026-11-29"), "{}", away.found);
    }
}
