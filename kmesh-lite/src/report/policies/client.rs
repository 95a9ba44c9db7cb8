//! The clients that policies are shown for.

use crate::host::Lineage;
use crate::kernel::Snapshot;
use crate::model::{CgroupRef, Facts, Mesh, Principal};
use crate::report::Client;
use crate::report::connections::unit;
use crate::tables::{Tables, Whose};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A client as a policy could name it. Units and paths come first, whoever else there is last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    Cgroup(String),
    /// A unit whose programs of this user connected.
    CgroupOfUser(String, u32),
    User(String),
    Group(String),
    AnyoneElse,
}

impl Named {
    pub fn words(&self, facts: &Facts) -> String {
        match self {
            Self::Cgroup(name) => name.clone(),
            Self::CgroupOfUser(name, user) => {
                let mut users = facts.users.iter();
                match users.find(|(_, number)| *number == user) {
                    Some((user, _)) => format!("{name} user:{user}"),
                    None => format!("{name} user:{user}"),
                }
            }
            Self::User(name) => format!("user:{name}"),
            Self::Group(name) => format!("group:{name}"),
            Self::AnyoneElse => "*".to_owned(),
        }
    }
}

/// A client as the programs see it, and what they do with its connects.
pub struct Present {
    pub whose: Whose,
    /// Whether policies are asked at all.
    pub is_judged: bool,
}

pub struct Clients {
    /// None where there is no such client at the moment.
    pub all: BTreeMap<Named, Option<Present>>,
}

/// The cgroups whose place in the tree has to be known: of clients that policies name, and of those that connect.
pub fn cgroups_of_clients(snapshot: &Snapshot, facts: &Facts) -> BTreeSet<u64> {
    let named = facts.cgroups.values().flatten().map(|cgroup| cgroup.id);
    let open = snapshot.connections.iter().map(|it| it.connection.cgroup);
    let counted = snapshot.accounts.sums.keys().map(|key| key.cgroup);
    let all = named.chain(open).chain(counted);
    all.filter(|id| *id != 0).collect()
}

impl Clients {
    pub fn new(
        snapshot: &Snapshot,
        mesh: Option<&Mesh>,
        facts: &Facts,
        lineages: &BTreeMap<u64, Lineage>,
    ) -> Self {
        let mut this = Self {
            all: BTreeMap::new(),
        };
        let tables = &snapshot.tables;
        let seen = |client: Client| Present {
            whose: client.whose(tables),
            is_judged: client.is_judged(tables, snapshot),
        };
        let in_cgroup = |id: u64| {
            let lineage = lineages.get(&id)?;
            Some(Client {
                lineage: Some(lineage.clone()),
                ..Client::ANY
            })
        };
        let principals = mesh.map(Mesh::clients).unwrap_or_default();
        let has_users = principals.iter().any(|it| matches!(it, Principal::User(_)));
        for principal in principals {
            this.name(principal, facts, &in_cgroup, &seen);
        }
        // Those that connect.
        let open = snapshot.connections.iter();
        let open = open.map(|it| (it.connection.cgroup, Some(it.connection.user)));
        let counted = snapshot.accounts.sums.keys().map(|key| (key.cgroup, None));
        let connecting: BTreeSet<_> = open.chain(counted).collect();
        for (cgroup, user) in connecting {
            let Some(client) = in_cgroup(cgroup) else {
                continue;
            };
            let lineage = client.lineage.as_ref();
            let name = lineage.map_or_else(String::new, |it| title(&it.path));
            match user.filter(|_| has_users) {
                Some(user) => {
                    let client = Client {
                        user: Some(user),
                        ..client
                    };
                    let named = Named::CgroupOfUser(name, user);
                    this.all.insert(named, Some(seen(client)));
                }
                None => this.add(Named::Cgroup(name), Some(seen(client))),
            }
        }
        this.add(Named::AnyoneElse, Some(seen(Client::ANY)));
        this
    }

    /// Adds those that a policy names.
    fn name(
        &mut self,
        principal: &Principal,
        facts: &Facts,
        in_cgroup: &impl Fn(u64) -> Option<Client>,
        seen: &impl Fn(Client) -> Present,
    ) {
        let number = |name: &String, known: &BTreeMap<String, u32>| {
            name.parse().ok().or_else(|| known.get(name).copied())
        };
        match principal {
            Principal::Anyone => {}
            Principal::Cgroup(reference) => {
                let mut found = false;
                for cgroup in facts.cgroups(reference) {
                    let Some(client) = in_cgroup(cgroup.id) else {
                        continue;
                    };
                    found = true;
                    let name = match reference {
                        CgroupRef::Units(_) => title(&cgroup.path),
                        one => one.to_string(),
                    };
                    self.add(Named::Cgroup(name), Some(seen(client)));
                }
                if !found {
                    self.add(Named::Cgroup(reference.to_string()), None);
                }
            }
            Principal::User(name) => {
                let user = number(name, &facts.users);
                let client = user.map(|user| Client {
                    user: Some(user),
                    ..Client::ANY
                });
                self.add(Named::User(name.clone()), client.map(seen));
            }
            Principal::Group(name) => {
                let group = number(name, &facts.groups);
                let client = group.map(|group| {
                    let mut anyone = seen(Client::ANY);
                    anyone.whose.group = Some(group);
                    anyone
                });
                self.add(Named::Group(name.clone()), client);
            }
        }
    }

    /// One of several cgroups of a name stands for all: one whose connects are handled, if there is any.
    fn add(&mut self, named: Named, client: Option<Present>) {
        let there = self.all.entry(named).or_default();
        let is_judged = there.as_ref().is_some_and(|it| it.is_judged);
        if !is_judged && (there.is_none() || client.as_ref().is_some_and(|it| it.is_judged)) {
            *there = client;
        }
    }
}

impl Client {
    /// Whether policies are asked when it connects: programs run for it, and it does not bypass them.
    fn is_judged(&self, tables: &Tables, snapshot: &Snapshot) -> bool {
        let bypasses = self.treatment(tables) == crate::model::Caller::Bypass;
        !bypasses && self.captured(&snapshot.attached).is_ok()
    }
}

/// The unit that a cgroup is of or in, or its path.
fn title(path: &Path) -> String {
    let last = path.file_name().and_then(|last| last.to_str());
    // A slice is the unit of its own cgroup only.
    let slice = last.filter(|last| last.ends_with(".slice"));
    let unit = unit(path).or_else(|| slice.map(str::to_owned));
    unit.unwrap_or_else(|| path.display().to_string())
}
