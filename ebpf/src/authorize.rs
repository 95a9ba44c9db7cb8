//! Authorization as a function in the kernel, as those of the search are.

use crate::blank::blurred;
use crate::counters;
use crate::maps::{GUARDS, RULE_IDS, RULES, place, row, row_at};
use aya_ebpf::helpers::generated::{bpf_get_current_ancestor_cgroup_id, bpf_get_current_uid_gid};
use kmesh_lite_common::{
    AuthorizationId, Guard, GuardId, Judgement, Matching, PrincipalKind, Rule, RuleKey,
};
use kmesh_lite_ebpf::{Rules, authorize};

/// Judges the client that is connecting to what has a guard, and counts what policies say. Gives the number of the policy that
/// refuses it, and in the high word that of the one that would.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn judge_client(guard: u64, generation: u64) -> u64 {
    let Some(guard) = GuardId::from_index(guard as u32) else {
        return 0;
    };
    let judgement = authorize(&RulesAt(generation), guard);
    if let Some(id) = judgement.denied.or(judgement.audited) {
        counters::count_authorization(id);
    }
    number(judgement.denied) | number(judgement.audited) << 32
}

/// What [`judge_client`] gave.
#[inline(always)]
pub fn judgement(number: u64) -> Judgement {
    Judgement {
        denied: id(number as u32),
        audited: id((number >> 32) as u32),
    }
}

#[inline(always)]
fn id(number: u32) -> Option<AuthorizationId> {
    AuthorizationId::from_index(number.wrapping_sub(1))
}

#[inline(always)]
fn number(id: Option<AuthorizationId>) -> u64 {
    id.map_or(0, |id| u64::from(id.index()) + 1)
}

/// Finds a rule. Gives 1 more than its place, 0 if there is none. A function of its own, because the verifier looks at each
/// way through a loop.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn find_rule(guard: u64, kind: u64, client: u64, generation: u64) -> u64 {
    let Some(guard) = GuardId::from_index(guard as u32) else {
        return 0;
    };
    let key = RuleKey::new(guard, PrincipalKind(kind as u32), client);
    // SAFETY: deleted elements are not reused before a grace period has passed.
    let Some(Some(id)) = (unsafe { RULE_IDS.get(&key) }) else {
        return 0;
    };
    place(&RULES, id.index(), generation).map_or(0, |place| place + 1)
}

/// The first one if there is one, without a branch: the verifier would follow both ways of each at every level of cgroups.
#[inline(always)]
fn or(first: Option<AuthorizationId>, other: Option<AuthorizationId>) -> Option<AuthorizationId> {
    let there = blurred(number(first));
    let if_none = !((there.wrapping_neg() as i64 >> 63) as u64);
    id((there | number(other) & if_none) as u32)
}

/// The rules of one generation.
struct RulesAt(u64);

impl Rules for RulesAt {
    #[inline(always)]
    fn guard(&self, id: GuardId) -> Option<&Guard> {
        row(&GUARDS, id.index(), self.0)
    }

    #[inline(always)]
    fn rule(&self, key: &RuleKey) -> Option<&Rule> {
        let guard = key.guard.map_or(0, GuardId::index);
        let place = find_rule(guard.into(), key.kind.0.into(), key.client, self.0);
        if place == 0 {
            return None;
        }
        row_at(&RULES, place - 1)
    }

    #[inline(always)]
    fn add(&self, key: &RuleKey, found: &mut Matching) {
        if let Some(rule) = self.rule(key) {
            let there = &rule.matching;
            found.deny = or(found.deny, there.deny);
            found.allow = or(found.allow, there.allow);
            found.audited_deny = or(found.audited_deny, there.audited_deny);
            found.audited_allow = or(found.audited_allow, there.audited_allow);
        }
    }

    #[inline(always)]
    fn cgroup(&self, level: u32) -> u64 {
        // SAFETY: answers 0 where there is no ancestor at this depth; no cgroup has id 0.
        unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) }
    }

    #[inline(always)]
    fn user(&self) -> u32 {
        // SAFETY: no arguments.
        (unsafe { bpf_get_current_uid_gid() }) as u32
    }

    #[inline(always)]
    fn group(&self) -> u32 {
        // SAFETY: no arguments.
        (unsafe { bpf_get_current_uid_gid() } >> 32) as u32
    }
}
