//! What is read of connections that arrive, out of the maps.

use crate::maps::{DESTINATION_IDS, DESTINATIONS, GUARDS, SOURCE_IDS, SOURCES, row};
use aya_ebpf::maps::lpm_trie::Key;
use kmesh_lite_common::{Destination, FrontendKey, Guard, GuardId, Source, SourceKey};
use kmesh_lite_ebpf::Sources;

/// The tables of one generation.
pub struct SourcesAt(pub u64);

#[inline(always)]
pub fn find_destination(key: &FrontendKey, generation: u64) -> Option<&'static Destination> {
    // SAFETY: deleted elements are not reused before a grace period has passed.
    let id = (*unsafe { DESTINATION_IDS.get(key) }?)?;
    row(&DESTINATIONS, id.index(), generation)
}

impl Sources for SourcesAt {
    #[inline(always)]
    fn destination(&self, key: &FrontendKey) -> Option<&Destination> {
        find_destination(key, self.0)
    }

    #[inline(always)]
    fn guard(&self, id: GuardId) -> Option<&Guard> {
        row(&GUARDS, id.index(), self.0)
    }

    #[inline(always)]
    fn source(&self, key: &SourceKey) -> Option<(u32, Option<&Source>)> {
        let [a, b, c, d] = key.address.words();
        let guard = key.guard.map_or(0, |guard| guard.index() + 1);
        let found = SOURCE_IDS.get(&Key::new(key.bits, [guard, a, b, c, d]))?;
        let source = found
            .source
            .and_then(|id| row(&SOURCES, id.index(), self.0));
        Some((found.bits, source))
    }
}
