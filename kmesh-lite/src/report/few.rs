//! Long lists, of which the first lines tell enough.

/// Lines that are shown of each list.
pub const FEW: usize = 10;

/// The first lines, and how many more there are.
pub fn first_few(lines: &[String]) -> Vec<String> {
    let more = lines.len().saturating_sub(FEW);
    let mut few: Vec<_> = lines.iter().take(FEW).cloned().collect();
    if more > 0 {
        few.push(format!("and {more} more"));
    }
    few
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_ends_with_a_count() {
        let lines: Vec<_> = (0..12).map(|number| number.to_string()).collect();
        assert_eq!(first_few(&lines[..10]), lines[..10]);
        let few = first_few(&lines);
        assert_eq!(
            (few.len(), few[9].as_str(), few[10].as_str()),
            (11, "9", "and 2 more")
        );
    }
}
