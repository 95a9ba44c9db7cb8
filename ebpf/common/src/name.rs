//! Names in the kernel, so that a dump needs no other source.

/// A name of up to 63 bytes: its length, then its bytes, zeroes after it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Name([u8; Name::CAPACITY + 1]);

impl Name {
    /// Longest name in bytes.
    pub const CAPACITY: usize = 63;

    /// `None` when `name` is too long.
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; Self::CAPACITY + 1];
        bytes[0] = u8::try_from(name.len()).ok()?;
        bytes
            .get_mut(1..=name.len())?
            .copy_from_slice(name.as_bytes());
        Some(Self(bytes))
    }

    /// The name, or what can be read of it when something else wrote here.
    pub fn as_str(&self) -> &str {
        let length = (self.0[0] as usize).min(Self::CAPACITY);
        core::str::from_utf8(&self.0[1..=length]).unwrap_or("(not a name)")
    }
}

impl core::fmt::Display for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.as_str())
    }
}

impl core::fmt::Debug for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_length_that_fits_survive() {
        let longest = "x".repeat(Name::CAPACITY);
        for name in ["", "a", "payments", longest.as_str()] {
            assert_eq!(Name::new(name).unwrap().as_str(), name);
        }
        assert!(Name::new(&format!("{longest}x")).is_none());
        assert!(Name::new(&"x".repeat(300)).is_none());
    }
}
