//! Series of the programs in the kernel, which it counts while an operator asks it to: the sysctl
//! `kernel.bpf_stats_enabled` is 1. That takes a right that the daemon does not have.

use super::family::{counter, family};
use crate::kernel::Runs;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt;

pub fn programs(to: &mut DescriptorEncoder<'_>, runs: &[Runs]) -> fmt::Result {
    let counted = || runs.iter().filter(|runs| runs.count > 0);
    if counted().next().is_none() {
        return Ok(());
    }
    let help = "Runs of each program, while the sysctl kernel.bpf_stats_enabled is 1.";
    let mut count = family(to, "program_runs", None, MetricType::Counter, help)?;
    for runs in counted() {
        counter(&mut count, &[("program", runs.program)], runs.count)?;
    }
    let help = "Time in runs of each program, while the sysctl kernel.bpf_stats_enabled is 1.";
    let seconds = Some(&Unit::Seconds);
    let mut time = family(to, "program_run", seconds, MetricType::Counter, help)?;
    for runs in counted() {
        let labels = [("program", runs.program)];
        counter(&mut time, &labels, runs.time.as_secs_f64())?;
    }
    Ok(())
}
