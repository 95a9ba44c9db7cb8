//! Writing to stdout and stderr: colour on a terminal only, and no panic when nobody reads.

use anstyle::{AnsiColor, Style};
use serde::Serialize;
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
        write!(stdout, "{text}{end}")
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
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}
