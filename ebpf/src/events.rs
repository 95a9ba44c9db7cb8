//! Records for the daemon.

use crate::maps::EVENTS;
use kmesh_lite_common::{Event, EventKind, Original};

/// Tells what happened to a socket; `cookie` is 0 where the hook cannot know it. A full buffer loses
/// the record; the counters do not.
#[inline(always)]
pub fn tell(cookie: u64, original: &Original, kind: EventKind) {
    let event = Event {
        cookie,
        address: original.address,
        port: original.port,
        kind,
        process: original.process,
    };
    let _ = EVENTS.output::<Event>(&event, 0);
}
