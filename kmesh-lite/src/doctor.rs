//! What may stand in the way of the daemon: checks, each with a verdict and what to do.
//!
//! In: what the machine says, as plain values and text; whoever calls has asked. Out: a [`Report`].
//! Nothing here looks at anything itself, so that every verdict can be had without the machine it
//! is about.

pub mod capability;
pub mod cgroup;
pub mod files;
pub mod hooks;
pub mod kernel;
pub mod links;
pub mod programs;
pub mod security;
pub mod socket;
pub mod unit;

use serde::Serialize;

/// How it is with one thing. The order is that of weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Fine,
    /// It cannot be told, mostly because whoever asks may not look.
    Unknown,
    /// It works, and not as it should.
    Warning,
    /// It does not work, or will not after a restart.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stays what it is, for programs to go by.
    pub name: &'static str,
    pub verdict: Verdict,
    /// May have several lines.
    pub found: String,
    /// None for what is fine.
    pub todo: Option<String>,
}

/// What became of one part of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    pub found: String,
    pub todo: Option<String>,
}

impl Finding {
    pub fn fine(found: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fine,
            found: found.into(),
            todo: None,
        }
    }

    pub fn unknown(found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::other(Verdict::Unknown, found, todo)
    }

    pub fn warning(found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::other(Verdict::Warning, found, todo)
    }

    pub fn problem(found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::other(Verdict::Problem, found, todo)
    }

    fn other(verdict: Verdict, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self {
            verdict,
            found: found.into(),
            todo: Some(todo.into()),
        }
    }

    /// The check of which this is all.
    pub fn named(self, name: &'static str) -> Check {
        Check {
            name,
            verdict: self.verdict,
            found: self.found,
            todo: self.todo,
        }
    }
}

impl Check {
    /// Of several findings: those that weigh most speak first, and what is fine only if all is.
    pub fn of(name: &'static str, mut findings: Vec<Finding>) -> Self {
        let verdict = findings
            .iter()
            .map(|finding| finding.verdict)
            .max()
            .unwrap_or(Verdict::Fine);
        if verdict > Verdict::Fine {
            findings.retain(|finding| finding.verdict > Verdict::Fine);
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
        Self {
            name,
            verdict,
            found: lines(findings.iter().map(|finding| finding.found.as_str())),
            todo: Some(lines(
                findings
                    .iter()
                    .filter_map(|finding| finding.todo.as_deref()),
            ))
            .filter(|todo| !todo.is_empty()),
        }
    }
}

/// One below the other, each once.
fn lines<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for text in texts {
        if !lines.contains(&text) {
            lines.push(text);
        }
    }
    lines.join("\n")
}

/// All checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The worst of all; what cannot be told does not count.
    pub verdict: Verdict,
    /// From the kernel upwards: what is broken further down may be why the rest is.
    pub checks: Vec<Check>,
}

impl Report {
    pub fn new(checks: Vec<Check>) -> Self {
        let known = checks.iter().map(|check| check.verdict);
        let known = known.filter(|verdict| *verdict != Verdict::Unknown);
        Self {
            verdict: known.max().unwrap_or(Verdict::Fine),
            checks,
        }
    }

    /// "fine", or "2 problems, 1 warning".
    pub fn headline(&self) -> String {
        let count = |verdict| {
            let all = self.checks.iter().filter(|check| check.verdict == verdict);
            all.count()
        };
        let mut parts = Vec::new();
        if self.verdict == Verdict::Fine {
            parts.push("fine".to_owned());
        }
        for (verdict, one) in [(Verdict::Problem, "problem"), (Verdict::Warning, "warning")] {
            match count(verdict) {
                0 => {}
                1 => parts.push(format!("1 {one}")),
                n => parts.push(format!("{n} {one}s")),
            }
        }
        match count(Verdict::Unknown) {
            0 => {}
            n => parts.push(format!("{n} not known")),
        }
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verdict: Verdict) -> Check {
        Finding::other(verdict, "something", "do it").named("thing")
    }

    #[test]
    fn the_verdict_comes_first_and_counts() {
        use Verdict::{Fine, Problem, Unknown, Warning};
        for (verdicts, worst, headline) in [
            (vec![Fine, Fine], Fine, "fine"),
            (vec![Fine, Unknown], Fine, "fine, 1 not known"),
            (vec![Warning, Fine], Warning, "1 warning"),
            (
                vec![Warning, Problem, Unknown, Problem],
                Problem,
                "2 problems, 1 warning, 1 not known",
            ),
        ] {
            let report = Report::new(verdicts.into_iter().map(check).collect());
            assert_eq!(report.verdict, worst);
            assert_eq!(report.headline(), headline);
        }
    }

    #[test]
    fn of_several_findings_the_worst_leads() {
        let all = Check::of(
            "thing",
            vec![
                Finding::fine("one is fine"),
                Finding::warning("two is odd", "look"),
                Finding::problem("three is broken", "mend it"),
                Finding::problem("four is broken", "mend it"),
            ],
        );
        assert_eq!(all.verdict, Verdict::Problem);
        assert_eq!(all.found, "three is broken\nfour is broken\ntwo is odd");
        assert_eq!(all.todo.as_deref(), Some("mend it\nlook"));
        let fine = Check::of("thing", vec![Finding::fine("a"), Finding::fine("b")]);
        assert_eq!((fine.found.as_str(), fine.todo), ("a\nb", None));
    }

    #[test]
    fn the_json_has_a_stable_shape() {
        let report = Report::new(vec![
            Finding::fine("6.1.0").named("kernel"),
            Finding::unknown("not root", "be root").named("links"),
        ]);
        assert_eq!(
            serde_json::to_value(report).unwrap(),
            serde_json::json!({
                "verdict": "fine",
                "checks": [
                    {"name": "kernel", "verdict": "fine", "found": "6.1.0", "todo": null},
                    {"name": "links", "verdict": "unknown", "found": "not root", "todo": "be root"},
                ],
            })
        );
    }
}
