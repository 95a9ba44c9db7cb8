//! "Did you mean", and quoting what was read.

use crate::printable::is_wild;

/// The candidate that `word` was probably meant to be.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Long garbage resembles nothing, and comparing is quadratic.
    if word.len() > 100 {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (likeness(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, candidate)| candidate)
}

fn likeness(word: &str, candidate: &str) -> f64 {
    let word = word.to_lowercase();
    let plain = candidate.to_lowercase();
    strsim::normalized_damerau_levenshtein(&word, &plain)
        .max(strsim::jaro_winkler(&word, &plain) - 0.1)
}

/// The help that goes with an unknown word: the closest candidate, else all of them if few.
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    closest(word, candidates).map(meant)
}

/// The help that names what was probably meant.
pub fn meant(word: &str) -> String {
    format!("did you mean `{word}`?")
}

/// Candidates as prose: "`a`, `b` or `c`".
pub fn either<'a>(candidates: impl IntoIterator<Item = &'a str>) -> String {
    let mut all: Vec<_> = candidates.into_iter().map(|c| format!("`{c}`")).collect();
    let last = all.pop().unwrap_or_default();
    if all.is_empty() {
        last
    } else {
        format!("{} or {last}", all.join(", "))
    }
}

/// What was read, in backticks; shortened, because it may be anything.
pub fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("`{}...`", text[..end].escape_debug()),
        None => format!("`{}`", text.replace(is_wild, "\u{fffd}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_slips_are_recognised_and_other_words_are_not() {
        let keys = ["weight", "waypoint", "address", "locality", "node", "name"];
        for (slip, meant) in [
            ("wieght", "weight"),
            ("weigth", "weight"),
            ("way_point", "waypoint"),
            ("adress", "address"),
            ("Locality", "locality"),
            ("nod", "node"),
        ] {
            assert_eq!(closest(slip, keys), Some(meant), "{slip}");
        }
        for other in ["timeout", "x", "", "replicas"] {
            assert_eq!(closest(other, keys), None, "{other}");
        }
    }
}
