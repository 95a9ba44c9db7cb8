//! What the meaning of a configuration depends on.

use super::addresses::own_addresses;
use super::routes::routes;
use super::unit_files;
use super::user::numbers;
use crate::config::Host;

/// This host as it is now.
pub fn this_host() -> Host {
    let mut host = Host::default();
    look_again(&mut host);
    host
}

/// Brings what is known of this host up to date. Addresses that cannot be listed stay as they were.
pub fn look_again(host: &mut Host) {
    match own_addresses() {
        Ok(addresses) => host.own_addresses = addresses,
        Err(error) => log::warn!("cannot list the addresses of this host: {error}"),
    }
    host.routes = routes();
    host.name = nix::unistd::gethostname()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    host.unit_files = unit_files();
    host.users = numbers("/etc/passwd");
    host.groups = numbers("/etc/group");
}
