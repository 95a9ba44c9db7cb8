//! What this process takes of the host.

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};
use std::fs;

/// As far as the host tells.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// In user space and in the kernel, in seconds.
    pub processor: Option<f64>,
    /// Bytes of memory that are its own now.
    pub resident: Option<u64>,
    pub descriptors: Option<u64>,
    pub most_descriptors: Option<u64>,
}

impl Usage {
    /// Of now.
    pub fn look() -> Self {
        let times = getrusage(UsageWho::RUSAGE_SELF).ok();
        let times = times.map(|it| it.user_time() + it.system_time());
        let limit = getrlimit(Resource::RLIMIT_NOFILE).ok();
        Self {
            processor: times.map(|time| time.num_microseconds() as f64 / 1e6),
            resident: resident(),
            descriptors: descriptors(),
            most_descriptors: limit.map(|(soft, _)| soft),
        }
    }
}

fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}

fn descriptors() -> Option<u64> {
    let all = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    // One of them was for looking.
    Some(all.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_something_of_everything() {
        let usage = Usage::look();
        assert!(usage.processor.unwrap() > 0.0);
        assert!(usage.resident.unwrap() > 100_000);
        let open = usage.descriptors.unwrap();
        assert!(open >= 3 && open <= usage.most_descriptors.unwrap());
    }
}
