//! The user that an agent runs as.

use std::fs;

/// The user that the packages make for the agent.
const AGENT: &str = "kmesh-agent";
/// Who has no file and no right, on every host.
const NOBODY: u32 = 65_534;

/// The number of the agent's user. Where the packages have not made it, an agent that root starts is nobody.
pub fn agent_user() -> u32 {
    // The file and not the directory service of a company: the daemon may start before the network.
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    number(&users, AGENT).unwrap_or(NOBODY)
}

fn number(users: &str, name: &str) -> Option<u32> {
    let mut lines = users.lines().map(|line| line.split(':'));
    let mut user = lines.find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    user.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users =
            "root:x:0:0::/:\nkmesh-agent2:x:1:1::/:\nkmesh-agent:x:995:993:agent:/:/bin/false\n";
        assert_eq!(number(users, AGENT), Some(995));
        assert_eq!(number("root:x:0:0::/:\n", AGENT), None);
    }
}
