//! Which questions a reader of `GET /v1/trace/dns` wants.

use crate::api::{QueryEvent, QueryOutcome};

/// The longest name, each byte of which is escaped.
const LONGEST: usize = 4 * 254;

/// Those that agree with everything that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryFilter {
    /// Whose name it is.
    pub service: Option<String>,
    pub name: Option<NamePattern>,
    pub outcome: Option<QueryOutcome>,
}

impl QueryFilter {
    pub fn lets(&self, event: &QueryEvent) -> bool {
        let is_of = |wanted: &String| event.service.as_ref() == Some(wanted);
        let is_called =
            |wanted: &NamePattern| event.name.as_deref().is_some_and(|it| wanted.matches(it));
        self.service.as_ref().is_none_or(is_of)
            && self.name.as_ref().is_none_or(is_called)
            && self.outcome.is_none_or(|it| event.outcome == Some(it))
    }
}

/// One name, or all that are below one. As DNS has it, small and capital letters are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    Exactly(String),
    Below(String),
}

impl NamePattern {
    /// Of `web.mesh` or `*.mesh`, as names of events are written; or why no name is like that.
    pub fn read(text: &str) -> Result<Self, String> {
        let is_strange = |c: &char| !c.is_ascii_graphic();
        if let Some(strange) = text.chars().find(is_strange) {
            return Err(format!(
                "no name has {strange:?} here: letters of other alphabets are written as in `xn--bcher-kva`, and other bytes by \
                 their numbers, as in `\\032` for a blank"
            ));
        }
        let name = match text.strip_suffix('.') {
            // A dot that is escaped is no end.
            Some(rest) if !rest.is_empty() && !ends_in_escape(rest) => rest,
            _ => text,
        };
        if name.is_empty() {
            return Err("a name is expected, such as `web.mesh`, or `*.mesh` for all below `mesh`; `.` is the root".to_owned());
        }
        if name.len() > LONGEST {
            return Err("no name is as long as that".to_owned());
        }
        Ok(match name.strip_prefix("*.") {
            Some(above) if !above.is_empty() => Self::Below(above.to_owned()),
            _ => Self::Exactly(name.to_owned()),
        })
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exactly(wanted) => name.eq_ignore_ascii_case(wanted),
            Self::Below(above) => {
                let rest = name.len().checked_sub(above.len() + 1);
                let parts = rest.and_then(|at| name.split_at_checked(at));
                parts.is_some_and(|(below, rest)| {
                    rest.strip_prefix('.')
                        .is_some_and(|rest| rest.eq_ignore_ascii_case(above))
                        && !below.is_empty()
                        && !ends_in_escape(below)
                })
            }
        }
    }
}

/// Whether what follows a text is escaped by it.
fn ends_in_escape(text: &str) -> bool {
    let backslashes = text.bytes().rev().take_while(|byte| *byte == b'\\').count();
    backslashes % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        NamePattern::read(pattern).unwrap().matches(name)
    }

    #[test]
    fn a_pattern_is_one_name_or_all_that_are_below_one() {
        assert!(matches("web.mesh", "Web.MESH"));
        assert!(matches("WEB.mesh.", "web.mesh"));
        assert!(!matches("web.mesh", "a.web.mesh") && !matches("web.mesh", "web.meshe"));
        for name in ["web.mesh", "a.b.MESH", "\\042.mesh", "a\\\\.mesh"] {
            assert!(matches("*.mesh", name), "{name}");
        }
        // The last one is a single label, with a dot in it.
        for name in ["mesh", ".mesh", "smesh", "web.mesh.example", "a\\.mesh"] {
            assert!(!matches("*.mesh", name), "{name}");
        }
        assert!(matches(".", ".") && !matches(".", "mesh"));
        assert!(matches("a\\.", "A\\."));
    }

    #[test]
    fn what_is_no_name_is_told_with_what_is_expected() {
        let said = |text: &str| NamePattern::read(text).unwrap_err();
        assert!(
            said("bücher.mesh").contains("'ü'"),
            "{}",
            said("bücher.mesh")
        );
        assert!(said("a b").contains("`\\032`"));
        assert!(said("").contains("`*.mesh`"));
        assert!(said("\u{1b}[2J").contains("\\u{1b}"), "escaped");
        assert!(said(&"a".repeat(2_000)).contains("as long"));
    }

    #[test]
    fn a_filter_lets_what_agrees_with_all_of_it() {
        let event = QueryEvent {
            outcome: Some(QueryOutcome::Answered),
            name: Some("web.mesh".to_owned()),
            service: Some("web".to_owned()),
            ..QueryEvent::default()
        };
        let filter = |service: &str, name: &str, outcome| QueryFilter {
            service: Some(service.to_owned()),
            name: NamePattern::read(name).ok(),
            outcome: Some(outcome),
        };
        assert!(QueryFilter::default().lets(&event));
        assert!(QueryFilter::default().lets(&QueryEvent::default()));
        assert!(filter("web", "*.mesh", QueryOutcome::Answered).lets(&event));
        for other in [
            filter("db", "*.mesh", QueryOutcome::Answered),
            filter("web", "db.mesh", QueryOutcome::Answered),
            filter("web", "*.mesh", QueryOutcome::Nodata),
        ] {
            assert!(!other.lets(&event), "{other:?}");
            assert!(!other.lets(&QueryEvent::default()), "{other:?}");
        }
    }
}
