//! Who else is at our hooks.

use super::{Check, Finding};
use std::fmt;
use std::path::{Path, PathBuf};

/// One of our hooks, seen from a cgroup that is, or would be, attached to.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The program of ours that belongs there.
    pub name: &'static str,
    /// The cgroup, then those above it up to the root.
    pub levels: Vec<Level>,
    /// Whatever runs there, wherever it is attached.
    pub effective: Vec<Program>,
}

/// What is attached to a cgroup itself.
#[derive(Clone, Debug)]
pub struct Level {
    pub cgroup: PathBuf,
    pub sharing: Sharing,
    pub programs: Vec<Program>,
}

/// How the programs of a cgroup share a hook (BPF_PROG_ATTACH of linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// With nobody, here or below.
    Exclusive,
    /// Whoever attaches below takes the place of it there.
    Override,
    /// All run. So are links.
    Multi,
}

impl Sharing {
    pub fn from_flags(flags: u32) -> Self {
        const BPF_F_ALLOW_OVERRIDE: u32 = 1;
        const BPF_F_ALLOW_MULTI: u32 = 2;
        match flags {
            _ if flags & BPF_F_ALLOW_MULTI != 0 => Self::Multi,
            _ if flags & BPF_F_ALLOW_OVERRIDE != 0 => Self::Override,
            _ => Self::Exclusive,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub id: u32,
    /// As far as it may be known.
    pub name: Option<String>,
    pub owner: Owner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The daemon this is about.
    Us,
    /// Another kmesh-lite.
    Another,
    Other,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "program `{name}` (id {})", self.id),
            None => write!(f, "program {}", self.id),
        }
    }
}

/// Why the hooks could not be looked at.
#[derive(Clone, Debug)]
pub enum Unseen {
    /// These capabilities are missing.
    Denied(String),
    /// The kernel has no such hooks (EINVAL).
    Absent,
    Failed(String),
}

pub fn check(hooks: Result<&[Hook], Unseen>) -> Check {
    let findings = match hooks {
        Ok(hooks) => {
            let mut findings: Vec<_> = hooks.iter().flat_map(findings).collect();
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

fn findings(hook: &Hook) -> Vec<Finding> {
    let mut findings = Vec::new();
    let blocked = blocker(&hook.levels);
    if let Some((level, program)) = blocked {
        findings.push(blocks(hook, level, program));
    }
    let foreign = |program: &&Program| program.owner != Owner::Us;
    for level in &hook.levels {
        let is_blocker =
            |program: &&Program| blocked.is_none_or(|(_, blocker)| blocker != *program);
        let others = level.programs.iter().filter(foreign).filter(is_blocker);
        findings.extend(others.map(|program| shares(hook, &level.cgroup, program)));
    }
    let seen = |program: &&Program| {
        let mut all = hook.levels.iter().flat_map(|level| &level.programs);
        all.all(|other| other.id != program.id)
    };
    // Attached above what a cgroup namespace shows.
    let above = hook.effective.iter().filter(foreign).filter(seen);
    findings.extend(above.map(|program| shares(hook, Path::new("/.."), program)));
    findings
}

/// What keeps our link from being made, in the kernel's own order (hierarchy_allows_attach() in
/// kernel/bpf/cgroup.c).
fn blocker(levels: &[Level]) -> Option<(&Level, &Program)> {
    let (own, above) = levels.split_first()?;
    if own.sharing != Sharing::Multi
        && let Some(program) = own.programs.first()
    {
        return Some((own, program));
    }
    for level in above {
        match (level.sharing, level.programs.first()) {
            (Sharing::Multi, _) | (Sharing::Override, Some(_)) => return None,
            (Sharing::Exclusive, Some(program)) => return Some((level, program)),
            (_, None) => {}
        }
    }
    None
}

fn blocks(hook: &Hook, level: &Level, program: &Program) -> Finding {
    let (at, path) = (level.cgroup.display(), hook.path());
    Finding::problem(
        format!(
            "{program} holds the hook of `{}` of cgroup {at} exclusively: nothing else can be attached to {path}",
            hook.name
        ),
        format!(
            "have its owner attach it with a link or BPF_F_ALLOW_MULTI, stop its owner, or leave {path} out of \
             [capture] cgroups (`bpftool cgroup tree {at}` shows it)"
        ),
    )
}

fn shares(hook: &Hook, cgroup: &Path, program: &Program) -> Finding {
    let at = cgroup.display();
    if program.owner == Owner::Another {
        return Finding::problem(
            format!(
                "{program} of another kmesh-lite is at the hook of `{}` of cgroup {at}, so connects of {} are \
                 handled twice",
                hook.name,
                hook.path()
            ),
            "stop one of the two, or give each its own [capture] cgroups, none above the other's",
        );
    }
    Finding::warning(
        format!(
            "{program} is at the hook of `{}` of cgroup {at} as well",
            hook.name
        ),
        "find out whose it is (`bpftool prog show`): both may rewrite a connect, and the second one sees what \
         the first one chose",
    )
}

impl Hook {
    fn path(&self) -> String {
        let innermost = self.levels.first();
        innermost.map_or_else(String::new, |level| level.cgroup.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Problem, Unknown, Warning};

    fn program(id: u32, owner: Owner) -> Program {
        Program {
            id,
            name: Some("foreign".to_owned()),
            owner,
        }
    }

    /// A cgroup `/a/b` and those above it, each with how it shares the hook and whose programs it has.
    fn hook(levels: &[(Sharing, &[Owner])]) -> Hook {
        let paths = ["/a/b", "/a", "/"];
        let level = |(number, (sharing, owners)): (usize, &(Sharing, &[Owner]))| Level {
            cgroup: paths[number].into(),
            sharing: *sharing,
            programs: owners
                .iter()
                .zip(10 * number as u32..)
                .map(|(owner, id)| program(id, *owner))
                .collect(),
        };
        Hook {
            name: "connect4",
            levels: levels.iter().enumerate().map(level).collect(),
            effective: Vec::new(),
        }
    }

    #[test]
    fn what_keeps_links_away_is_what_the_kernel_says() {
        use Owner::{Other, Us};
        use Sharing::{Exclusive, Multi, Override};
        let nobody: (Sharing, &[Owner]) = (Exclusive, &[]);
        for (levels, verdict) in [
            (vec![nobody, nobody, nobody], Fine),
            (vec![(Multi, &[Us][..]), nobody, nobody], Fine),
            (vec![(Multi, &[Us, Other][..]), nobody, nobody], Warning),
            (vec![(Exclusive, &[Other][..]), nobody, nobody], Problem),
            (vec![(Override, &[Other][..]), nobody, nobody], Problem),
            (vec![nobody, (Exclusive, &[Other][..]), nobody], Problem),
            (vec![nobody, nobody, (Exclusive, &[Other][..])], Problem),
            (vec![nobody, (Override, &[Other][..]), nobody], Warning),
            // Whoever is nearer decides.
            (
                vec![nobody, (Multi, &[Other][..]), (Exclusive, &[Other][..])],
                Warning,
            ),
        ] {
            let hook = hook(&levels);
            let check = check(Ok(&[hook]));
            assert_eq!(check.verdict, verdict, "{levels:?} {check:?}");
        }
    }

    #[test]
    fn a_blocker_is_told_once_with_its_name_and_place() {
        let hook = hook(&[
            (Sharing::Exclusive, &[]),
            (Sharing::Exclusive, &[Owner::Other]),
        ]);
        let check = check(Ok(&[hook]));
        assert_eq!(check.found.lines().count(), 1, "{check:?}");
        for part in ["`foreign` (id 10)", "cgroup /a ", "`connect4`", "/a/b"] {
            assert!(check.found.contains(part), "{check:?}");
        }
    }

    #[test]
    fn another_kmesh_lite_above_or_below_handles_connects_twice() {
        let hook = hook(&[
            (Sharing::Multi, &[Owner::Us]),
            (Sharing::Multi, &[Owner::Another]),
        ]);
        assert_eq!(check(Ok(&[hook])).verdict, Problem);
    }

    #[test]
    fn what_is_above_a_namespace_is_seen_by_its_effect() {
        let mut hook = hook(&[(Sharing::Multi, &[Owner::Us])]);
        hook.effective = vec![program(0, Owner::Us), program(99, Owner::Other)];
        let check = check(Ok(&[hook]));
        assert_eq!(check.verdict, Warning);
        assert!(check.found.contains("id 99"), "{check:?}");
    }

    #[test]
    fn what_may_not_be_looked_at_is_not_fine() {
        let verdict = |unseen| check(Err(unseen)).verdict;
        assert_eq!(verdict(Unseen::Denied("CAP_NET_ADMIN".into())), Unknown);
        assert_eq!(verdict(Unseen::Absent), Problem);
        assert_eq!(verdict(Unseen::Failed("gone".into())), Unknown);
    }
}
