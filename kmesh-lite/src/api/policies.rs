//! Who may reach what, as authorization policies say.

use serde::{Deserialize, Serialize};

/// `GET /v1/policies`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policies {
    /// By name.
    pub policies: Vec<AboutPolicy>,
    /// What becomes of connects of this host's programs to the services that policies are about.
    pub outbound: Vec<Reach>,
    /// What becomes of connections that arrive at this host, where policies are about that.
    pub inbound: Vec<Reach>,
    /// Pairs of both that there was no room for.
    pub left_out: u64,
    /// Services that no policy is about: whoever can, connects.
    pub open: Vec<String>,
}

/// An authorization policy, with whom it matches at the moment. What only the file knows is missing without a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AboutPolicy {
    pub name: String,
    /// `allow` or `deny`.
    pub action: String,
    /// `enforce` or `audit`.
    pub mode: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Ports of this host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// None where it says nothing of programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<PolicyClient>>,
    /// None where it says nothing of addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<PolicySource>>,
    /// `open` or `closed`, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enforce_existing: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Connections that it refused; in audit mode those that it would have.
    pub refused: u64,
}

/// Programs that a policy is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyClient {
    /// As in the file.
    pub name: String,
    /// Of a unit or a path: the cgroups that it means now. Without one it matches nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cgroups: Vec<String>,
    /// Of a user or a group: the number that it stands for. Without one it matches nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
}

/// Addresses that a policy is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySource {
    /// As in the file; groups are resolved.
    pub name: String,
    /// What it stands for now: the first of them, if there are many.
    pub networks: Vec<String>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
}

/// What becomes of a connection of somebody to something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// A client or a source, as a policy could name it; `*` is anyone else.
    pub from: String,
    /// A service, or `SERVICE ADDR:PORT` or `ADDR:PORT` of this host where something arrives.
    pub to: String,
    /// `allowed`, `denied`, `audited` (it would be denied if the policy were not in audit mode), or `unjudged` (its
    /// connects are not handled).
    pub verdict: String,
    /// The policy that decides; none where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Whether there is no such client at the moment. Then the verdict is what would hold if there were.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
