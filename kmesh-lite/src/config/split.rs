//! Where a text can be cut so that each part is a document by itself.
//!
//! Nothing here reads TOML, and a cut may be wrong: a line in the middle of a long string may look like
//! the header of a table. Whoever parses the parts finds out, because then one of them is no document.
//! If each of them is one, then the whole text is their sum, as long as no two define the same thing.

use std::ops::Range;

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub struct Part<'t> {
    pub range: Range<usize>,
    /// Whether every header in it is that of one service.
    pub is_service: bool,
    /// The tables that it has a header of their own for, such as `[localities]`.
    pub tables: Vec<&'t str>,
}

/// Other parts than services are cut where they reach this size. A change of one makes all services be
/// lowered again, so smaller ones would be of no use; larger ones would take much memory to parse.
const LARGE: usize = 64 * 1024;

/// Tables of the file that have keys, and those that have entries.
const SINGLE: [&str; 9] = [
    "node",
    "mesh",
    "capture",
    "accounting",
    "metrics",
    "access_log",
    "health",
    "dns",
    "limits",
];
const NAMED: [&str; 6] = [
    "localities",
    "waypoints",
    "services",
    "policies",
    "groups",
    "endpoints",
];

/// What a header is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Header<'t> {
    /// `[limits]`
    Table(&'t str),
    /// `[services.web]`, `[[services.web.endpoints]]`: the table, and the name as it is written.
    Entry(&'t str, &'t str),
}

/// Cuts a text before headers. None if something about it is unusual.
pub fn split(text: &str) -> Option<Vec<Part<'_>>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut last = None;
    let mut start = 0;
    while start < text.len() {
        let end = text[start..]
            .find('\n')
            .map_or(text.len(), |at| start + at + 1);
        let line = match start {
            0 => text[..end].trim_start_matches('\u{feff}'),
            _ => &text[start..end],
        };
        let line = line.trim_start_matches([' ', '\t']);
        if line.starts_with('[') {
            let header = header(line)?;
            match parts.last_mut() {
                Some(part) if joins(part, last?, header, start) => part.add(header),
                part => {
                    // Comments before the first header belong to its part.
                    let begin = part.map_or(0, |part| {
                        part.range.end = start;
                        start
                    });
                    parts.push(Part::new(begin, header));
                }
            }
            last = Some(header);
        } else if last.is_none() && !line.trim_end().is_empty() && !line.starts_with('#') {
            // A key of the root may be any table.
            return None;
        }
        start = end;
    }
    match parts.last_mut() {
        Some(part) => part.range.end = text.len(),
        None => parts.push(Part {
            range: 0..text.len(),
            is_service: false,
            tables: Vec::new(),
        }),
    }
    Some(parts)
}

impl<'t> Part<'t> {
    fn new(start: usize, header: Header<'t>) -> Self {
        let mut part = Self {
            range: start..start,
            is_service: matches!(header, Header::Entry("services", _)),
            tables: Vec::new(),
        };
        part.add(header);
        part
    }

    fn add(&mut self, header: Header<'t>) {
        if let Header::Table(table) = header {
            self.tables.push(table);
        }
    }
}

/// Whether what begins with a header belongs to the part before it, which ends with another.
fn joins(part: &Part<'_>, last: Header<'_>, header: Header<'_>, start: usize) -> bool {
    match header {
        Header::Entry(..) if header == last => true,
        // A group may have a hundred thousand networks, which need not be read again with what stands before them.
        Header::Entry("services" | "groups", _) => false,
        _ => !part.is_service && start - part.range.start < LARGE,
    }
}

/// What a line is the header of. None if it is none, or not of a table of ours.
fn header(line: &str) -> Option<Header<'_>> {
    let inside = line.strip_prefix('[')?;
    let (inside, array) = match inside.strip_prefix('[') {
        Some(inside) => (inside, true),
        None => (inside, false),
    };
    let (table, rest) = key(inside)?;
    match (rest.strip_prefix('.'), rest.starts_with(']')) {
        (None, true) if !array && (SINGLE.contains(&table) || NAMED.contains(&table)) => {
            Some(Header::Table(table))
        }
        (Some(rest), _) if NAMED.contains(&table) => {
            let (name, rest) = key(rest)?;
            let ends = rest.starts_with(['.', ']']);
            ends.then_some(Header::Entry(table, name))
        }
        _ => None,
    }
}

/// The key that a text begins with, as it is written, and what follows.
fn key(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    let length = match text.chars().next()? {
        quote @ ('"' | '\'') => {
            let end = text[1..].find([quote, '\\', '\n'])?;
            text[1 + end..].starts_with(quote).then_some(end + 2)?
        }
        _ => text
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
            .filter(|length| *length > 0)?,
    };
    let (key, rest) = text.split_at(length);
    Some((key, rest.trim_start_matches([' ', '\t'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Option<Vec<&str>> {
        let parts = split(text)?;
        assert_eq!(parts[0].range.start, 0);
        assert_eq!(parts[parts.len() - 1].range.end, text.len());
        for pair in parts.windows(2) {
            assert_eq!(pair[0].range.end, pair[1].range.start);
        }
        Some(parts.into_iter().map(|part| &text[part.range]).collect())
    }

    #[test]
    fn each_service_is_a_part() {
        let text = "\u{feff}# mine\r\n[node]\r\n[limits]\n\n[services.a]\nx = 1\n [[services.a.endpoints]]\n\
                    [services.\"b.c\"]\n[localities]\n[waypoints.w]\n[services.d]";
        assert_eq!(
            texts(text).unwrap(),
            [
                "\u{feff}# mine\r\n[node]\r\n[limits]\n\n",
                "[services.a]\nx = 1\n [[services.a.endpoints]]\n",
                "[services.\"b.c\"]\n",
                "[localities]\n[waypoints.w]\n",
                "[services.d]",
            ]
        );
        let parts = split(text).unwrap();
        assert_eq!(parts[0].tables, ["node", "limits"]);
        assert_eq!(parts[3].tables, ["localities"]);
        assert!(parts[4].is_service && !parts[3].is_service);
    }

    #[test]
    fn a_group_is_not_read_with_what_stands_before_it() {
        let text = "[policies.a]\n[policies.b]\n[groups.g]\nfrom = []\n[groups.h]\n[policies.c]\n";
        assert_eq!(
            texts(text).unwrap(),
            [
                "[policies.a]\n[policies.b]\n",
                "[groups.g]\nfrom = []\n",
                "[groups.h]\n[policies.c]\n",
            ]
        );
        assert!(!split(text).unwrap()[1].is_service);
    }

    #[test]
    fn what_is_unusual_is_not_cut() {
        for text in [
            "services.a.ports = [80]\n",
            "node = {}\n[services.a]\n",
            "[services]\n[[services]]\n",
            "[node.x]\n",
            "[unknown]\n",
            "[services.\"a\\u0062\"]\n",
            "[services.a]\nports = [\n[80]]\n",
            "[services.a\n",
        ] {
            assert_eq!(split(text), None, "{text}");
        }
        assert_eq!(texts("# nothing\n").unwrap(), ["# nothing\n"]);
        assert_eq!(texts("").unwrap(), [""]);
    }
}
