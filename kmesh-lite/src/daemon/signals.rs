//! SIGHUP, SIGTERM and SIGINT.

use super::event::{Event, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::{Handle, Signals};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::thread;

/// Turns signals into events until it is dropped.
pub struct Forwarding(Handle);

/// Begins to turn signals into events. A second request to stop ends the process at once, from the
/// signal handler itself, so that it works whatever the loop is doing.
pub fn forward(events: Sender<Event>) -> io::Result<Forwarding> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the first signal finds the flag unset.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stopping))?;
        flag::register(signal, Arc::clone(&stopping))?;
    }
    let mut signals = Signals::new([SIGHUP, SIGTERM, SIGINT])?;
    let handle = signals.handle();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                let signal = match signal {
                    SIGHUP => Signal::Reload,
                    _ => Signal::Stop,
                };
                if events.send(Event::Signal(signal)).is_err() {
                    break;
                }
            }
        })?;
    Ok(Forwarding(handle))
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.0.close();
    }
}
