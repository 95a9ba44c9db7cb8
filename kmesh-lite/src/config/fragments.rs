//! All pieces of configuration text that a source has.

use super::fragment::{Fragment, LARGEST, Origin};
use super::problem::Problem;
use std::sync::Arc;

/// All that a source has at one moment.
#[derive(Clone, Debug, Default)]
pub struct Fragments {
    list: Vec<Arc<Fragment>>,
    origins: Vec<Origin>,
    /// Problems that the source itself has found.
    pub problems: Vec<Problem>,
    /// A part that was there is gone: the rest alone is not what the operator means.
    pub incomplete: bool,
}

impl Fragments {
    /// Adds the next fragment, or why there is none at an origin that exists.
    pub fn push(&mut self, fragment: Result<Arc<Fragment>, Box<Problem>>) {
        match fragment {
            Ok(fragment) => {
                self.origins.push(fragment.origin().clone());
                self.list.push(fragment);
            }
            Err(problem) => {
                self.origins.push(problem.origin().clone());
                self.problems.push(*problem);
            }
        }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Fragment>> {
        self.list.iter()
    }

    /// Whether another source, or the same one at another time, had the same text at the same origins.
    pub fn say_the_same_as(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<Fragment>, &Arc<Fragment>)| {
            // What did not change is shared.
            Arc::ptr_eq(a, b) || (a.origin() == b.origin() && a.text() == b.text())
        };
        self.origins == other.origins
            && self.list.len() == other.list.len()
            && self.list.iter().zip(&other.list).all(same)
    }

    /// In the order in which they were added.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }
}

/// Each with its origin and its bytes.
impl<B: Into<Vec<u8>>> FromIterator<(Origin, B)> for Fragments {
    fn from_iter<I: IntoIterator<Item = (Origin, B)>>(texts: I) -> Self {
        let mut fragments = Self::default();
        for (origin, bytes) in texts {
            fragments.push(fragment(origin, 0, bytes.into()));
        }
        fragments
    }
}

/// A fragment, unless it is too large to be parsed.
pub fn fragment(
    origin: Origin,
    revision: u64,
    bytes: Vec<u8>,
) -> Result<Arc<Fragment>, Box<Problem>> {
    if bytes.len() as u64 > LARGEST {
        let size = format!("{} MiB", bytes.len() >> 20);
        return Err(Box::new(Problem::too_large(origin, &size)));
    }
    Ok(Fragment::new(origin, revision, bytes))
}
