//! Items that stand in a list twice.

use super::super::super::read::List;
use super::super::super::span::Span;
use super::super::super::suggest::quote;
use super::super::{Diagnostics, Spot};

/// So many of a list are told one by one.
const TOLD: usize = 10;

/// Warns of items that stand in a list twice.
pub fn check<'a, T, K: Ord>(
    at: impl Fn(Span) -> Spot<'a>,
    list: &List<T>,
    key: impl Fn(&T) -> &K,
    name: impl Fn(&K) -> String,
    report: &mut Diagnostics,
) {
    let mut order: Vec<_> = list.items.iter().collect();
    // Equal ones stay in the order of the file.
    order.sort_by(|a, b| key(&a.value).cmp(key(&b.value)));
    let pairs = order.windows(2);
    let mut again: Vec<_> = pairs
        .filter(|pair| key(&pair[0].value) == key(&pair[1].value))
        .map(|pair| (pair[1], pair[0]))
        .collect();
    again.sort_by_key(|(second, _)| second.span);
    for (second, first) in again.iter().take(TOLD) {
        let item = quote(&name(key(&second.value)));
        let problem = at(second.span).warning(format!("{item} stands here twice"));
        report.push(
            problem
                .related(at(first.span).place(), "and here")
                .help("remove one"),
        );
    }
    if let Some((next, _)) = again.get(TOLD) {
        let left = again.len() - TOLD;
        let message = format!("{left} more items of this list stand here twice");
        report.push(at(next.span).warning(message).help("remove them"));
    }
}
