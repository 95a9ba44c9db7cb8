//! Who has connected to what, kept beyond this process: times are not known otherwise.

use super::kept::Kept;
use crate::kernel::{Descriptors, Store};
use crate::report::Seen;
use log::warn;
use std::io::BufReader;
use std::sync::Arc;

const NAME: &str = "kmesh-seen-";

/// Where it is kept.
pub struct LastSeen {
    kept: Kept,
    said: bool,
}

impl LastSeen {
    /// Takes what an earlier process kept out of everything that it left.
    pub fn take_over(left: &mut Descriptors, store: Arc<dyn Store>) -> (Self, Seen) {
        let (kept, file) = Kept::take_over(left, store, NAME);
        let seen = file.map(|file| serde_json::from_reader(BufReader::new(file)));
        let seen = match seen.transpose() {
            Ok(seen) => seen.unwrap_or_default(),
            Err(error) => {
                warn!("cannot read whom the process before saw connect: {error}");
                Seen::default()
            }
        };
        (Self { kept, said: false }, seen)
    }

    /// Keeps what was seen in place of what was kept before.
    pub fn keep(&mut self, seen: &Seen) {
        let written = self
            .kept
            .keep(|to| serde_json::to_writer(to, seen).map_err(Into::into));
        match written {
            Ok(()) => self.said = false,
            Err(_) if self.said => {}
            Err(error) => {
                warn!("cannot keep who connects beyond this process: {error}");
                self.said = true;
            }
        }
    }
}
