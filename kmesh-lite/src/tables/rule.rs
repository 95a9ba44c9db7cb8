//! Rows of rules: what authorization policies say of one client.

use super::auto::Vips;
use super::declared::{Noun, Rules};
use super::fields::{Field, Fields};
use super::guard::{of_matching, policy_fields, write_policies};
use super::guarded::guarded_rows;
use crate::model::{Action, Facts, Mesh, Mode, Principal, Table};
use kmesh_lite_common::{AuthorizationId, GuardId, Matching, PrincipalKind, Rule, RuleKey};
use std::collections::BTreeMap;
use std::fmt;

impl Noun for Rules {
    type Row = Rule;
    type Key = RuleKey;

    const NOUN: &'static str = "rule";

    fn needed(mesh: &Mesh, _: &Vips) -> usize {
        guarded_rows(mesh).rules
    }

    fn key(row: &Rule) -> RuleKey {
        row.key
    }

    fn name(key: &RuleKey) -> String {
        let guard = key.guard.map(|id| id.to_string());
        let guard = guard.as_deref().unwrap_or("nothing");
        format!("{} {} to guard {guard}", key.kind, key.client)
    }

    fn describe(row: &Rule, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_policies(of_matching(&row.matching).into_iter(), f)
    }

    fn fields(row: &Rule) -> Fields {
        let guard = row.key.guard.map(|id| (Table::Guards, id.index()));
        let mut fields = vec![
            ("guard", Field::Reference(guard)),
            ("by", Field::Text(row.key.kind.to_string())),
            ("client", Field::Number(row.key.client)),
        ];
        fields.extend(policy_fields(of_matching(&row.matching).into_iter()));
        fields
    }
}

/// A number by which programs know clients.
enum Number {
    Anyone,
    One(PrincipalKind, u64, Option<u32>),
}

/// The numbers by which programs know a client, with the depth below the root of a cgroup.
fn numbers(client: &Principal, facts: &Facts) -> Vec<Number> {
    let number = |named: &str, known: &BTreeMap<String, u32>| {
        named.parse().ok().or_else(|| known.get(named).copied())
    };
    let one = |kind, number: Option<u32>| {
        let numbers = number.into_iter();
        let numbers = numbers.map(|number| Number::One(kind, number.into(), None));
        numbers.collect()
    };
    match client {
        Principal::Anyone => vec![Number::Anyone],
        Principal::Cgroup(reference) => {
            let cgroups = facts.cgroups(reference).iter();
            let cgroups = cgroups.map(|it| Number::One(PrincipalKind::Cgroup, it.id, it.level));
            cgroups.collect()
        }
        Principal::User(user) => one(PrincipalKind::User, number(user, &facts.users)),
        Principal::Group(group) => one(PrincipalKind::Group, number(group, &facts.groups)),
    }
}

/// Whether programs know a client by other numbers than before.
pub fn differs(client: &Principal, before: &Facts, facts: &Facts) -> bool {
    match client {
        Principal::Anyone => false,
        Principal::Cgroup(reference) => before.cgroups(reference) != facts.cgroups(reference),
        Principal::User(user) => before.users.get(user) != facts.users.get(user),
        Principal::Group(group) => before.groups.get(group) != facts.groups.get(group),
    }
}

/// What policies say of clients.
#[derive(Debug, Default)]
pub struct Standing {
    /// Of all.
    pub anyone: Matching,
    /// Bit `n` is set if a rule is about a cgroup `n` levels below the root.
    pub levels: u32,
    /// By key.
    pub rules: Vec<Rule>,
}

/// The rules of a guard, out of what policies say in the order of their names.
pub fn standing<'a>(
    guard: GuardId,
    said: impl Iterator<Item = ((Mode, Action, AuthorizationId), &'a Principal)>,
    facts: &Facts,
) -> Standing {
    let mut standing = Standing::default();
    let mut rules: BTreeMap<RuleKey, Matching> = BTreeMap::new();
    for ((mode, action, id), client) in said {
        for number in numbers(client, facts) {
            let matching = match number {
                Number::Anyone => &mut standing.anyone,
                Number::One(kind, client, level) => {
                    if kind == PrincipalKind::Cgroup {
                        standing.levels |=
                            level.map_or(u32::MAX, |level| 1u32.checked_shl(level).unwrap_or(0));
                    }
                    let key = RuleKey::new(guard, kind, client);
                    rules.entry(key).or_default()
                }
            };
            sort(matching, mode, action).get_or_insert(id);
        }
    }
    let rules = rules.into_iter();
    standing.rules = rules
        .map(|(key, matching)| Rule { key, matching })
        .collect();
    standing
}

/// Where a policy stands in what matches.
fn sort(matching: &mut Matching, mode: Mode, action: Action) -> &mut Option<AuthorizationId> {
    match (mode, action) {
        (Mode::Audit, Action::Allow) => &mut matching.audited_allow,
        (Mode::Audit, _) => &mut matching.audited_deny,
        (_, Action::Allow) => &mut matching.allow,
        (_, _) => &mut matching.deny,
    }
}
