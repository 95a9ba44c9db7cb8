//! Where connections arrive that authorization policies are about, and from where.

use crate::{Address, FrontendKey, GuardId, Judgement, Row, id};

id!(
    /// Row of the table of destinations.
    DestinationId
);

/// An address and a port of a host that authorization policies are about. It holds its own key: the table reads back
/// without its index. An address of zeroes is every address, a port of 0 every port; of several that fit, the one
/// counts that comes first: with both, with the port alone, with the address alone, with neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Destination {
    pub key: FrontendKey,
    pub guard: Option<GuardId>,
}

impl Row for Destination {}

id!(
    /// Row of the table of sources.
    SourceId
);

/// Key of a source, as the kernel's tries have them (`struct bpf_lpm_trie_key`): of all that are the beginning of what
/// is searched for, the longest is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct SourceKey {
    /// How many bits count, those of the guard included.
    pub bits: u32,
    pub guard: Option<GuardId>,
    /// Bits after those that count are 0.
    pub address: Address,
}

impl SourceKey {
    /// Bits of the guard.
    pub const OF_GUARD: u32 = 32;

    /// A network with so many bits of 128.
    #[inline(always)]
    pub const fn new(guard: GuardId, address: Address, bits: u32) -> Self {
        Self {
            bits: Self::OF_GUARD + bits,
            guard: Some(guard),
            address,
        }
    }
}

/// What authorization policies say of connections from the addresses of one network, but for those of smaller networks
/// in it. It holds its own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Source {
    pub key: SourceKey,
    pub judgement: Judgement,
}

impl Row for Source {}

/// What a trie leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Found {
    pub source: Option<SourceId>,
    /// How long the key is. A source that counts at another generation is passed over for the next shorter one.
    pub bits: u32,
}

const _: () = assert!(size_of::<SourceKey>() == 24 && size_of::<Source>() == 32);
const _: () = assert!(size_of::<Destination>() == 24);
