//! Whether this process may do what it must.

use std::fs;

/// Capabilities that are needed and not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "missing {}: run as root, or by a systemd unit with AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON",
    .0.join(", ")
)]
pub struct MissingCapabilities(pub Vec<&'static str>);

/// Name and bit, from linux/capability.h.
const NEEDED: [(&str, u32); 3] = [("CAP_BPF", 39), ("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38)];

/// Finds out before the kernel says EPERM, which names nothing.
pub fn check() -> Result<(), MissingCapabilities> {
    let effective = fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("CapEff:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        });
    // Without /proc there is no answer, and the kernel will have the last word anyway.
    let effective = effective.unwrap_or(u64::MAX);
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|(_, bit)| effective >> bit & 1 == 0)
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(MissingCapabilities(missing))
    }
}
