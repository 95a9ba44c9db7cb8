//! The same work for many things, on several processors.

use std::num::NonZero;
use std::thread;

/// Fewer things are not worth a thread.
const WORTH: usize = 64;
/// More threads would take more memory than time.
const MOST: usize = 4;

/// What `work` makes of each of `items`, in their order.
pub fn map<T: Send, R: Send>(mut items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = processors.min(MOST).min(items.len() / WORTH).max(1);
    let share = items.len().div_ceil(threads);
    let work = &work;
    thread::scope(|scope| {
        let mut others = Vec::new();
        while items.len() > share {
            let last = items.split_off(items.len() - share);
            others.push(scope.spawn(move || last.into_iter().map(work).collect::<Vec<_>>()));
        }
        let mut all: Vec<_> = items.into_iter().map(work).collect();
        for other in others.into_iter().rev() {
            match other.join() {
                Ok(results) => all.extend(results),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_are_in_order_however_many_there_are() {
        for count in [0, 1, 63, 64, 127, 128, 1000, 1001] {
            let doubled = super::map((0..count).collect(), |n| n * 2);
            assert_eq!(doubled, (0..count).map(|n| n * 2).collect::<Vec<_>>());
        }
    }
}
