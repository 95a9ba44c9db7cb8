//! Rows of guards, and of the rules and sources that belong to them: what all policies together say of a target.

use super::arrivals::{Arrivals, Arriving};
use super::auto::Vips;
use super::build::{Builder, ID};
use super::declared::{Declared, Destinations, Guards, Noun, Rules};
use super::fields::{Field, Fields};
use super::guarded::{self, Guarded, GuardedTargets, guarded_rows};
use super::ids::Ids;
use super::matched::matched_networks;
use super::networks::{Network, Said, Sort};
use super::rule::{self, Standing};
use crate::model::{Action, Authorization, Mesh, Mode, Name};
use kmesh_lite_common::{
    AuthorizationId, Closed, Destination, Guard, GuardId, Judgement, Matching, Name as RowName,
};
use kmesh_lite_ebpf::judged;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

impl Noun for Guards {
    type Row = Guard;
    type Key = RowName;

    const NOUN: &'static str = "guard";

    fn needed(mesh: &Mesh, _: &Vips) -> usize {
        guarded_rows(mesh).guards
    }

    fn key(row: &Guard) -> RowName {
        row.name
    }

    fn name(key: &RowName) -> String {
        key.to_string()
    }

    fn describe(row: &Guard, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = policies(row).into_iter();
        write_policies(named, f)
    }

    fn fields(row: &Guard) -> Fields {
        let mut fields = vec![("name", Field::Text(row.name.to_string()))];
        fields.extend(policy_fields(policies(row).into_iter()));
        fields
    }
}

/// The policies of a guard, by what each does.
pub fn policies(row: &Guard) -> [(&'static str, Option<AuthorizationId>); 8] {
    let [a, b, c, d] = of_matching(&row.anyone);
    [
        a,
        b,
        c,
        d,
        ("closed_by", row.closed.by),
        ("audit_closed_by", row.closed.audited_by),
        ("denies_elsewhere", row.elsewhere.denied),
        ("audited_elsewhere", row.elsewhere.audited),
    ]
}

pub fn of_matching(matching: &Matching) -> [(&'static str, Option<AuthorizationId>); 4] {
    [
        ("deny", matching.deny),
        ("allow", matching.allow),
        ("audited_deny", matching.audited_deny),
        ("audited_allow", matching.audited_allow),
    ]
}

pub fn write_policies(
    named: impl Iterator<Item = (&'static str, Option<AuthorizationId>)>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let given = named.filter_map(|(name, id)| Some((name, id?)));
    for (number, (name, id)) in given.enumerate() {
        let comma = if number == 0 { "" } else { "," };
        write!(f, "{comma} {} {id}", name.replace('_', " "))?;
    }
    Ok(())
}

pub fn policy_fields(
    named: impl Iterator<Item = (&'static str, Option<AuthorizationId>)>,
) -> impl Iterator<Item = (&'static str, Field)> {
    let given = named.filter_map(|(name, id)| Some((name, id?.index())));
    given.map(|(name, index)| {
        let reference = Some((crate::model::Table::Authorizations, index));
        (name, Field::Reference(reference))
    })
}

/// A policy that a guard stands for, on its way into rows.
struct Selected<'a> {
    policy: &'a Authorization,
    id: AuthorizationId,
    /// Whether it is about a service here, so that it says something of clients.
    by_service: bool,
}

impl Builder<'_> {
    /// Makes guards, rules, destinations and sources what the mesh wants. Rows that are as they should be are left.
    pub(super) fn guards(&mut self) {
        let mesh = self.mesh;
        let guards = match mesh.policies.is_empty() {
            true => GuardedTargets::default(),
            false => GuardedTargets::of(mesh),
        };
        let mut rows = Vec::with_capacity(guards.by_name.len());
        let mut rules = Vec::new();
        let mut arrivals = Arrivals::new();
        for (name, guarded) in &guards.by_name {
            let id = self.guard_id(*name);
            let selected = selected(mesh, &mut self.ids.authorizations, guarded);
            let closed = closed(&selected, |it| it.by_service && it.policy.clients.is_some());
            let clients = selected.iter().filter(|it| it.by_service);
            let clients = clients.filter_map(|it| Some((it, it.policy.clients.as_ref()?)));
            let said = clients.flat_map(|(it, clients)| {
                let standing = (it.policy.mode, it.policy.action, it.id);
                clients.iter().map(move |client| (standing, client))
            });
            let Standing {
                anyone,
                levels,
                rules: own,
            } = rule::standing(id, said, self.facts);
            rules.extend(own.into_iter().map(|rule| (rule.key, rule)));
            let (elsewhere, networks) = self.arrivals(&selected);
            arrivals.insert(
                *name,
                Arc::new(Arriving {
                    guard: id,
                    networks,
                }),
            );
            let row = Guard {
                name: *name,
                anyone,
                closed,
                elsewhere,
                levels,
            };
            rows.push((*name, row));
        }
        let destinations = guards.destinations.iter().map(|(key, name)| {
            let guard = self.ids.guards.get(name).and_then(GuardId::from_index);
            (*key, Destination { key: *key, guard })
        });
        let destinations: Vec<_> = destinations.collect();
        self.settle::<Guards>(rows);
        self.settle::<Rules>(rules);
        self.settle::<Destinations>(destinations);
        self.sources(arrivals);
    }

    /// The id of the guard with this name.
    fn guard_id(&mut self, name: RowName) -> GuardId {
        GuardId::from_index(self.ids.guards.index(name)).expect(ID)
    }

    /// The guard of a service, if policies say something of its clients.
    pub(super) fn guard_of_clients(&mut self, service: &Name) -> Option<GuardId> {
        let mut policies = self.mesh.policies_of(service);
        policies.find(|(_, policy)| policy.clients.is_some())?;
        Some(self.guard_id(guarded::name_of_service(service)))
    }

    /// What holds where connections arrive: outside of all networks, and in each.
    fn arrivals(&self, selected: &[Selected<'_>]) -> (Judgement, Vec<(Network, Judgement)>) {
        let closed = closed(selected, |it| it.policy.from.is_some());
        let mut said = Said::default();
        for (number, it) in selected.iter().enumerate() {
            let sort = match (it.policy.mode, it.policy.action) {
                (Mode::Audit, Action::Allow) => Sort::AuditedAllow,
                (Mode::Audit, _) => Sort::AuditedDeny,
                (_, Action::Allow) => Sort::Allow,
                (_, _) => Sort::Deny,
            };
            for network in matched_networks(self.mesh, it.policy) {
                said.add(network, sort, number as u32);
            }
        }
        let ids: Vec<_> = selected.iter().map(|it| it.id).collect();
        let elsewhere = judged(&Matching::default(), &closed);
        let networks = said.judged(&ids, &closed, elsewhere);
        (elsewhere, networks)
    }

    /// Makes the rows of a table these, in this order.
    fn settle<T: Declared>(&mut self, wanted: Vec<(T::Key, T::Row)>) {
        let ids = T::part_mut(&mut self.ids);
        let rows = T::part_mut(&mut self.rows);
        let wanted: Vec<_> = wanted
            .into_iter()
            .map(|(key, row)| (T::id(ids.index(key)).expect(ID), row))
            .collect();
        if !rows.is_empty() {
            let mut stay = Vec::new();
            for index in wanted.iter().map(|(id, _)| T::index(*id) as usize) {
                if stay.len() <= index {
                    stay.resize(index + 1, false);
                }
                stay[index] = true;
            }
            let goes = |id: &&T::Id| stay.get(T::index(**id) as usize) != Some(&true);
            let gone: Vec<_> = rows.keys().filter(goes).copied().collect();
            for id in gone {
                rows.remove(&id);
            }
        }
        for (id, row) in wanted {
            if rows.get(&id) != Some(&row) {
                rows.insert(id, row);
            }
        }
    }
}

fn selected<'a>(
    mesh: &'a Mesh,
    ids: &mut Ids<'_, RowName>,
    guarded: &BTreeSet<Guarded<'_>>,
) -> Vec<Selected<'a>> {
    let named = guarded::policies(mesh, guarded).into_iter();
    let selected = named.map(|(name, policy, by_service)| Selected {
        policy,
        id: AuthorizationId::from_index(ids.index(name.to_row())).expect(ID),
        by_service,
    });
    selected.collect()
}

/// The first policy that allows somebody, of those that `counts` names.
fn closed(selected: &[Selected<'_>], counts: impl Fn(&Selected<'_>) -> bool) -> Closed {
    let first = |mode| {
        let allowing = |it: &&Selected<'_>| {
            counts(it) && it.policy.action == Action::Allow && it.policy.mode == mode
        };
        selected.iter().find(allowing).map(|it| it.id)
    };
    Closed {
        by: first(Mode::Enforce),
        audited_by: first(Mode::Audit),
    }
}
