//! Writing to stdout and stderr: colour on a terminal only, and no panic when nobody reads.

use super::error::CliError;
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::io::{BufWriter, Write};

pub const BOLD: Style = Style::new().bold();
pub const FAINT: Style = Style::new().dimmed();
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
pub const WARN: Style = AnsiColor::Yellow.on_default().bold();
pub const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Stdout.
#[derive(Debug, Default)]
pub struct Output(());

impl Output {
    /// Writes text, which may hold styles, and ends the line if it is not ended.
    pub fn text(&mut self, text: &str) -> Result<(), CliError> {
        let mut stdout = anstream::stdout().lock();
        let end = if text.ends_with('\n') || text.is_empty() {
            ""
        } else {
            "\n"
        };
        write!(stdout, "{text}{end}")
            .and_then(|()| stdout.flush())
            .map_err(CliError::Write)
    }

    pub fn json<T: Serialize>(&mut self, value: &T) -> Result<(), CliError> {
        let mut stdout = BufWriter::new(std::io::stdout().lock());
        serde_json::to_writer_pretty(&mut stdout, value)
            .map_err(std::io::Error::from)
            .and_then(|()| writeln!(stdout))
            .and_then(|()| stdout.flush())
            .map_err(CliError::Write)
    }
}

/// Writes a line to stderr. If that fails, there is nobody to tell.
pub fn complain(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}
