//! Which units systemd knows on this host.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Where unit files are (systemd.unit(5)), those of users' own systemd among them.
const FOLDERS: [&str; 14] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
    "/etc/systemd/user",
    "/usr/local/lib/systemd/user",
    "/usr/lib/systemd/user",
];

/// Names of unit files. None where systemd does not run: nothing is known there.
pub fn names() -> Option<BTreeSet<String>> {
    // As sd_booted(3) does.
    if !Path::new("/run/systemd/system").is_dir() {
        return None;
    }
    let entries = FOLDERS.iter().flat_map(fs::read_dir).flatten().flatten();
    Some(
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect(),
    )
}
