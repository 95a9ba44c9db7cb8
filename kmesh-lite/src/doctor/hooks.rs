//! Programs of others at our hooks.

use super::cgroup::CgroupTree;
use super::{Check, Finding};
use crate::hooks::{Need, of_cgroups};
use crate::kernel::{self, AtHook, Level, Owner};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Programs at our hooks, seen from the cgroups that are, or would be, attached to.
#[derive(Clone, Debug, Default)]
pub struct Occupants {
    hooks: Vec<AtHook>,
    /// Of all programs by id, as far as they may be known.
    names: BTreeMap<u32, String>,
    /// Whose a program of kmesh-lite is, by its id.
    owners: BTreeMap<u32, Owner>,
    /// The instance that the checks are about.
    own: u64,
}

/// Why the hooks could not be looked at.
#[derive(Clone, Debug)]
pub enum Unseen {
    /// The right that this process lacks.
    Denied(&'static str),
    /// The kernel has no such hooks (EINVAL).
    Absent,
    Failed(String),
}

/// How the programs of a cgroup share a hook: flags of BPF_PROG_ATTACH in linux/bpf.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    /// With nobody, here or below.
    Exclusive = 0,
    /// BPF_F_ALLOW_OVERRIDE: a program that is attached below runs there in place of these.
    Override = 1,
    /// BPF_F_ALLOW_MULTI: all run. So are links.
    Multi = 2,
}

impl Sharing {
    fn of(level: &Level) -> Self {
        let flags = [Self::Multi, Self::Override].into_iter();
        let mut set = flags.filter(|flag| level.flags & *flag as u32 != 0);
        set.next().unwrap_or(Self::Exclusive)
    }
}

pub fn look(cgroups: &CgroupTree, own: u64) -> Result<Occupants, Unseen> {
    let tree = cgroups.tree.as_ref();
    let tree = tree.map_err(|error| Unseen::Failed(error.to_string()))?;
    let mut hooks = Vec::new();
    for cgroup in cgroups.captured.iter().filter(|cgroup| cgroup.is_there) {
        hooks.extend(kernel::at_hooks(tree, &cgroup.path).map_err(unseen)?);
    }
    let is_free = |hook: &AtHook| {
        hook.effective.is_empty() && hook.levels.iter().all(|level| level.programs.is_empty())
    };
    if hooks.iter().all(is_free) {
        return Ok(Occupants::default());
    }
    // Somebody is there, perhaps the daemon itself.
    let denied = || Unseen::Denied("only root can tell whose programs are attached");
    Ok(Occupants {
        hooks,
        names: kernel::names().map_err(|_| denied())?,
        owners: kernel::owners().map_err(|_| denied())?,
        own,
    })
}

fn unseen(error: io::Error) -> Unseen {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Unseen::Denied("CAP_NET_ADMIN is needed"),
        Some(libc::EINVAL) => Unseen::Absent,
        _ => Unseen::Failed(error.to_string()),
    }
}

pub fn judge(occupants: &Result<Occupants, Unseen>) -> Check {
    let findings = match occupants {
        Ok(occupants) => {
            let hooks = occupants.hooks.iter();
            let mut findings: Vec<_> = hooks.flat_map(|hook| occupants.findings(hook)).collect();
            findings.extend(occupants.ousted());
            if findings.is_empty() {
                findings.push(Finding::fine("nobody else is at them"));
            }
            findings
        }
        Err(Unseen::Denied(why)) => vec![Finding::unknown(
            format!("cannot look at them: {why}"),
            "run this as root",
        )],
        Err(Unseen::Absent) => vec![Finding::problem(
            "this kernel has no hooks in cgroups for connect()",
            "use a kernel with CONFIG_CGROUP_BPF, as distributions build it",
        )],
        Err(Unseen::Failed(why)) => vec![Finding::unknown(
            format!("cannot look at them: {why}"),
            "make sure that the cgroup is there, and run this as root",
        )],
    };
    Check::of("hooks", findings)
}

impl Occupants {
    fn findings(&self, hook: &AtHook) -> Vec<Finding> {
        let mut findings = Vec::new();
        let blocker = blocker(&hook.levels);
        if let Some((level, program)) = blocker {
            findings.push(self.blocks(hook, level, program));
        }
        let is_foreign = |program: &&u32| !self.is_ours(program);
        for level in &hook.levels {
            let is_told = |program: &&u32| blocker.is_some_and(|(_, blocker)| blocker == **program);
            let others = level.programs.iter().filter(is_foreign);
            let others = others.filter(|program| !is_told(program));
            findings.extend(others.map(|program| self.shares(hook, &level.cgroup, *program)));
        }
        let is_attached = |program: &&u32| {
            let mut levels = hook.levels.iter();
            levels.any(|level| level.programs.contains(program))
        };
        // A cgroup namespace hides the cgroups above it, not their programs.
        let others = hook.effective.iter().filter(is_foreign);
        let above = others.filter(|program| !is_attached(program));
        findings.extend(above.map(|program| self.shares(hook, Path::new("/.."), *program)));
        findings
    }

    /// Whether a program is of the daemon that the checks are about, or one that it keeps.
    fn is_ours(&self, program: &u32) -> bool {
        let owner = self.owners.get(program);
        owner.is_some_and(|owner| matches!(owner, Owner::Earlier) || self.is_of_own(owner))
    }

    fn is_of_own(&self, owner: &Owner) -> bool {
        *owner == Owner::Instance(self.own)
    }

    /// Hooks that have no program of the daemon, in a cgroup where other hooks have one.
    fn ousted(&self) -> Vec<Finding> {
        let has_ours = |hook: &AtHook| {
            let programs = hook.levels.first().map_or(&[][..], |level| &level.programs);
            let mut owners = programs.iter().filter_map(|id| self.owners.get(id));
            owners.any(|owner| self.is_of_own(owner))
        };
        let always: Vec<_> = of_cgroups()
            .filter(|hook| hook.need == Need::Always)
            .map(|hook| hook.name)
            .collect();
        let ours = self.hooks.iter().filter(|hook| has_ours(hook));
        let attached: Vec<_> = ours.map(path).collect();
        let hooks = self.hooks.iter().filter(|hook| {
            always.contains(&hook.hook) && !has_ours(hook) && attached.contains(&path(hook))
        });
        hooks.map(|hook| self.lost(hook)).collect()
    }

    fn lost(&self, hook: &AtHook) -> Finding {
        let programs = hook.levels.first().map_or(&[][..], |level| &level.programs);
        let others = programs.iter().filter(|id| !self.is_ours(id));
        let others: Vec<_> = others.map(|id| self.describe(*id)).collect();
        let place = format!("the hook of `{}` of cgroup {}", hook.hook, path(hook));
        Finding::problem(
            if others.is_empty() {
                format!("{place} has lost our program: its link was detached")
            } else {
                format!("{} is in place of ours at {place}", others.join(" and "))
            },
            "`kmesh-lite reload` puts ours back; find out who takes it away (`bpftool link`, `journalctl`)",
        )
    }

    fn blocks(&self, hook: &AtHook, level: &Level, program: u32) -> Finding {
        let (at, path) = (level.cgroup.display(), path(hook));
        Finding::problem(
            format!(
                "{} holds the hook of `{}` of cgroup {at} exclusively: nothing else can be attached to {path}",
                self.describe(program),
                hook.hook
            ),
            format!(
                "have its owner attach it with a link or BPF_F_ALLOW_MULTI, stop its owner, or leave {path} out of \
                 [capture] cgroups (`bpftool cgroup tree {at}` shows it)"
            ),
        )
    }

    fn shares(&self, hook: &AtHook, cgroup: &Path, program: u32) -> Finding {
        let (at, name) = (cgroup.display(), hook.hook);
        let described = self.describe(program);
        if self.owners.contains_key(&program) {
            return Finding::problem(
                format!(
                    "{described} of another kmesh-lite is at the hook of `{name}` of cgroup {at}, so connects of {} are \
                     handled twice",
                    path(hook)
                ),
                "stop one of the two, or give each its own [capture] cgroups, none above the other's",
            );
        }
        Finding::warning(
            format!("{described} is at the hook of `{name}` of cgroup {at} as well"),
            "find out whose it is (`bpftool prog show`): both may rewrite a connect, and the second one sees what \
             the first one chose",
        )
    }

    fn describe(&self, program: u32) -> String {
        match self.names.get(&program).filter(|name| !name.is_empty()) {
            Some(name) => format!("program `{name}` (id {program})"),
            None => format!("program {program}"),
        }
    }
}

fn path(hook: &AtHook) -> String {
    let innermost = hook.levels.first();
    innermost.map_or_else(String::new, |level| level.cgroup.display().to_string())
}

/// The program that keeps our link from being made, in the kernel's own order
/// (hierarchy_allows_attach() in kernel/bpf/cgroup.c).
fn blocker(levels: &[Level]) -> Option<(&Level, u32)> {
    let (own, above) = levels.split_first()?;
    if Sharing::of(own) != Sharing::Multi
        && let Some(program) = own.programs.first()
    {
        return Some((own, *program));
    }
    for level in above {
        match (Sharing::of(level), level.programs.first()) {
            (Sharing::Multi, _) | (Sharing::Override, Some(_)) => return None,
            (Sharing::Exclusive, Some(program)) => return Some((level, *program)),
            (_, None) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Problem, Unknown, Warning};

    /// Instances of kmesh-lite that a program may belong to: the one of the checks, another, none.
    const US: Option<Owner> = Some(Owner::Instance(7));
    const ANOTHER: Option<Owner> = Some(Owner::Instance(8));
    const KEPT: Option<Owner> = Some(Owner::Earlier);
    const OTHER: Option<Owner> = None;

    type Owners = &'static [Option<Owner>];

    /// A cgroup `/a/b` and those above it, each with how it shares the hook and whose programs it has.
    fn hook(levels: &[(Sharing, Owners)]) -> Occupants {
        let mut occupants = Occupants {
            own: 7,
            ..Occupants::default()
        };
        let level = |(number, (sharing, owners)): (usize, &(Sharing, Owners))| Level {
            cgroup: ["/a/b", "/a", "/"][number].into(),
            flags: *sharing as u32,
            programs: (10 * number as u32..)
                .zip(*owners)
                .map(|(id, owner)| occupants.add(id, *owner))
                .collect(),
        };
        let levels = levels.iter().enumerate().map(level).collect();
        occupants.hooks.push(AtHook {
            hook: "connect4",
            levels,
            effective: Vec::new(),
        });
        occupants
    }

    impl Occupants {
        fn add(&mut self, id: u32, owner: Option<Owner>) -> u32 {
            self.names.insert(id, "foreign".to_owned());
            self.owners.extend(owner.map(|owner| (id, owner)));
            id
        }
    }

    #[test]
    fn links_are_kept_away_by_the_rules_of_the_kernel() {
        use Sharing::{Exclusive, Multi, Override};
        let nobody: (Sharing, Owners) = (Exclusive, &[]);
        for (levels, verdict) in [
            (vec![nobody, nobody, nobody], Fine),
            (vec![(Multi, &[US][..]), nobody, nobody], Fine),
            (vec![(Multi, &[US, KEPT][..]), nobody, nobody], Fine),
            (vec![(Multi, &[US, OTHER][..]), nobody, nobody], Warning),
            (vec![(Exclusive, &[OTHER][..]), nobody, nobody], Problem),
            (vec![(Override, &[OTHER][..]), nobody, nobody], Problem),
            (vec![nobody, (Exclusive, &[OTHER][..]), nobody], Problem),
            (vec![nobody, nobody, (Exclusive, &[OTHER][..])], Problem),
            (vec![nobody, (Override, &[OTHER][..]), nobody], Warning),
            // The nearest program decides.
            (
                vec![nobody, (Multi, &[OTHER][..]), (Exclusive, &[OTHER][..])],
                Warning,
            ),
        ] {
            let check = judge(&Ok(hook(&levels)));
            assert_eq!(check.verdict, verdict, "{levels:?} {check:?}");
        }
    }

    #[test]
    fn a_blocker_is_told_once_with_its_name_and_place() {
        let hook = hook(&[(Sharing::Exclusive, &[]), (Sharing::Exclusive, &[OTHER])]);
        let check = judge(&Ok(hook));
        assert_eq!(check.found.lines().count(), 1, "{check:?}");
        for part in ["`foreign` (id 10)", "cgroup /a ", "`connect4`", "/a/b"] {
            assert!(check.found.contains(part), "{check:?}");
        }
    }

    #[test]
    fn another_kmesh_lite_above_or_below_handles_connects_twice() {
        let hook = hook(&[(Sharing::Multi, &[US]), (Sharing::Multi, &[ANOTHER])]);
        assert_eq!(judge(&Ok(hook)).verdict, Problem);
    }

    #[test]
    fn a_program_above_a_namespace_is_seen_by_its_effect() {
        let mut hook = hook(&[(Sharing::Multi, &[US])]);
        hook.hooks[0].effective = vec![0, 99];
        hook.add(99, OTHER);
        let check = judge(&Ok(hook));
        assert_eq!(check.verdict, Warning);
        assert!(check.found.contains("id 99"), "{check:?}");
    }

    #[test]
    fn a_hook_that_lost_our_program_is_a_problem_and_the_usurper_is_named() {
        for (taken, found) in [
            (&[][..], "detached"),
            (&[OTHER][..], "`foreign` (id 10) is in place of ours"),
            (&[KEPT][..], "detached"),
        ] {
            let mut hooks = hook(&[(Sharing::Multi, &[US])]);
            let mut other = hook(&[(Sharing::Multi, taken)]).hooks.remove(0);
            other.hook = "connect6";
            for program in &mut other.levels[0].programs {
                *program += 10;
            }
            hooks.hooks.push(other);
            for (id, owner) in (10..).zip(taken) {
                hooks.add(id, *owner);
            }
            let check = judge(&Ok(hooks));
            assert_eq!(check.verdict, Problem, "{check:?}");
            assert!(check.found.contains(found), "{check:?}");
        }
    }

    #[test]
    fn hooks_out_of_sight_are_not_fine() {
        let verdict = |unseen| judge(&Err(unseen)).verdict;
        assert_eq!(verdict(Unseen::Denied("CAP_NET_ADMIN")), Unknown);
        assert_eq!(verdict(Unseen::Absent), Problem);
        assert_eq!(verdict(Unseen::Failed("gone".into())), Unknown);
    }
}
