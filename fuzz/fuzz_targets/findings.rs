//! What an agent hands in is the word of a stranger: the input is the body of `POST /v1/agent/health`, or several, each
//! on a line of its own. Targets turn by it, and nothing else does.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use stranger::{REVISION, Site};

// What the property tests ask as well.
#[path = "../../tests/tests/pure/hearsay/stranger.rs"]
mod stranger;

static SITE: LazyLock<Site> = LazyLock::new(Site::new);

fuzz_target!(|input: &[u8]| {
    // Most reports are for the duties that there are.
    let text = String::from_utf8_lossy(input).replace("\"REVISION\"", &REVISION.to_string());
    let bodies: Vec<_> = text.as_bytes().split(|byte| *byte == b'\n').collect();
    SITE.hear(&bodies);
    SITE.hear(&[input]);
});
