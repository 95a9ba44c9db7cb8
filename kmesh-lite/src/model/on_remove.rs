//! What becomes of open connections to an endpoint that its service has no more.

use std::fmt;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnRemove {
    /// They go on, and nobody speaks of them.
    #[default]
    Keep,
    /// They go on, and are shown until they are gone.
    Drain,
    /// They are ended.
    Kill,
}

impl OnRemove {
    pub const ALL: [Self; 3] = [Self::Keep, Self::Drain, Self::Kill];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Drain => "drain",
            Self::Kill => "kill",
        }
    }
}

impl fmt::Display for OnRemove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
