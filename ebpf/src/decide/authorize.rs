//! From a client and a service to what authorization policies say.
//!
//! As in Istio: a policy that denies and matches wins; if any policy allows somebody, one of these must match; else
//! everybody may connect.

use crate::Rules;
use kmesh_lite_common::{AuthorizationId, Matching, PrincipalKind, Rule, RuleKey, ServiceId};

/// Levels of the cgroup tree at which rules are looked for, the root first.
pub const LEVELS: u32 = 32;

/// What authorization policies say of a connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// The policy that refuses it.
    pub denied: Option<AuthorizationId>,
    /// The policy that would refuse it if it were not in audit mode. None where one refuses it.
    pub audited: Option<AuthorizationId>,
}

/// Judges the client that is connecting.
#[inline(always)]
pub fn authorize<R: Rules>(rules: &R, service: ServiceId) -> Judgement {
    let Some(of_all) = rules.rule(&RuleKey::anyone(service)) else {
        return Judgement::default();
    };
    let mut found = of_all.matching;
    let user = RuleKey::new(service, PrincipalKind::User, rules.user().into());
    let group = RuleKey::new(service, PrincipalKind::Group, rules.group().into());
    rules.add(&user, &mut found);
    rules.add(&group, &mut found);
    let levels = of_all.levels;
    let mut level = 0;
    while level < LEVELS {
        if levels >> level & 1 == 1 {
            let cgroup = RuleKey::new(service, PrincipalKind::Cgroup, rules.cgroup(level));
            rules.add(&cgroup, &mut found);
        }
        level += 1;
    }
    judged(&found, of_all)
}

/// What follows from all that matches.
#[inline(always)]
fn judged(found: &Matching, of_all: &Rule) -> Judgement {
    if found.deny.is_some() {
        return Judgement {
            denied: found.deny,
            audited: None,
        };
    }
    if found.allow.is_none() && of_all.closed_by.is_some() {
        return Judgement {
            denied: of_all.closed_by,
            audited: None,
        };
    }
    let audited = if found.audited_deny.is_some() {
        found.audited_deny
    } else if found.allow.is_none() && found.audited_allow.is_none() {
        of_all.audit_closed_by
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
