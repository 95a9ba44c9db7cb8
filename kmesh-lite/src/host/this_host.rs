//! What the meaning of a configuration depends on.

use super::{own_addresses, unit_files};
use crate::config::Host;

/// This host as it is now.
pub fn this_host() -> Host {
    let own_addresses = own_addresses().unwrap_or_else(|error| {
        log::warn!("cannot list the addresses of this host: {error}");
        Default::default()
    });
    Host {
        name: nix::unistd::gethostname()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        own_addresses,
        unit_files: unit_files(),
    }
}
