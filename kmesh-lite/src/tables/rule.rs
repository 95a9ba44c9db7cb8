//! Rows of rules: what authorization policies say of one client of a service.

use super::auto::Vips;
use super::build::{Builder, ID};
use super::declared::{Noun, Rules};
use super::fields::{Field, Fields};
use crate::model::{Action, Authorization, Facts, Mesh, Mode, Name, Principal, Table};
use kmesh_lite_common::{
    AuthorizationId, Matching, PrincipalKind, Rule, RuleId, RuleKey, ServiceId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

impl Noun for Rules {
    type Row = Rule;
    type Key = RuleKey;

    const NOUN: &'static str = "rule";

    fn needed(mesh: &Mesh, _: &Vips) -> usize {
        needed(mesh)
    }

    fn key(row: &Rule) -> RuleKey {
        row.key
    }

    fn name(key: &RuleKey) -> String {
        let service = key.service.map(|id| id.to_string());
        let service = service.as_deref().unwrap_or("nothing");
        match key.kind {
            PrincipalKind::Anyone => format!("anyone to service {service}"),
            kind => format!("{kind} {} to service {service}", key.client),
        }
    }

    fn describe(row: &Rule, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policies = policies(row).into_iter();
        let given = policies.filter_map(|(name, id)| Some((name, id?)));
        for (number, (name, id)) in given.enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma} {} {id}", name.replace('_', " "))?;
        }
        Ok(())
    }

    fn fields(row: &Rule) -> Fields {
        let service = row.key.service.map(|id| (Table::Services, id.index()));
        let mut fields = vec![
            ("service", Field::Reference(service)),
            ("by", Field::Text(row.key.kind.to_string())),
            ("client", Field::Number(row.key.client)),
        ];
        let policies = policies(row).into_iter();
        let given = policies.filter_map(|(name, id)| Some((name, id?.index())));
        let reference = |index| Field::Reference(Some((Table::Authorizations, index)));
        fields.extend(given.map(|(name, index)| (name, reference(index))));
        fields
    }
}

/// Rules that a mesh needs where each unit has one cgroup.
pub fn needed(mesh: &Mesh) -> usize {
    let named = mesh.policies.values();
    let named = named
        .map(|policy| policy.services.len() * policy.clients.as_ref().map_or(0, BTreeSet::len));
    mesh.guarded().len() + named.sum::<usize>()
}

/// The policies of a rule, by what each does.
pub fn policies(row: &Rule) -> [(&'static str, Option<AuthorizationId>); 6] {
    [
        ("deny", row.matching.deny),
        ("allow", row.matching.allow),
        ("audited_deny", row.matching.audited_deny),
        ("audited_allow", row.matching.audited_allow),
        ("closed_by", row.closed_by),
        ("audit_closed_by", row.audit_closed_by),
    ]
}

/// The numbers by which programs know a client, with the depth below the root of a cgroup.
pub fn numbers(client: &Principal, facts: &Facts) -> Vec<(PrincipalKind, u64, Option<u32>)> {
    let number = |named: &str, known: &BTreeMap<String, u32>| {
        named.parse().ok().or_else(|| known.get(named).copied())
    };
    let one = |kind, number: Option<u32>| {
        number
            .into_iter()
            .map(|number| (kind, u64::from(number), None))
            .collect()
    };
    match client {
        Principal::Anyone => vec![(PrincipalKind::Anyone, 0, None)],
        Principal::Cgroup(reference) => {
            let cgroups = facts.cgroups(reference).iter();
            cgroups
                .map(|cgroup| (PrincipalKind::Cgroup, cgroup.id, cgroup.level))
                .collect()
        }
        Principal::User(user) => one(PrincipalKind::User, number(user, &facts.users)),
        Principal::Group(group) => one(PrincipalKind::Group, number(group, &facts.groups)),
    }
}

impl Builder<'_> {
    /// The rules of a service that authorization policies are about.
    pub(super) fn rules(&mut self, service: ServiceId, name: &Name) {
        let anyone = RuleKey::anyone(service);
        let mut rules: BTreeMap<RuleKey, Rule> = BTreeMap::new();
        let mut levels = 0;
        let (mut closed_by, mut audit_closed_by) = (None, None);
        rules.insert(anyone, empty(anyone));
        let mesh = self.mesh;
        for (policy_name, policy) in mesh.policies_of(name) {
            let index = self.ids.authorizations.index(policy_name.to_row());
            let id = AuthorizationId::from_index(index).expect(ID);
            let Some(clients) = &policy.clients else {
                continue;
            };
            if policy.action == Action::Allow {
                let closed = match policy.mode {
                    Mode::Audit => &mut audit_closed_by,
                    _ => &mut closed_by,
                };
                closed.get_or_insert(id);
            }
            let clients = clients.iter();
            for (kind, client, level) in clients.flat_map(|client| numbers(client, self.facts)) {
                let key = RuleKey::new(service, kind, client);
                let rule = rules.entry(key).or_insert_with(|| empty(key));
                sort(&mut rule.matching, policy).get_or_insert(id);
                if kind == PrincipalKind::Cgroup {
                    levels |= level.map_or(u32::MAX, |level| 1u32.checked_shl(level).unwrap_or(0));
                }
            }
        }
        if let Some(rule) = rules.get_mut(&anyone) {
            (rule.closed_by, rule.audit_closed_by) = (closed_by, audit_closed_by);
            rule.levels = levels;
        }
        for (key, rule) in rules {
            let id = RuleId::from_index(self.ids.rules.index(key)).expect(ID);
            self.rows.rules.insert(id, rule);
        }
    }
}

/// Where a policy stands in what matches.
fn sort<'a>(matching: &'a mut Matching, policy: &Authorization) -> &'a mut Option<AuthorizationId> {
    match (policy.mode, policy.action) {
        (Mode::Audit, Action::Allow) => &mut matching.audited_allow,
        (Mode::Audit, _) => &mut matching.audited_deny,
        (_, Action::Allow) => &mut matching.allow,
        (_, _) => &mut matching.deny,
    }
}

fn empty(key: RuleKey) -> Rule {
    Rule {
        key,
        matching: Matching::default(),
        closed_by: None,
        audit_closed_by: None,
        levels: 0,
        zero: 0,
    }
}
