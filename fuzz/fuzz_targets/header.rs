//! The decoder of waypoint headers on bytes that nobody vouches for: it never panics, an answer is
//! not changed by more bytes, and the length of a header is that of the bytes it was read from.

#![no_main]

use libfuzzer_sys::fuzz_target;
use waypoint::header::{Accept, Decoded, LONGEST, decode};

// The decoder alone: it needs nothing of the rest of the crate.
#[path = "../../kmesh-lite/src/waypoint"]
#[allow(dead_code)]
mod waypoint {
    pub mod header;
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else {
        return;
    };
    // Mostly both.
    let accept = Accept {
        tlv: choice != 1,
        proxy_v2: choice != 2,
    };
    let whole = decode(bytes, accept);
    let mut decided = false;
    for length in 0..=bytes.len() {
        let piece = decode(&bytes[..length], accept);
        assert!(piece == whole || piece == Decoded::NeedMore && !decided);
        decided |= piece != Decoded::NeedMore;
    }
    match whole {
        Decoded::NeedMore => assert!(bytes.len() < LONGEST),
        Decoded::Header(header) => {
            assert!(header.length <= bytes.len() && header.length <= LONGEST);
            assert_eq!(decode(&bytes[..header.length], accept), whole);
            assert_eq!(
                decode(&bytes[..header.length - 1], accept),
                Decoded::NeedMore
            );
        }
        Decoded::Local | Decoded::Malformed(_) => {}
    }
});
