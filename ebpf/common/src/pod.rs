//! Marks the keys of hash tables as plain data, for aya's map types.

use crate::{Address, Caller, FrontendKey, Name};

macro_rules! plain {
    ($($plain:ty)+) => {
        $(
            // SAFETY: `repr(C)` or transparent, without padding, valid for every bit pattern.
            unsafe impl aya::Pod for $plain {}
        )+
    };
}

plain! { Address FrontendKey Name Caller }
