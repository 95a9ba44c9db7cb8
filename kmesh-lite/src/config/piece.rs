//! Fragments in pieces that are parsed by themselves, so that an edit costs what it touches.

use super::fragment::Fragment;
use super::location::Location;
use super::lower::Lowered;
use super::parallel;
use super::parse::{Parsed, parse, read};
use super::read::At;
use super::span::Span;
use super::split::{Part, split};
use crate::model::Name;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// Where a piece begins in the text of its fragment. Spans of what was read from it count from there, so
/// that they stay as they are when something is written before it.
#[derive(Clone, Copy, Debug)]
pub struct Anchor<'a> {
    pub fragment: &'a Arc<Fragment>,
    pub start: u32,
}

impl<'a> Anchor<'a> {
    pub fn of(fragment: &'a Arc<Fragment>) -> Self {
        Self { fragment, start: 0 }
    }

    pub fn place(self, span: Span) -> Location {
        Location::new(self.fragment, span.moved_on(self.start))
    }
}

/// Text that is a document by itself, and what came of it.
#[derive(Debug)]
pub struct Piece {
    fragment: Arc<Fragment>,
    span: Span,
    /// What it defines.
    keys: Box<[Key]>,
    /// The service, if the piece is one and nothing else. Such a piece is all that its meaning depends on, but
    /// for the pieces that are none.
    service: Option<At<Name>>,
    parsed: OnceCell<Arc<Parsed>>,
    /// What the service means, if that is known.
    pub lowered: RefCell<Option<Lowered>>,
}

/// A hash of the name of a table or an entry. Where two are the same by chance, the fragment is parsed as a
/// whole, which is right as well.
type Key = u64;

fn hash(table: &str, entry: Option<&str>) -> Key {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((table, entry))
}

impl Piece {
    /// All of a fragment.
    fn whole(fragment: &Arc<Fragment>) -> Self {
        Self {
            fragment: Arc::clone(fragment),
            span: (0..fragment.text().len()).into(),
            keys: Box::default(),
            service: None,
            parsed: OnceCell::from(Arc::new(parse(fragment))),
            lowered: RefCell::default(),
        }
    }

    /// A part of a fragment. None if it is no document.
    fn read(fragment: &Arc<Fragment>, part: &Part<'_>) -> Option<Self> {
        let span = Span::from(part.range.clone());
        let (keys, parsed) = document(fragment, span, &part.tables)?;
        let service = match &parsed.text.as_ref()?.services {
            Some(services) if part.is_service => services.entries.first(),
            _ => None,
        };
        Some(Self {
            fragment: Arc::clone(fragment),
            span,
            keys,
            service: service.map(|(name, _)| At {
                span: name.span,
                value: name.value.clone(),
            }),
            parsed: OnceCell::from(Arc::new(parsed)),
            lowered: RefCell::default(),
        })
    }

    pub fn anchor(&self) -> Anchor<'_> {
        Anchor {
            fragment: &self.fragment,
            start: self.span.start,
        }
    }

    pub fn service(&self) -> Option<&At<Name>> {
        self.service.as_ref()
    }

    /// What it says. Of a service whose meaning is known that is read again from its text.
    pub fn parsed(&self) -> &Arc<Parsed> {
        self.parsed.get_or_init(|| {
            let read = document(&self.fragment, self.span, &[]);
            Arc::new(read.map(|(_, parsed)| parsed).unwrap_or_default())
        })
    }

    /// What there is to say about its text. What was forgotten has no problems.
    pub fn kept(&self) -> Option<&Arc<Parsed>> {
        self.parsed.get()
    }

    /// Forgets all but the meaning of a service, if that is known: the text says the rest.
    pub fn forget_text(&mut self) {
        let has_problems = self.kept().is_some_and(|it| !it.problems.is_empty());
        if self.lowered.get_mut().is_some() && !has_problems {
            self.parsed.take();
        }
    }

    fn text(&self) -> &str {
        &self.fragment.text()[self.span.range()]
    }

    /// The same piece at another place, if it can be known what that changes.
    fn moved(mut self, fragment: &Arc<Fragment>, part: &Part<'_>) -> Option<Self> {
        let said = self.kept().is_some_and(|it| !it.problems.is_empty());
        if said {
            return None;
        }
        let span = Span::from(part.range.clone());
        if let Some(lowered) = self.lowered.get_mut() {
            for problem in &mut lowered.problems {
                problem.move_with(self.span, (fragment, span.start));
            }
        }
        self.fragment = Arc::clone(fragment);
        self.span = span;
        Some(self)
    }

    /// Whether all places of its problems are in it.
    pub fn holds_problems(&self, lowered: &Lowered) -> bool {
        let mut problems = lowered.problems.iter();
        problems.all(|it| it.is_within(&self.fragment, self.span))
    }
}

/// Reads a part of a fragment, and says what it defines.
fn document(fragment: &Arc<Fragment>, span: Span, tables: &[&str]) -> Option<(Box<[Key]>, Parsed)> {
    #[cfg(test)]
    DOCUMENTS.set(DOCUMENTS.get() + 1);
    let document = DeTable::parse(&fragment.text()[span.range()]).ok()?;
    let mut keys: Vec<_> = tables.iter().map(|table| hash(table, None)).collect();
    for (table, value) in document.get_ref() {
        if let DeValue::Table(entries) = value.get_ref() {
            let entries = entries.keys().map(|entry| entry.get_ref().as_ref());
            keys.extend(entries.map(|entry| hash(table.get_ref(), Some(entry))));
        }
    }
    let anchor = Anchor {
        fragment,
        start: span.start,
    };
    Some((keys.into(), read(anchor, document)))
}

#[cfg(test)]
thread_local! {
    static DOCUMENTS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How many parts this thread has read.
#[cfg(test)]
pub fn documents_read() -> usize {
    DOCUMENTS.get()
}

/// A fragment in pieces.
#[derive(Debug)]
pub struct Pieces {
    pub fragment: Arc<Fragment>,
    pub list: Vec<Piece>,
    /// Whether it was parsed as a whole, and is the only piece.
    whole: bool,
}

impl Pieces {
    /// Reads a fragment. What is the same in an earlier fragment of that origin is not read again.
    pub fn read(fragment: &Arc<Fragment>, before: Option<Self>) -> Self {
        match Self::parts(fragment, before) {
            Some(list) => Self {
                fragment: Arc::clone(fragment),
                list,
                whole: false,
            },
            None => Self::whole(fragment),
        }
    }

    /// One piece.
    pub fn whole(fragment: &Arc<Fragment>) -> Self {
        Self {
            fragment: Arc::clone(fragment),
            list: vec![Piece::whole(fragment)],
            whole: true,
        }
    }

    /// The pieces, unless the fragment has to be parsed as a whole.
    fn parts(fragment: &Arc<Fragment>, before: Option<Self>) -> Option<Vec<Piece>> {
        if !fragment.decoded.damage.is_empty() {
            return None;
        }
        let parts = split(fragment.text())?;
        let mut known = Known::new(before);
        let parts = parts.iter().map(|part| {
            let same = known.take(&fragment.text()[part.range.clone()]);
            (part, same.and_then(|piece| piece.moved(fragment, part)))
        });
        let (known, unknown): (Vec<_>, Vec<_>) = parts.partition(|(_, known)| known.is_some());
        let read = parallel::map(unknown, |(part, _)| Piece::read(fragment, part));
        let known = known.into_iter().map(|(_, piece)| piece);
        let pieces: Option<Vec<_>> = known.chain(read).collect();
        let mut pieces = pieces?;
        pieces.sort_by_key(|piece| piece.span);
        let keys = pieces.iter().flat_map(|piece| &piece.keys).copied();
        let mut keys: Vec<_> = keys.collect();
        keys.sort_unstable();
        let distinct = keys.windows(2).all(|pair| pair[0] != pair[1]);
        distinct.then_some(pieces)
    }
}

/// Pieces that are known, by their first lines.
struct Known {
    pieces: Vec<Option<Piece>>,
    by_line: HashMap<u64, usize>,
}

impl Known {
    fn new(before: Option<Pieces>) -> Self {
        let in_pieces = before.filter(|before| !before.whole);
        let pieces = in_pieces.map_or_else(Vec::new, |before| before.list);
        let by_line = pieces.iter().enumerate();
        Self {
            by_line: by_line.map(|(n, it)| (first_line(it.text()), n)).collect(),
            pieces: pieces.into_iter().map(Some).collect(),
        }
    }

    fn take(&mut self, text: &str) -> Option<Piece> {
        let place = *self.by_line.get(&first_line(text))?;
        let piece = self.pieces.get_mut(place)?;
        piece.take_if(|piece| piece.text() == text)
    }
}

fn first_line(text: &str) -> u64 {
    hash(text.lines().next().unwrap_or_default(), None)
}
