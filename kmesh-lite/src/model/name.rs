//! Names of services, waypoints, endpoints and localities.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// 1 to 63 ASCII letters, digits, `-`, `_` and `.`, beginning with a letter or digit: what fits a
/// row of the kernel's tables, a DNS label and a systemd field alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name cannot be empty")]
    Empty,
    #[error("a name has at most {} characters", kmesh_lite_common::Name::CAPACITY)]
    TooLong,
    #[error("a name consists of letters, digits, `-`, `_` and `.`, not {0:?}")]
    Character(char),
    #[error("a name begins with a letter or a digit, not {0:?}")]
    First(char),
}

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form that the kernel's rows hold.
    pub fn to_row(&self) -> kmesh_lite_common::Name {
        kmesh_lite_common::Name::new(&self.0).expect("a Name is at most as long as its row")
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let first = text.chars().next().ok_or(NameError::Empty)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if let Some(other) = text.chars().find(|c| !allowed(*c)) {
            return Err(NameError::Character(other));
        }
        if !first.is_ascii_alphanumeric() {
            return Err(NameError::First(first));
        }
        if text.len() > kmesh_lite_common::Name::CAPACITY {
            return Err(NameError::TooLong);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}
