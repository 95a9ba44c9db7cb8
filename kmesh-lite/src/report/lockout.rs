//! Policies that would cut off somebody, in words.

use crate::api::LockoutStatus;
use crate::tables::{Lockout, Way};

pub fn lockouts(lockouts: &[Lockout]) -> Vec<LockoutStatus> {
    lockouts.iter().map(lockout).collect()
}

fn lockout(lockout: &Lockout) -> LockoutStatus {
    let (way, service, peer) = match &lockout.way {
        Way::Session { peer, .. } => ("session", None, peer.to_string()),
        Way::Probe { service, peer, .. } => ("probe", Some(service.to_string()), peer.to_string()),
    };
    LockoutStatus {
        policy: lockout.policy.to_string(),
        way: way.to_owned(),
        service,
        local: lockout.way.local().to_string(),
        peer,
        text: lockout.to_string(),
    }
}
