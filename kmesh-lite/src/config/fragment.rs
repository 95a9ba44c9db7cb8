//! Pieces of configuration text, where they come from, and places in them.

use super::decode::{Decoded, decode};
use crate::printable::is_wild;
use std::fmt::{self, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// A larger fragment is refused. The parser needs about forty bytes of memory for each of text; a
/// hundred thousand endpoints take 6 MB, and larger meshes can be split into drop-ins.
pub const LARGEST: u64 = 32 * 1024 * 1024;

/// What a fragment is known by: the path of a file, or the name that another source gives it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(Arc<Path>);

impl Origin {
    pub fn new(name: impl AsRef<Path>) -> Self {
        Self(name.as_ref().into())
    }

    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

/// What a terminal would not show as it is, is escaped: whoever may write a file's name must not write to terminals.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string_lossy().chars() {
            if is_wild(c) {
                c.escape_default().fmt(f)?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// One piece of configuration text.
pub struct Fragment {
    origin: Origin,
    revision: u64,
    pub(super) decoded: Decoded,
    /// Where lines begin. Computed for the first problem: a text without any never needs it.
    lines: OnceLock<Vec<u32>>,
}

impl Fragment {
    /// Other bytes of the same origin have another `revision`. There are at most [`LARGEST`].
    pub(super) fn new(origin: Origin, revision: u64, bytes: Vec<u8>) -> Arc<Self> {
        debug_assert!(bytes.len() as u64 <= LARGEST, "spans have 32 bits");
        Self::decoded(origin, revision, decode(bytes))
    }

    /// One without text.
    pub(super) fn empty(origin: Origin) -> Arc<Self> {
        Self::decoded(origin, 0, Decoded::default())
    }

    fn decoded(origin: Origin, revision: u64, decoded: Decoded) -> Arc<Self> {
        Arc::new(Self {
            origin,
            revision,
            decoded,
            lines: OnceLock::new(),
        })
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The bytes as text; where they are not, so much of it as could be made out.
    pub fn text(&self) -> &str {
        &self.decoded.text
    }

    /// Line and column of a byte, both from 0; the column counts characters.
    pub fn position(&self, offset: u32) -> (usize, usize) {
        let line = self.lines().partition_point(|start| *start <= offset) - 1;
        let start = self.lines()[line] as usize;
        let end = self.text().floor_char_boundary(offset as usize);
        let column = self.text().get(start..end).map_or(0, |t| t.chars().count());
        (line, column)
    }

    /// The bytes of lines `first` to `last`, counted from 0, without the last line's end.
    pub fn line_range(&self, first: usize, last: usize) -> std::ops::Range<usize> {
        let lines = self.lines();
        let start = lines[first] as usize;
        let end = lines
            .get(last + 1)
            .map_or(self.text().len(), |next| *next as usize - 1);
        start..end
    }

    fn lines(&self) -> &[u32] {
        self.lines.get_or_init(|| {
            let ends = self.text().match_indices('\n');
            let starts = ends.map(|(at, _)| u32::try_from(at + 1).unwrap_or(u32::MAX));
            std::iter::once(0).chain(starts).collect()
        })
    }
}

impl fmt::Debug for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at revision {}", self.origin, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_no_command_to_a_terminal() {
        let origin = Origin::new("/etc/mesh.d/\u{1b}]0;x\u{7}\nä.toml");
        assert_eq!(origin.to_string(), "/etc/mesh.d/\\u{1b}]0;x\\u{7}\\nä.toml");
    }

    #[test]
    fn columns_count_characters() {
        let fragment = Fragment::new(Origin::new("f"), 0, "a\nßé = 1\n".into());
        let at = |text: &str| fragment.text().find(text).unwrap() as u32;
        assert_eq!(fragment.position(at("a")), (0, 0));
        assert_eq!(fragment.position(at("= 1")), (1, 3));
        assert_eq!(fragment.position(fragment.text().len() as u32), (2, 0));
        assert_eq!(fragment.line_range(1, 1), 2..fragment.text().len() - 1);
        assert_eq!(&fragment.text()[fragment.line_range(2, 2)], "");
    }
}
