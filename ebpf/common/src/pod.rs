//! Marks what stands in hash tables as plain data, for aya's map types.

use crate::{Address, AddressId, Caller, FrontendId, FrontendKey};

// SAFETY: `repr(C)` or transparent, without padding, valid for every bit pattern.
unsafe impl aya::Pod for Address {}
// SAFETY: as above.
unsafe impl aya::Pod for FrontendKey {}
// SAFETY: as above.
unsafe impl aya::Pod for Caller {}
// SAFETY: as above; `None` is the pattern that the id does not use.
unsafe impl aya::Pod for AddressId {}
// SAFETY: as above.
unsafe impl aya::Pod for FrontendId {}
