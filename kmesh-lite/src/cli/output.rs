//! Writing to stdout and stderr: colour on a terminal only, and no panic when nobody reads.

use crate::printable::is_wild;
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, BufWriter, Write};

pub const BOLD: Style = Style::new().bold();
pub const FAINT: Style = Style::new().dimmed();
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
pub const WARN: Style = AnsiColor::Yellow.on_default().bold();
pub const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Writing the output failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the output")]
pub struct WriteError(#[source] pub io::Error);

impl WriteError {
    /// Whether somebody did, and has seen enough.
    pub fn is_end_of_reading(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Stdout.
#[derive(Debug, Default)]
pub struct Output(());

impl Output {
    /// Writes text, which may hold styles, and ends the line if it is not ended.
    pub fn text(&mut self, text: &str) -> Result<(), WriteError> {
        let mut stdout = anstream::stdout().lock();
        let end = if text.ends_with('\n') || text.is_empty() {
            ""
        } else {
            "\n"
        };
        write!(stdout, "{}{end}", tame(text))
            .and_then(|()| stdout.flush())
            .map_err(WriteError)
    }

    /// A value on a line of its own.
    pub fn json_line<T: Serialize>(&mut self, value: &T) -> Result<(), WriteError> {
        let mut stdout = BufWriter::new(io::stdout().lock());
        serde_json::to_writer(&mut stdout, value)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(stdout))
            .and_then(|()| stdout.flush())
            .map_err(WriteError)
    }

    pub fn json<T: Serialize>(&mut self, value: &T) -> Result<(), WriteError> {
        let mut stdout = BufWriter::new(io::stdout().lock());
        serde_json::to_writer_pretty(&mut stdout, value)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(stdout))
            .and_then(|()| stdout.flush())
            .map_err(WriteError)
    }
}

/// Writes a line to stderr. If that fails, there is nobody to tell.
pub fn complain(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{}", tame(text.trim_end()));
}

/// Escapes what commands a terminal or turns text around, which can only come from outside, such as names of files.
/// Styles stay.
fn tame(text: &str) -> Cow<'_, str> {
    let is_foreign = |c: char| is_wild(c) && !matches!(c, '\n' | '\t');
    if !text.contains(is_foreign) {
        return Cow::Borrowed(text);
    }
    let mut tamed = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if is_foreign(c) && !is_style(&text[at..]) {
            tamed.extend(c.escape_default());
        } else {
            tamed.push(c);
        }
    }
    Cow::Owned(tamed)
}

/// Whether text begins with a sequence that only colours what follows.
fn is_style(text: &str) -> bool {
    let parameters = text.strip_prefix("\u{1b}[");
    let rest = parameters.map(|it| it.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
    rest.is_some_and(|rest| rest.starts_with('m'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_cannot_command_a_terminal() {
        let styled = format!("{BOLD}fine{BOLD:#}\n");
        assert_eq!(tame(&styled), styled);
        assert_eq!(
            tame("a\u{1b}]0;b\u{7}\u{1b}[2Jc\r"),
            r"a\u{1b}]0;b\u{7}\u{1b}[2Jc\r"
        );
        assert_eq!(tame("\u{202e}nwod"), r"\u{202e}nwod");
    }
}
