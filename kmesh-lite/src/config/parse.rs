//! From the text of one fragment to its text types.

use super::decode::Damage;
use super::foreign::guess;
use super::fragment::Fragment;
use super::location::Location;
use super::piece::Anchor;
use super::problem::Problem;
use super::read::{DocumentReader, Read, Value};
use super::schema::DocumentText;
use super::span::Span;
use super::suggest::quote;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use toml::de::{DeTable, DeValue, Error};

/// A document, read as far as it can be: a fragment, or a piece of one.
#[derive(Debug, Default)]
pub struct Parsed {
    /// Its spans count from where the document begins.
    pub text: Option<DocumentText>,
    /// With places in the fragment.
    pub problems: Vec<Problem>,
    /// Whether it is TOML: else entries may be missing that the operator wrote.
    pub whole: bool,
}

/// Syntax errors are collected from so much text after the first: what comes later is likely
/// garbage, and garbage has an error every few bytes.
const RECOVERY: usize = 256 * 1024;

/// So many of them are told.
const SYNTAX_ERRORS: usize = 100;

/// Reads all there is, also between damage and syntax errors.
pub fn parse(fragment: &Arc<Fragment>) -> Parsed {
    let damage = fragment.decoded.damage.iter();
    let mut problems: Vec<_> = damage.map(|it| damaged(fragment, it)).collect();
    if fragment.decoded.hopeless {
        return Parsed {
            problems,
            ..Parsed::default()
        };
    }
    let text = fragment.text();
    let mut reader = DocumentReader::new(Anchor::of(fragment));
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(_) if let Some((language, line)) = guess(text) => {
            let message = format!("this looks like {}", language.name());
            let problem = Problem::error(fragment, line.into(), message);
            return Parsed {
                problems: vec![problem.expected("TOML").help(language.advice())],
                ..Parsed::default()
            };
        }
        Err(first) => {
            let (document, errors) = recover(text, &first);
            problems.extend(
                errors
                    .iter()
                    .map(|error| syntax(fragment, &document, error)),
            );
            document
        }
    };
    let whole = problems.is_empty();
    // Behind a syntax error, what is missing may well be there.
    reader.forgive_missing = !whole;
    let text = DocumentText::read(&root(document), &mut reader);
    let damaged: BTreeSet<_> = problems.iter().filter_map(Problem::line).collect();
    let consequence = |p: &Problem| p.line().is_some_and(|line| damaged.contains(&line));
    problems.extend(
        reader
            .problems
            .into_iter()
            .filter(|p| whole || !consequence(p)),
    );
    Parsed {
        text,
        problems,
        whole,
    }
}

/// A document that is TOML.
pub type Document<'i> = toml::Spanned<DeTable<'i>>;

/// Reads a part of a fragment that is a document by itself.
pub fn read(anchor: Anchor<'_>, document: Document<'_>) -> Parsed {
    let mut reader = DocumentReader::new(anchor);
    let text = DocumentText::read(&root(document), &mut reader);
    Parsed {
        text,
        problems: reader.problems,
        whole: true,
    }
}

fn root(document: Document<'_>) -> Value<'_> {
    let span = document.span();
    toml::Spanned::new(span, DeValue::Table(document.into_inner()))
}

fn damaged(fragment: &Arc<Fragment>, damage: &Damage) -> Problem {
    let message = match damage.bytes.as_slice() {
        [0] => {
            let message = "this is not a text file: it has a zero byte";
            return Problem::error(fragment, damage.span, message);
        }
        [byte] => format!("the byte 0x{byte:02x} is not UTF-8"),
        _ => "these bytes are not UTF-8".to_owned(),
    };
    Problem::error(fragment, damage.span, message)
        .expected("text in UTF-8")
        .help("save the file in UTF-8")
}

/// As much of the document as can be made out, and what is wrong with it.
fn recover<'i>(text: &'i str, first: &Error) -> (Document<'i>, Vec<Error>) {
    let start = first.span().map_or(0, |span| span.start);
    let window = text.floor_char_boundary((start + RECOVERY).min(text.len()));
    let end = text[window..]
        .find('\n')
        .map_or(text.len(), |at| window + at + 1);
    // One line without an end is no reason to parse all of it again.
    let end = if end - window > RECOVERY { window } else { end };
    let (document, mut errors) = DeTable::parse_recoverable(&text[..end]);
    // Where the text was cut, something is always unfinished.
    errors.retain(|error| end == text.len() || error.span().is_none_or(|span| span.start < end));
    errors.truncate(SYNTAX_ERRORS);
    (document, without_echoes(text, errors))
}

/// In an array that was never closed, each line that follows has several errors. One is enough.
fn without_echoes(text: &str, mut errors: Vec<Error>) -> Vec<Error> {
    let is = |error: &Error, what| error.message().starts_with(what);
    if !errors.iter().any(|error| is(error, "unclosed array")) {
        return errors;
    }
    let line = |error: &Error| {
        let start = error.span().map_or(0, |span| span.start);
        text[..start].rfind('\n')
    };
    let commas = errors.iter().filter(|error| is(error, "missing comma"));
    let commas: Vec<_> = commas.map(line).collect();
    let mut told = BTreeSet::new();
    errors.retain(|error| {
        let line = line(error);
        is(error, "unclosed") || !commas.contains(&line) || told.insert(line)
    });
    errors
}

fn syntax(fragment: &Arc<Fragment>, document: &Document<'_>, error: &Error) -> Problem {
    let range = error.span().unwrap_or(0..0);
    let span = Span::from(range.clone());
    if error.message() == "duplicate key" {
        let key = fragment.text().get(range.clone()).unwrap_or_default();
        let problem = Problem::error(fragment, span, format!("{} is defined twice", quote(key)));
        let first = first_header(fragment.text(), &range)
            .or_else(|| first_key(document.get_ref(), key, range.start));
        return match first {
            Some(first) => {
                problem.related(Location::new(fragment, first.into()), "first defined here")
            }
            None => problem,
        };
    }
    let (message, expected) = match error.message().split_once(", expected ") {
        Some((message, "nothing")) => (message, None),
        Some((message, expected)) => (message, Some(expected)),
        None => (error.message(), None),
    };
    let mut problem = Problem::error(fragment, span, message);
    problem.expected = match expected {
        Some("literal string") => Some("a string in double quotes".to_owned()),
        Some("value, `]`") => Some("a value or `]`".to_owned()),
        expected => expected.map(str::to_owned),
    };
    let unquoted = message.contains("must be quoted")
        || ["invalid float", "invalid date", "invalid time"]
            .iter()
            .any(|start| message.starts_with(start));
    problem.help_if(unquoted.then(|| "put strings, and so addresses, in double quotes".to_owned()))
}

/// The earlier line that is the same `[header]` as the one around `key`.
fn first_header(text: &str, key: &Range<usize>) -> Option<Range<usize>> {
    let start = text[..key.start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..].lines().next()?;
    let header = header(line)?;
    let mut offset = 0;
    for line in text[..start].split_inclusive('\n') {
        if self::header(line) == Some(header) {
            let indent = line.len() - line.trim_start().len();
            return Some(offset + indent..offset + indent + header.len());
        }
        offset += line.len();
    }
    None
}

fn header(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let end = line.find(']')?;
    line.starts_with('[').then(|| &line[..=end])
}

/// The last key of this text before `before`, in whichever table.
fn first_key(table: &DeTable<'_>, text: &str, before: usize) -> Option<Range<usize>> {
    let mut found: Option<Range<usize>> = None;
    let mut tables = vec![table];
    while let Some(table) = tables.pop() {
        for (key, value) in table {
            let span = key.span();
            if key.get_ref() == text
                && span.start < before
                && found.as_ref().is_none_or(|found| found.start < span.start)
            {
                found = Some(span);
            }
            match value.get_ref() {
                DeValue::Table(table) => tables.push(table),
                DeValue::Array(items) => {
                    tables.extend(items.iter().filter_map(|item| item.get_ref().as_table()));
                }
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    fn fragment(text: &str) -> Arc<Fragment> {
        Fragment::new(Origin::new("f"), 0, text.into())
    }

    fn problems(text: &str) -> Vec<String> {
        let parsed = parse(&fragment(text));
        parsed.problems.iter().map(Problem::to_string).collect()
    }

    /// `without_echoes` and `syntax` go by these texts. Where one has changed, they have to follow.
    #[test]
    fn the_toml_crate_words_its_errors_as_it_did() {
        for (text, message) in [
            ("[a]\n[a]", "duplicate key"),
            ("a = [", "unclosed array, expected `]`"),
            ("a = { b = 1", "unclosed inline table, expected `}`"),
            (
                "a = [1\nb = 2",
                "missing comma between array elements, expected `,`",
            ),
            ("a = [= 1]", "unexpected `=` in array, expected value, `]`"),
            ("a = 10.0.0.1", "invalid float, expected nothing"),
            ("a = 10-20", "invalid date, expected `-` (MM-DD)"),
            (
                "a = 80:8080",
                "invalid time, expected a two-digit minute (MM)",
            ),
            (
                "a = x",
                "string values must be quoted, expected literal string",
            ),
        ] {
            let (_, errors) = DeTable::parse_recoverable(text);
            assert_eq!(errors[0].message(), message, "{text:?}");
        }
    }

    #[test]
    fn syntax_errors_do_not_hide_others() {
        let text = "[node]\nnaem = 'x'\nnetwork = \n[mesh]\nvip_ranges = 1\n";
        let problems = problems(text);
        assert_eq!(problems.len(), 3, "{problems:#?}");
        assert!(problems[0].starts_with("f:3:"), "{problems:#?}");
    }

    #[test]
    fn a_duplicate_names_both_places() {
        for text in [
            "[services.a]\nports = [1]\nvips = ['::1']\n [services.a] # again\n",
            "[node]\nname = 'a'\nname = 'b'\n",
            "node = { name = 'a', name = 'b' }\n",
        ] {
            let parsed = parse(&fragment(text));
            assert_eq!(parsed.problems.len(), 1, "{:#?}", parsed.problems);
            let problem = &parsed.problems[0];
            let first = &problem.related[0].place;
            assert!(first.span < problem.place.span, "{problem:#?}");
        }
    }

    #[test]
    fn garbage_is_refused_in_bounded_time_and_space() {
        for garbage in ["= ", "x\n", "\0", "[[", "\"", "a.b.", "{}", "ä", "[a]\n"] {
            let text = garbage.repeat(2_000_000 / garbage.len());
            let found = problems(&text).len();
            // One more: a key that is not known.
            assert!(
                (1..=SYNTAX_ERRORS + 1).contains(&found),
                "{garbage:?}: {found}"
            );
        }
    }
}
