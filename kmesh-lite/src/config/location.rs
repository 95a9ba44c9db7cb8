//! Places in configuration text.

use super::fragment::{Fragment, Origin};
use super::span::Span;
use std::fmt;
use std::sync::Arc;

/// A fragment, or some of its text.
#[derive(Clone, Debug)]
pub struct Location {
    pub fragment: Arc<Fragment>,
    pub span: Option<Span>,
}

impl Location {
    pub(super) fn new(fragment: &Arc<Fragment>, span: Span) -> Self {
        Self {
            fragment: Arc::clone(fragment),
            span: Some(span),
        }
    }

    /// One that has no text to point at.
    pub fn whole(origin: Origin) -> Self {
        Self {
            fragment: Fragment::empty(origin),
            span: None,
        }
    }

    pub fn origin(&self) -> &Origin {
        self.fragment.origin()
    }

    /// Counted from 1; `None` if it is the whole fragment.
    pub fn line(&self) -> Option<usize> {
        self.span
            .map(|span| self.fragment.position(span.start).0 + 1)
    }

    /// In characters, counted from 1.
    pub fn column(&self) -> Option<usize> {
        self.span
            .map(|span| self.fragment.position(span.start).1 + 1)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin().fmt(f)?;
        match (self.line(), self.column()) {
            (Some(line), Some(column)) => write!(f, ":{line}:{column}"),
            _ => Ok(()),
        }
    }
}
