//! Shows the same thing again and again: over what was there on a terminal, and below it elsewhere.

use super::output::{FAINT, Output, WriteError};
use ratatui::crossterm::cursor::MoveTo;
use ratatui::crossterm::terminal::{self, Clear, ClearType};
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

/// Shows what `next` gives, until writing fails or the user ends it.
pub fn watch(
    pause: Duration,
    output: &mut Output,
    next: impl Fn() -> String,
) -> Result<(), WriteError> {
    let is_terminal = io::stdout().is_terminal();
    loop {
        let text = next();
        if is_terminal {
            clear()?;
            let (columns, rows) = terminal::size().map_err(WriteError)?;
            output.text(&cropped(&text, usize::from(rows), usize::from(columns)))?;
        } else {
            output.text(&format!("{text}\n"))?;
        }
        thread::sleep(pause);
    }
}

fn clear() -> Result<(), WriteError> {
    let cleared = ratatui::crossterm::execute!(io::stdout(), MoveTo(0, 0), Clear(ClearType::All));
    cleared.map_err(WriteError)
}

/// As many lines as there is room for: what runs off the top of a screen is not what was asked for.
fn cropped(text: &str, rows: usize, columns: usize) -> String {
    if rows == 0 {
        // A terminal that does not say how large it is.
        return text.to_owned();
    }
    let lines: Vec<&str> = text.lines().collect();
    // The last row is where the cursor stays.
    let room = rows.saturating_sub(1).max(1);
    let taken = |line: &&str| {
        let width = anstream::adapter::strip_str(line)
            .to_string()
            .chars()
            .count();
        width.div_ceil(columns.max(1)).max(1)
    };
    if lines.iter().map(taken).sum::<usize>() <= room {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut left = room.saturating_sub(1);
    for (at, line) in lines.iter().enumerate() {
        match left.checked_sub(taken(line)) {
            Some(rest) => left = rest,
            None => {
                let more = lines.len() - at;
                let _ = writeln!(shown, "{FAINT}{more} more lines do not fit{FAINT:#}");
                break;
            }
        }
        let _ = writeln!(shown, "{line}");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        assert_eq!(cropped("a\nb\n", 3, 80), "a\nb\n");
        assert_eq!(cropped("a\nb\n", 0, 0), "a\nb\n");
        let cut = cropped("a\nb\nc\n", 3, 80);
        assert!(
            cut.starts_with("a\n") && cut.contains("2 more lines"),
            "{cut}"
        );
        // A line that is wrapped takes two rows; what colours it takes none.
        let cut = cropped(&format!("{FAINT}abcd{FAINT:#}\nefghij\nk\n"), 4, 5);
        assert!(
            cut.contains("abcd") && cut.contains("2 more lines"),
            "{cut}"
        );
    }
}
