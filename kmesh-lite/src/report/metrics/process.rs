//! What a process takes of its host, by the names that every exporter has for it.

use super::family::{single_counter, single_gauge};
use crate::host::Usage;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;
use std::fmt;

/// The daemon as a process.
#[derive(Debug)]
pub struct Process {
    usage: Usage,
    started: f64,
}

impl Process {
    pub fn new(usage: Usage, started: f64) -> Self {
        Self { usage, started }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        let (seconds, bytes) = (&Unit::Seconds, &Unit::Bytes);
        let help = "When the process began, since 1970.";
        single_gauge(to, "process_start_time", Some(seconds), help, self.started)?;
        if let Some(processor) = self.usage.processor {
            let help = "Processor time that was spent, in user space and in the kernel.";
            single_counter(to, "process_cpu", Some(seconds), help, processor)?;
        }
        if let Some(resident) = self.usage.resident {
            let help = "Memory that the process has.";
            single_gauge(to, "process_resident_memory", Some(bytes), help, resident)?;
        }
        if let Some(open) = self.usage.descriptors {
            let help = "File descriptors that are open.";
            single_gauge(to, "process_open_fds", None, help, open)?;
        }
        if let Some(most) = self.usage.most_descriptors {
            let help = "File descriptors that may be open.";
            single_gauge(to, "process_max_fds", None, help, most)?;
        }
        Ok(())
    }
}
