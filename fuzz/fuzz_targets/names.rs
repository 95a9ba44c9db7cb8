//! What an agent hands in of names is the word of a stranger: the input is the body of `POST /v1/agent/names`, or several,
//! each on a line of its own. Names of the file stand for other addresses by it, and nothing else changes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use names::{NamesSite, REVISION};
use std::sync::LazyLock;

// What the property tests ask as well.
#[path = "../../tests/tests/pure/hearsay/names.rs"]
mod names;

static SITE: LazyLock<NamesSite> = LazyLock::new(NamesSite::new);

fuzz_target!(|input: &[u8]| {
    // Most reports are for the duties that there are.
    let text = String::from_utf8_lossy(input).replace("\"REVISION\"", &REVISION.to_string());
    let bodies: Vec<_> = text.as_bytes().split(|byte| *byte == b'\n').collect();
    SITE.hear(&bodies);
    SITE.hear(&[input]);
});
