//! From a client and what it connects to, to what authorization policies say.
//!
//! As in Istio: a policy that denies and matches wins; if any policy allows somebody, one of these must match; else
//! everybody may connect.

use crate::Rules;
use kmesh_lite_common::{Closed, GuardId, Judgement, Matching, PrincipalKind, RuleKey};

/// Levels of the cgroup tree at which rules are looked for, the root first.
pub const LEVELS: u32 = 32;

/// Judges the client that is connecting.
#[inline(always)]
pub fn authorize<R: Rules>(rules: &R, id: GuardId) -> Judgement {
    let Some(guard) = rules.guard(id) else {
        return Judgement::default();
    };
    let mut found = guard.anyone;
    let user = RuleKey::new(id, PrincipalKind::User, rules.user().into());
    let group = RuleKey::new(id, PrincipalKind::Group, rules.group().into());
    rules.add(&user, &mut found);
    rules.add(&group, &mut found);
    let levels = guard.levels;
    let mut level = 0;
    while level < LEVELS {
        if levels >> level & 1 == 1 {
            let cgroup = RuleKey::new(id, PrincipalKind::Cgroup, rules.cgroup(level));
            rules.add(&cgroup, &mut found);
        }
        level += 1;
    }
    judged(&found, &guard.closed)
}

/// What follows from all that matches.
#[inline(always)]
pub fn judged(found: &Matching, closed: &Closed) -> Judgement {
    if found.deny.is_some() {
        return Judgement {
            denied: found.deny,
            audited: None,
        };
    }
    if found.allow.is_none() && closed.by.is_some() {
        return Judgement {
            denied: closed.by,
            audited: None,
        };
    }
    let audited = if found.audited_deny.is_some() {
        found.audited_deny
    } else if found.allow.is_none() && found.audited_allow.is_none() {
        closed.audited_by
    } else {
        None
    };
    Judgement {
        denied: None,
        audited,
    }
}

/// Adds what a rule says to what was found. The first policy of each sort stays.
#[inline(always)]
pub fn add<R: Rules>(rules: &R, key: &RuleKey, found: &mut Matching) {
    let Some(rule) = rules.rule(key) else {
        return;
    };
    let there = &rule.matching;
    found.deny = found.deny.or(there.deny);
    found.allow = found.allow.or(there.allow);
    found.audited_deny = found.audited_deny.or(there.audited_deny);
    found.audited_allow = found.audited_allow.or(there.audited_allow);
}
