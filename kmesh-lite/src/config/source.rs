//! Text of a file, and places in it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Bytes of a file's text, from `start` to before `end`. 32 bits: files are far smaller than that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Self {
        let offset = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            start: offset(range.start),
            end: offset(range.end),
        }
    }
}

/// One file as it was read.
pub struct Source {
    path: PathBuf,
    text: String,
    /// Where lines begin. Computed for the first problem: a file without any never needs it.
    lines: OnceLock<Vec<u32>>,
}

impl Source {
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            path: path.into(),
            text: text.into(),
            lines: OnceLock::new(),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte, both from 0; the column counts characters.
    pub fn position(&self, offset: u32) -> (usize, usize) {
        let line = self.lines().partition_point(|start| *start <= offset) - 1;
        let start = self.lines()[line] as usize;
        let end = self.text.floor_char_boundary(offset as usize);
        let column = self.text.get(start..end).map_or(0, |t| t.chars().count());
        (line, column)
    }

    /// The bytes of lines `first` to `last`, counted from 0, without the last line's end.
    pub fn line_range(&self, first: usize, last: usize) -> std::ops::Range<usize> {
        let lines = self.lines();
        let start = lines[first] as usize;
        let end = lines
            .get(last + 1)
            .map_or(self.text.len(), |next| *next as usize - 1);
        start..end
    }

    fn lines(&self) -> &[u32] {
        self.lines.get_or_init(|| {
            let ends = self.text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
            let starts = ends.map(|(at, _)| u32::try_from(at + 1).unwrap_or(u32::MAX));
            std::iter::once(0).chain(starts).collect()
        })
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// A file, or some of its text.
#[derive(Clone, Debug)]
pub struct Place {
    pub(super) source: Arc<Source>,
    pub(super) span: Option<Span>,
}

impl Place {
    pub(super) fn new(source: &Arc<Source>, span: Span) -> Self {
        Self {
            source: Arc::clone(source),
            span: Some(span),
        }
    }

    /// A file that has no text to point at.
    pub(super) fn whole(path: &Path) -> Self {
        Self {
            source: Source::new(path, ""),
            span: None,
        }
    }

    pub fn file(&self) -> &Path {
        self.source.path()
    }

    /// Counted from 1; `None` if the problem is the file itself.
    pub fn line(&self) -> Option<usize> {
        self.span.map(|span| self.source.position(span.start).0 + 1)
    }

    /// In characters, counted from 1.
    pub fn column(&self) -> Option<usize> {
        self.span.map(|span| self.source.position(span.start).1 + 1)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file().display())?;
        match (self.line(), self.column()) {
            (Some(line), Some(column)) => write!(f, ":{line}:{column}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let source = Source::new("f", "a\nßé = 1\n");
        let at = |text: &str| source.text().find(text).unwrap() as u32;
        assert_eq!(source.position(at("a")), (0, 0));
        assert_eq!(source.position(at("= 1")), (1, 3));
        assert_eq!(source.position(source.text().len() as u32), (2, 0));
        assert_eq!(source.line_range(1, 1), 2..source.text().len() - 1);
        assert_eq!(&source.text()[source.line_range(2, 2)], "");
    }
}
