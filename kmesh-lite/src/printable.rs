//! What others wrote, fit for a terminal.

/// Whether a character commands a terminal, or changes how the text around it is read: control characters, and those of
/// Unicode that turn the direction of text or cannot be seen.
pub fn is_wild(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A text of at most so many bytes, without such characters.
pub fn printable(text: &str, most: usize) -> String {
    let mut cut = String::new();
    for c in text.chars() {
        let shown = match c {
            c if c.is_control() => ' ',
            c if is_wild(c) => char::REPLACEMENT_CHARACTER,
            c => c,
        };
        if cut.len() + shown.len_utf8() > most {
            break;
        }
        cut.push(shown);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_text_around_or_hides_is_replaced_and_the_rest_is_cut() {
        let text = "up\u{202e}nwod\u{2066}\u{200b}\u{feff}\u{e0041}\r\u{1b}[2J ü\u{5d0}";
        let shown = printable(text, 100);
        assert_eq!(
            shown,
            "up\u{fffd}nwod\u{fffd}\u{fffd}\u{fffd}\u{fffd}  [2J ü\u{5d0}"
        );
        assert_eq!(printable("\u{202e}\u{202e}", 5), "\u{fffd}");
    }
}
