//! The decoder of waypoint headers meets bytes that nobody vouches for. It never panics, more bytes do
//! not change an answer, and the length of a header is that of the bytes it was read from.

#![no_main]

use forwarder::header::{Accept, Decoded, LONGEST, decode};
use libfuzzer_sys::fuzz_target;

// The decoder needs nothing of the rest of its crate.
#[path = "../../kmesh-lite/forwarder/src"]
#[allow(dead_code)]
mod forwarder {
    pub mod header;
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else {
        return;
    };
    // Most inputs are read with both kinds accepted.
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
