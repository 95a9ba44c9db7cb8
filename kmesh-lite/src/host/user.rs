//! The user that an agent runs as.

use std::collections::BTreeMap;
use std::fs;

/// The user that the packages make for the agent.
const AGENT: &str = "kmesh-agent";
/// Who has no file and no right, on every host.
const NOBODY: u32 = 65_534;

/// The numbers of the agent's user and of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentIds {
    pub user: u32,
    pub group: u32,
}

/// Where the packages have not made the agent's user, an agent that root starts is nobody.
pub fn agent_ids() -> AgentIds {
    // The file and not the directory service of a company: the daemon may start before the network.
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    ids(&users, AGENT).unwrap_or(AgentIds {
        user: NOBODY,
        group: NOBODY,
    })
}

/// The number of the agent's user.
pub fn agent_user() -> u32 {
    agent_ids().user
}

/// Numbers by name, of a file like /etc/passwd or /etc/group. Both are the files and no directory service, as above.
pub fn numbers(path: &str) -> BTreeMap<String, u32> {
    let lines = fs::read_to_string(path).unwrap_or_default();
    let entries = lines.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name.to_owned(), number.parse().ok()?))
    });
    entries.collect()
}

fn ids(users: &str, name: &str) -> Option<AgentIds> {
    let mut lines = users.lines().map(|line| line.split(':'));
    let mut user = lines.find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    let (_, user, group) = (user.next()?, user.next()?, user.next()?);
    Some(AgentIds {
        user: user.parse().ok()?,
        group: group.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users =
            "root:x:0:0::/:\nkmesh-agent2:x:1:1::/:\nkmesh-agent:x:995:993:agent:/:/bin/false\n";
        let agent = AgentIds {
            user: 995,
            group: 993,
        };
        assert_eq!(ids(users, AGENT), Some(agent));
        assert_eq!(ids("root:x:0:0::/:\n", AGENT), None);
    }
}
