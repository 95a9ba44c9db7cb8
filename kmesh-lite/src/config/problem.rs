//! Problems of the configuration, and hints about it.

use super::fragment::{Fragment, LARGEST, Origin};
use super::location::Location;
use super::span::Span;
use std::collections::BTreeMap;
use std::fmt;
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
    pub place: Location,
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
    pub place: Location,
    pub message: String,
}

impl Problem {
    pub fn new(severity: Severity, place: Location, message: impl Into<String>) -> Self {
        Self {
            severity,
            message: message.into(),
            place,
            expected: None,
            related: Vec::new(),
            help: None,
        }
    }

    pub(super) fn error(fragment: &Arc<Fragment>, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, Location::new(fragment, span), message)
    }

    /// A fragment that could not be read at all.
    pub fn unreadable(origin: Origin, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, Location::whole(origin), message)
    }

    /// `size` follows "this file has".
    pub fn too_large(origin: Origin, size: &str) -> Self {
        let most = LARGEST >> 20;
        let message = format!("this file has {size}; the largest that is read has {most} MiB");
        Self::unreadable(origin, message).help("split a large mesh into files in `mesh.d/`")
    }

    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn help_if(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    pub(super) fn related(mut self, place: Location, message: impl Into<String>) -> Self {
        self.related.push(Related {
            place,
            message: message.into(),
        });
        self
    }

    /// Whether all of its places are within a part of a fragment.
    pub(super) fn is_within(&self, fragment: &Arc<Fragment>, part: Span) -> bool {
        let related = self.related.iter().map(|related| &related.place);
        std::iter::once(&self.place).chain(related).all(|place| {
            Arc::ptr_eq(&place.fragment, fragment) && place.span.is_some_and(|it| part.holds(it))
        })
    }

    /// Moves all of its places with a part of a fragment that they are within. `to` is where the part begins
    /// now.
    pub(super) fn move_with(&mut self, part: Span, (fragment, to): (&Arc<Fragment>, u32)) {
        let related = self.related.iter_mut().map(|related| &mut related.place);
        for place in std::iter::once(&mut self.place).chain(related) {
            place.fragment = Arc::clone(fragment);
            if let Some(span) = &mut place.span {
                *span = span.moved_back(part.start).moved_on(to);
            }
        }
    }

    pub fn origin(&self) -> &Origin {
        self.place.origin()
    }

    /// Counted from 1; `None` if the problem is the whole fragment.
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

/// Problems in the order of the fragments and of the text in them.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn in_order(mut list: Vec<Problem>, origins: &[Origin]) -> Self {
        let positions = origins.iter().enumerate();
        let positions: BTreeMap<&Origin, usize> = positions.map(|(n, it)| (it, n)).collect();
        let order = |problem: &Problem| {
            let position = positions.get(problem.origin()).copied();
            (position, problem.place.span.map(|span| span.start))
        };
        if list.len() > 1 {
            list.sort_by_cached_key(order);
            // A shared value may be wrong for each of its users in the same way.
            list.dedup_by(|a, b| {
                a.place.span == b.place.span && a.message == b.message && a.origin() == b.origin()
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
}
