//! What policies say of one client and one service.

use super::client::{Named, Present};
use crate::api::Reach;
use crate::kernel::Snapshot;
use crate::model::{Action, Authorization, CgroupRef, Facts, Mesh, Mode, Principal, Table};
use crate::tables::{Judge, Tables, Whose};
use kmesh_lite_common::{AuthorizationId, Judgement, ServiceId};

use std::collections::BTreeMap;

pub struct Verdicts<'a> {
    tables: &'a Tables,
    judge: &'a Judge<'a>,
    /// None without a daemon.
    mesh: Option<&'a Mesh>,
    facts: &'a Facts,
}

/// A verdict, and the policy that decides.
type Said = (&'static str, Option<String>);

impl<'a> Verdicts<'a> {
    pub fn new(
        snapshot: &'a Snapshot,
        judge: &'a Judge<'a>,
        mesh: Option<&'a Mesh>,
        facts: &'a Facts,
    ) -> Self {
        Self {
            tables: &snapshot.tables,
            judge,
            mesh,
            facts,
        }
    }

    /// Whether policies have anything against a client.
    pub fn says(&self, seen: Option<&Present>, service: ServiceId) -> bool {
        seen.is_some_and(|it| self.judge.client(service, &it.whose) != Judgement::default())
    }

    pub fn client(
        &self,
        named: &Named,
        seen: Option<&Present>,
        service: &str,
        id: ServiceId,
    ) -> Reach {
        let (verdict, policy) = match seen {
            Some(seen) if !seen.is_judged => ("unjudged", None),
            Some(seen) => self.present(&seen.whose, service, id),
            None => self.absent(named, service),
        };
        Reach {
            from: named.words(self.facts),
            to: service.to_owned(),
            verdict: verdict.to_owned(),
            policy,
            absent: seen.is_none(),
        }
    }

    /// As the programs would judge it now.
    fn present(&self, whose: &Whose, service: &str, id: ServiceId) -> Said {
        let judgement = self.judge.client(id, whose);
        let named = |id: AuthorizationId| self.tables.name(Table::Authorizations, id.index());
        match (judgement.denied, judgement.audited) {
            (Some(id), _) => ("denied", named(id)),
            (None, Some(id)) => ("audited", named(id)),
            (None, None) => {
                let about: Vec<_> = self.about(service).into_iter().collect();
                let matches = |policy: &Authorization| {
                    let mut clients = policy.clients.iter().flatten();
                    clients.any(|client| self.matches(client, whose))
                };
                ("allowed", allowing(&about, matches))
            }
        }
    }

    /// The policies that say something of clients of a service.
    fn about(&self, service: &str) -> BTreeMap<&'a str, &'a Authorization> {
        let policies = self.mesh.into_iter().flat_map(|mesh| &mesh.policies);
        let about = policies.filter(|(_, policy)| {
            let mut services = policy.services.iter();
            policy.clients.is_some() && services.any(|it| it.as_str() == service)
        });
        about
            .map(|(name, policy)| (name.as_str(), policy))
            .collect()
    }

    fn matches(&self, client: &Principal, whose: &Whose) -> bool {
        let is = |name: &str, known: &BTreeMap<String, u32>, number: Option<u32>| {
            let named = name.parse().ok().or_else(|| known.get(name).copied());
            number.is_some() && named == number
        };
        match client {
            Principal::Anyone => true,
            Principal::Cgroup(reference) => {
                let mut cgroups = self.facts.cgroups(reference).iter();
                cgroups.any(|cgroup| whose.lineage.contains(&cgroup.id))
            }
            Principal::User(name) => is(name, &self.facts.users, whose.user),
            Principal::Group(name) => is(name, &self.facts.groups, whose.group),
        }
    }

    /// What the file says of a client that there is not: the tables know nothing of it.
    fn absent(&self, named: &Named, service: &str) -> Said {
        let matches = |client: &Principal| match (client, named) {
            (Principal::Anyone, _) => true,
            (Principal::Cgroup(reference), Named::Cgroup(name)) => {
                *reference == CgroupRef::from(name.as_str()) || reference.names_unit(name)
            }
            (Principal::User(user), Named::User(name)) => user == name,
            (Principal::Group(group), Named::Group(name)) => group == name,
            _ => false,
        };
        let about = self.about(service);
        let first = |mode: Mode, action: Action, must_match: bool| {
            let mut found = about.iter().filter(|(_, policy)| {
                let mut clients = policy.clients.iter().flatten();
                policy.mode == mode
                    && policy.action == action
                    && (!must_match || clients.any(matches))
            });
            found.next().map(|(name, _)| (*name).to_owned())
        };
        let (deny, allow) = (Action::Deny, Action::Allow);
        let allowed = first(Mode::Enforce, allow, true);
        let refused = |mode, is_allowed: bool| {
            first(mode, deny, true).or_else(|| {
                let closed = first(mode, allow, false);
                closed.filter(|_| !is_allowed)
            })
        };
        if let Some(name) = refused(Mode::Enforce, allowed.is_some()) {
            return ("denied", Some(name));
        }
        let audited = first(Mode::Audit, allow, true);
        let is_allowed = allowed.is_some() || audited.is_some();
        match refused(Mode::Audit, is_allowed) {
            Some(name) => ("audited", Some(name)),
            None => ("allowed", allowed.or(audited)),
        }
    }
}

/// The first policy that allows somebody; of those that count before those in audit mode.
pub fn allowing(
    about: &[(&str, &Authorization)],
    matches: impl Fn(&Authorization) -> bool,
) -> Option<String> {
    let found = |mode: Mode| {
        let mut allowing = about.iter().filter(|(_, policy)| {
            policy.action == Action::Allow && policy.mode == mode && matches(policy)
        });
        allowing.next().map(|(name, _)| (*name).to_owned())
    };
    found(Mode::Enforce).or_else(|| found(Mode::Audit))
}
