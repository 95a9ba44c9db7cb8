//! Which links are made, switched and let go of.

use super::{
    Anchor, Attached, HOOKS, Hook, Link, LinkState, Need, Role, Wanted, of_cgroups, of_namespaces,
};
use crate::model::{Cgroup, Facts, Mesh, Namespace};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A link for headers outlives the last need for one by this much: longer than a connect() that began
/// before takes to fail.
const LINGER: Duration = Duration::from_secs(180);

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookOp {
    /// Make a program run in a cgroup.
    Attach(&'static Hook, Cgroup),
    /// Make a program run on what pending sockets send.
    AttachToSockets(&'static Hook),
    /// Make a program judge what arrives in a network namespace. Whether the rest goes on without it if that fails.
    AttachToNamespace(&'static Hook, Namespace, bool),
    /// Make a link that is there run the current program, for a cgroup of the mesh.
    Switch(Link),
    /// Keep a link that runs the current program for a cgroup of the mesh; the kernel is not asked.
    Hold(Link),
    /// Leave a link to the connections that began while it was needed; the kernel is not asked.
    Leave(Link),
    Detach(Link),
}

impl HookOp {
    /// The hook whose program it cannot do without.
    pub fn needs(&self) -> Option<&'static Hook> {
        match self {
            Self::Attach(hook, _)
            | Self::AttachToSockets(hook)
            | Self::AttachToNamespace(hook, _, false) => Some(hook),
            Self::Switch(link) => Some(link.hook),
            // What a link runs already, and what may fail.
            Self::Hold(_) | Self::Leave(_) | Self::Detach(_) | Self::AttachToNamespace(..) => None,
        }
    }
}

/// The way from the links that there are to those that a mesh wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookPlan {
    /// Cgroups that are to be ours, before anything is written.
    pub claims: Vec<Cgroup>,
    /// Links that connections need as soon as the tables say so. Until then they see the old mesh, as
    /// all others do.
    pub make: Vec<HookOp>,
    /// Links that no connection needs once the tables say so.
    pub drop: Vec<HookOp>,
}

impl HookPlan {
    /// Leaves out cgroups that have gone since they were looked at: another pass follows.
    pub fn leave_out(&mut self, gone: &BTreeSet<u64>) {
        self.make
            .retain(|op| !matches!(op, HookOp::Attach(_, cgroup) if gone.contains(&cgroup.id)));
    }

    /// The change in words: cgroups that begin and cease to be captured.
    pub fn summary(&self) -> Vec<String> {
        // The last hook of a cgroup that is attached is the one that makes it captured.
        let is_last = |hook: &Hook| Some(hook) == of_cgroups().last();
        let made = self.make.iter().filter_map(|op| match op {
            HookOp::Attach(hook, cgroup) if is_last(hook) => Some(&cgroup.path),
            _ => None,
        });
        let dropped = self.drop.iter().filter_map(|op| match op {
            HookOp::Detach(link) if is_last(link.hook) => Some(&link.path),
            _ => None,
        });
        let (made, dropped): (BTreeSet<_>, BTreeSet<_>) = (made.collect(), dropped.collect());
        let line = |path: &PathBuf, what| format!("captured cgroup {}: {what}", path.display());
        let gone = dropped.difference(&made).map(|path| line(path, "removed"));
        let new = made.difference(&dropped).map(|path| line(path, "added"));
        gone.chain(new).collect()
    }

    /// Operations that change the kernel.
    pub fn writes(&self) -> impl Iterator<Item = &HookOp> {
        let writes = |op: &&HookOp| !matches!(op, HookOp::Hold(_) | HookOp::Leave(_));
        self.make.iter().chain(&self.drop).filter(writes)
    }
}

impl Wanted {
    /// What a mesh wants of the cgroups that are there. Another pass follows when more of them are.
    pub fn by(mesh: &Mesh, facts: &Facts) -> Self {
        Self {
            cgroups: captured(mesh, facts),
            lives: mesh.has_headers() || mesh.accounting,
            datagrams: mesh.has_datagrams(),
            namespaces: match mesh.judges_arrivals() {
                true => facts.namespaces.clone(),
                false => Vec::new(),
            },
            fails_open: mesh.arrivals_fail_open(),
        }
    }

    /// Whether the mesh wants something of what a link is attached to.
    fn has(&self, link: &Link) -> bool {
        match link.hook.anchor {
            Anchor::Namespace => self.namespaces.iter().any(|it| it.id == link.target),
            _ => self.cgroups.iter().any(|it| it.id == link.target),
        }
    }

    fn wants(&self, hook: &Hook) -> bool {
        hook.anchor == Anchor::Cgroup
            && match hook.need {
                Need::Always => true,
                Need::Lives => self.lives,
                Need::Datagrams => self.datagrams,
                Need::Arrivals => !self.namespaces.is_empty(),
            }
    }
}

/// The captured cgroups of a mesh that are there, but for those inside of others.
pub fn captured(mesh: &Mesh, facts: &Facts) -> Vec<Cgroup> {
    let captured = mesh.capture.cgroups.iter();
    let mut found: BTreeMap<_, _> = captured
        .flat_map(|named| facts.cgroups(named))
        .map(|cgroup| (&cgroup.path, cgroup))
        .collect();
    let outermost = outermost(found.keys().map(|path| path.to_path_buf()).collect());
    found.retain(|path, _| outermost.contains(*path));
    found.into_values().cloned().collect()
}

/// The outermost of these cgroups. Programs of a cgroup run for those below it as well, and where they
/// ran twice, the second run would take what the first one chose for what the application asked for.
pub fn outermost(paths: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let inside = |path: &Path| path.ancestors().skip(1).any(|above| paths.contains(above));
    paths.iter().filter(|path| !inside(path)).cloned().collect()
}

/// The plan from what is attached to what is wanted.
pub fn plan(attached: &Attached, wanted: &Wanted) -> HookPlan {
    let mut plan = HookPlan::default();
    let mut used = BTreeSet::new();
    for hook in HOOKS
        .iter()
        .filter(|it| it.anchor == Anchor::PendingSockets)
    {
        if attached.pushes_headers == Some(false) {
            plan.make.push(HookOp::AttachToSockets(hook));
        }
    }
    for namespace in &wanted.namespaces {
        for hook in of_namespaces() {
            let link = serving(attached, hook, namespace.id);
            match link {
                Some(link) => {
                    used.insert(link.id);
                    plan.make.extend(taking_over(link));
                }
                None => plan.make.push(HookOp::AttachToNamespace(
                    hook,
                    namespace.clone(),
                    // Others may vanish, and are not in our hands.
                    wanted.fails_open || !namespace.is_own,
                )),
            }
        }
    }
    for cgroup in &wanted.cgroups {
        if !attached.claimed.contains(&cgroup.id) {
            plan.claims.push(cgroup.clone());
        }
        for hook in of_cgroups() {
            let there = serving(attached, hook, cgroup.id);
            // Sockets may be connected that need it, and nothing tells.
            let stays = hook.need == Need::Datagrams && there.is_some();
            if !wanted.wants(hook) && !stays {
                continue;
            }
            match there {
                Some(link) => {
                    used.insert(link.id);
                    plan.make.extend(taking_over(link));
                }
                None => plan.make.push(HookOp::Attach(hook, cgroup.clone())),
            }
        }
    }
    let unused = attached
        .links
        .iter()
        .filter(|link| !used.contains(&link.id));
    for link in unused {
        let over = |age| {
            // Then all that are open began after that.
            let oldest = attached.oldest_connection;
            let all_gone = oldest.is_none_or(|oldest| oldest <= age);
            match link.hook.need {
                Need::Lives => all_gone && age > LINGER && !attached.pending_headers,
                Need::Always | Need::Datagrams | Need::Arrivals => all_gone,
            }
        };
        match link.role {
            Role::Kept => {}
            Role::Held | Role::Inherited if link.lingers() => {
                plan.drop.push(HookOp::Leave(link.clone()));
            }
            Role::Lingering(age) if !over(age) && link.lingers() => {}
            _ => plan.drop.push(HookOp::Detach(link.clone())),
        }
    }
    plan
}

/// The link by which a hook works there.
fn serving<'a>(attached: &'a Attached, hook: &Hook, target: u64) -> Option<&'a Link> {
    let serves = |link: &&Link| {
        link.hook == hook
            && link.target == target
            && !link.foreign
            && link.state != LinkState::Detached
    };
    attached.links.iter().find(serves)
}

/// What makes a link one of ours that runs the current program.
fn taking_over(link: &Link) -> Option<HookOp> {
    match (link.state, link.role) {
        (LinkState::Current, Role::Held) => None,
        (LinkState::Current, _) => Some(HookOp::Hold(link.clone())),
        _ => Some(HookOp::Switch(link.clone())),
    }
}

/// What somebody else did to the links that are held for the mesh, in words.
pub fn drift(attached: &Attached, wanted: &Wanted) -> Vec<String> {
    let there = |link: &&Link| wanted.has(link);
    let held = attached.links.iter().filter(|link| link.role == Role::Held);
    let mut lines: Vec<_> = held
        .filter(there)
        .filter_map(|link| {
            let what = match link.state {
                LinkState::Current => return None,
                LinkState::Other => "runs a program that is not ours",
                LinkState::Detached => "was detached",
            };
            Some(format!("hook {link} {what}"))
        })
        .collect();
    if attached.pushes_headers == Some(false) && !attached.links.is_empty() {
        lines.push("the program that puts headers before what is sent was detached".to_owned());
    }
    lines
}

impl Link {
    /// Whether connections that began earlier may need it beyond its time: their header, the name of
    /// their peer, and their end.
    fn lingers(&self) -> bool {
        self.hook.remembers && self.state != LinkState::Detached
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.hook.anchor {
            Anchor::Namespace => "network namespace",
            _ => "cgroup",
        };
        write!(f, "{} of {kind} {}", self.hook.name, self.path.display())
    }
}

impl fmt::Display for HookOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attach(hook, cgroup) => {
                write!(
                    f,
                    "attach {} to cgroup {}",
                    hook.name,
                    cgroup.path.display()
                )
            }
            Self::AttachToSockets(hook) => {
                write!(
                    f,
                    "attach {} to the sockets with a pending header",
                    hook.name
                )
            }
            Self::AttachToNamespace(hook, namespace, _) => write!(
                f,
                "attach {} to network namespace {}",
                hook.name,
                namespace.path.display()
            ),
            Self::Switch(link) => write!(f, "switch {link} to the current program"),
            Self::Hold(link) => write!(f, "hold {link}"),
            Self::Leave(link) => write!(f, "leave {link} to connections that still need it"),
            Self::Detach(link) => write!(f, "detach {link}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CgroupRef;

    fn cgroup(path: &str, id: u64) -> Cgroup {
        Cgroup {
            path: path.into(),
            id,
            level: None,
        }
    }

    fn wanted(lives: bool) -> Wanted {
        Wanted {
            cgroups: vec![cgroup("/a", 7)],
            lives,
            ..Wanted::default()
        }
    }

    fn with_datagrams() -> Wanted {
        Wanted {
            datagrams: true,
            ..wanted(false)
        }
    }

    /// Links as they are after the plan for `wanted` was carried out.
    fn settled(wanted: &Wanted) -> Attached {
        let mut attached = Attached {
            pushes_headers: Some(true),
            ..Attached::default()
        };
        let plan = plan(&attached, wanted);
        attached.claimed = plan.claims.iter().map(|cgroup| cgroup.id).collect();
        for (number, op) in plan.make.iter().enumerate() {
            let HookOp::Attach(hook, cgroup) = op else {
                panic!("{op}");
            };
            attached.links.push(Link {
                id: number as u32,
                hook,
                path: cgroup.path.clone(),
                target: cgroup.id,
                state: LinkState::Current,
                role: Role::Held,
                foreign: false,
            });
        }
        attached
    }

    fn texts(plan: &HookPlan) -> Vec<String> {
        let ops = plan.make.iter().chain(&plan.drop);
        ops.map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_is_to_be_done_twice() {
        for headers in [false, true] {
            let wanted = wanted(headers);
            assert_eq!(plan(&settled(&wanted), &wanted), HookPlan::default());
        }
    }

    #[test]
    fn connects_are_hooked_last() {
        let all = Wanted {
            datagrams: true,
            ..wanted(true)
        };
        let plan = plan(&Attached::default(), &all);
        assert_eq!(
            texts(&plan),
            [
                "attach connections to cgroup /a",
                "attach recvmsg4 to cgroup /a",
                "attach recvmsg6 to cgroup /a",
                "attach getpeername4 to cgroup /a",
                "attach getpeername6 to cgroup /a",
                "attach released to cgroup /a",
                "attach sendmsg4 to cgroup /a",
                "attach sendmsg6 to cgroup /a",
                "attach connect4 to cgroup /a",
                "attach connect6 to cgroup /a",
            ]
        );
    }

    #[test]
    fn a_link_that_somebody_detached_or_replaced_is_drift_and_is_put_back() {
        let wanted = wanted(false);
        let mut attached = settled(&wanted);
        attached.links[3].state = LinkState::Detached;
        attached.links[4].state = LinkState::Other;
        assert_eq!(
            drift(&attached, &wanted),
            [
                "hook connect4 of cgroup /a was detached",
                "hook connect6 of cgroup /a runs a program that is not ours",
            ]
        );
        assert_eq!(
            texts(&plan(&attached, &wanted)),
            [
                "attach connect4 to cgroup /a",
                "switch connect6 of cgroup /a to the current program",
                "detach connect4 of cgroup /a",
            ]
        );
    }

    #[test]
    fn words_are_about_cgroups_and_not_about_links() {
        let (one, none) = (wanted(false), Wanted::default());
        let summary = |attached, wanted| plan(&attached, wanted).summary();
        let nothing = || Attached::default();
        assert_eq!(summary(nothing(), &one), ["captured cgroup /a: added"]);
        assert_eq!(
            summary(settled(&one), &none),
            ["captured cgroup /a: removed"]
        );
        assert!(summary(settled(&one), &one).is_empty());
        // It has another id: that is the business of the kernel.
        let mut anew = settled(&one);
        for link in &mut anew.links {
            (link.target, link.state) = (6, LinkState::Detached);
        }
        assert!(summary(anew, &one).is_empty());
    }

    #[test]
    fn links_for_headers_linger_for_connections_that_began_before() {
        let without = wanted(false);
        let mut attached = settled(&wanted(true));
        let leave = plan(&attached, &without);
        let left = "leave connections of cgroup /a to connections that still need it";
        assert_eq!(texts(&leave), [left]);
        for (age, pending, over) in [(1, false, false), (200, true, false), (200, false, true)] {
            attached.links[0].role = Role::Lingering(Duration::from_secs(age));
            attached.pending_headers = pending;
            assert_eq!(plan(&attached, &without).drop.is_empty(), !over);
        }
        let again = plan(&attached, &wanted(true));
        assert_eq!(texts(&again), ["hold connections of cgroup /a"]);
        assert_eq!(again.writes().count(), 0);
    }

    #[test]
    fn links_for_open_connections_linger_where_nothing_is_captured_any_more() {
        let mut attached = settled(&wanted(false));
        let leave = texts(&plan(&attached, &Wanted::default()));
        let left = |hook| format!("leave {hook} of cgroup /a to connections that still need it");
        let gone = |hook| format!("detach {hook} of cgroup /a");
        let remembering = ["getpeername4", "getpeername6", "released"];
        let expected = remembering.iter().map(left);
        let expected = expected.chain(["connect4", "connect6"].iter().map(gone));
        assert_eq!(leave, expected.collect::<Vec<_>>());
        attached.links.retain(|link| link.hook.remembers);
        for (oldest, over) in [(Some(61), false), (Some(59), true), (None, true)] {
            for link in &mut attached.links {
                link.role = Role::Lingering(Duration::from_secs(60));
            }
            attached.oldest_connection = oldest.map(Duration::from_secs);
            let dropped = plan(&attached, &Wanted::default()).drop;
            assert_eq!(dropped.len(), if over { 3 } else { 0 }, "{oldest:?}");
        }
    }

    #[test]
    fn links_for_datagrams_stay_while_their_cgroup_is_captured() {
        let attached = settled(&with_datagrams());
        assert_eq!(plan(&attached, &wanted(false)), HookPlan::default());
        let uncaptured = plan(&attached, &Wanted::default());
        assert_eq!(uncaptured.drop.len(), attached.links.len());
    }

    #[test]
    fn a_cgroup_that_was_made_again_is_another_one() {
        let wanted = wanted(false);
        let mut attached = settled(&wanted);
        for link in &mut attached.links {
            (link.target, link.state) = (6, LinkState::Detached);
        }
        attached.claimed = BTreeSet::from([6]);
        assert!(drift(&attached, &wanted).is_empty());
        let plan = plan(&attached, &wanted);
        assert_eq!(plan.claims, wanted.cgroups);
        assert_eq!((plan.make.len(), plan.drop.len()), (5, 5));
    }

    #[test]
    fn links_for_sockets_of_an_earlier_version_stay_beside_ours() {
        let wanted = wanted(false);
        let mut attached = settled(&wanted);
        let mut kept = attached.links[0].clone();
        (kept.id, kept.role, kept.foreign) = (99, Role::Kept, true);
        kept.state = LinkState::Other;
        attached.links.insert(0, kept);
        assert_eq!(plan(&attached, &wanted), HookPlan::default());
    }

    #[test]
    fn programs_of_a_cgroup_are_not_attached_below_it_again() {
        let paths = ["/", "/a", "/a/b"].map(PathBuf::from);
        let facts = Facts {
            cgroups: paths
                .iter()
                .enumerate()
                .map(|(id, path)| {
                    let found = vec![cgroup(&path.to_string_lossy(), id as u64 + 1)];
                    (CgroupRef::Path(path.clone()), found)
                })
                .collect(),
            ..Facts::default()
        };
        let outermost = |paths: &[PathBuf]| {
            let mut mesh = Mesh::default();
            mesh.capture.cgroups = paths.iter().cloned().map(CgroupRef::Path).collect();
            let wanted = captured(&mesh, &facts);
            wanted.into_iter().map(|it| it.path).collect::<Vec<_>>()
        };
        assert_eq!(outermost(&paths), [PathBuf::from("/")]);
        assert_eq!(outermost(&paths[1..]), [PathBuf::from("/a")]);
        assert_eq!(outermost(&[]), Vec::<PathBuf>::new());
    }
}
