//! From an address that connects and where it arrives, to what authorization policies say.

use crate::Sources;
use kmesh_lite_common::{Address, Destination, FrontendKey, Judgement, Port, SourceKey};

/// Networks that lie in one another and may have to be passed over: as many as an address has prefixes.
pub const NESTED: u32 = 129;

/// Bits of an address.
const BITS: u32 = 128;

/// Judges a connection or a datagram that arrives. None where no policy is about its destination.
#[inline(always)]
pub fn judge_arrival<S: Sources>(
    sources: &S,
    local: &FrontendKey,
    from: &Address,
) -> Option<Judgement> {
    let guard = find_destination(sources, local)?.guard?;
    let mut key = SourceKey::new(guard, *from, BITS);
    let mut passed_over = 0;
    while passed_over < NESTED {
        let Some((bits, source)) = sources.source(&key) else {
            break;
        };
        if let Some(source) = source {
            return Some(source.judgement);
        }
        // It came with a plan that is not carried out, or went with one that is.
        if bits <= SourceKey::OF_GUARD {
            break;
        }
        key.bits = bits - 1;
        passed_over += 1;
    }
    Some(sources.guard(guard)?.elsewhere)
}

/// The destination that counts for a port of this host.
#[inline(always)]
pub fn find_destination<'a, S: Sources>(
    sources: &'a S,
    local: &FrontendKey,
) -> Option<&'a Destination> {
    let key = |address, port| FrontendKey::new(address, port, local.protocol);
    let (address, every) = (local.address, Address::EVERY);
    sources
        .destination(&key(address, local.port))
        .or_else(|| sources.destination(&key(every, local.port)))
        .or_else(|| sources.destination(&key(address, Port::EVERY)))
        .or_else(|| sources.destination(&key(every, Port::EVERY)))
}
