//! What is wrong with the files, or worth knowing about them.

use super::source::{Place, Source, Span};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How much a problem matters. Only errors keep a configuration from being applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing is applied until it is mended.
    Error,
    /// Valid, but hardly what was meant.
    Warning,
    /// Valid, and perhaps a surprise.
    Note,
}

impl Severity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One problem, with its places.
#[derive(Clone, Debug)]
pub struct Problem {
    pub severity: Severity,
    pub message: String,
    pub place: Place,
    /// What should stand there instead.
    pub expected: Option<String>,
    /// Other places that take part.
    pub related: Vec<Related>,
    /// What to do.
    pub help: Option<String>,
}

/// Another place that takes part in a problem.
#[derive(Clone, Debug)]
pub struct Related {
    pub place: Place,
    pub message: String,
}

impl Problem {
    pub(super) fn new(severity: Severity, place: Place, message: impl Into<String>) -> Self {
        Self {
            severity,
            message: message.into(),
            place,
            expected: None,
            related: Vec::new(),
            help: None,
        }
    }

    pub(super) fn error(source: &Arc<Source>, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, Place::new(source, span), message)
    }

    /// A file that could not be read at all.
    pub(super) fn unreadable(path: &Path, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, Place::whole(path), message)
    }

    pub(super) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn help_if(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    pub(super) fn related(mut self, place: Place, message: impl Into<String>) -> Self {
        self.related.push(Related {
            place,
            message: message.into(),
        });
        self
    }

    pub fn file(&self) -> &Path {
        self.place.file()
    }

    /// Counted from 1; `None` if the problem is the file itself.
    pub fn line(&self) -> Option<usize> {
        self.place.line()
    }

    /// In characters, counted from 1.
    pub fn column(&self) -> Option<usize> {
        self.place.column()
    }
}

/// One line: severity, place, message.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.severity, self.message)
    }
}

/// Problems in the order of the files and of the text in them.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn in_order(mut list: Vec<Problem>, files: &[PathBuf]) -> Self {
        let positions = files.iter().enumerate();
        let positions: BTreeMap<&Path, usize> = positions.map(|(n, f)| (f.as_path(), n)).collect();
        let order = |problem: &Problem| {
            let file = positions.get(problem.file()).copied();
            (file, problem.place.span.map(|span| span.start))
        };
        if list.len() > 1 {
            list.sort_by_cached_key(order);
            // A shared value may be wrong for each of its users in the same way.
            list.dedup_by(|a, b| {
                a.place.span == b.place.span && a.message == b.message && a.file() == b.file()
            });
        }
        Self { list }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.iter().filter(|p| p.severity == severity).count()
    }

    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) != 0
    }

    /// Those of one severity, in order.
    pub fn only(&self, severity: Severity) -> Self {
        self.iter()
            .filter(|p| p.severity == severity)
            .cloned()
            .collect()
    }

    /// The first error, on one line, and how many more there are; for logs and `STATUS=`.
    pub fn headline(&self) -> Option<String> {
        let first = self.iter().find(|p| p.severity == Severity::Error)?;
        Some(match self.count(Severity::Error) {
            1 => first.to_string(),
            errors => format!("{first} (and {} more)", errors - 1),
        })
    }
}

impl FromIterator<Problem> for Problems {
    fn from_iter<I: IntoIterator<Item = Problem>>(list: I) -> Self {
        Self {
            list: list.into_iter().collect(),
        }
    }
}

impl Extend<Problem> for Problems {
    fn extend<I: IntoIterator<Item = Problem>>(&mut self, more: I) {
        self.list.extend(more);
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
