//! What the programs need to know besides the mesh.

use crate::{Interest, LAYOUT_VERSION};

/// The single row of the settings table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// What these tables are, and whose.
    pub label: Label,
    /// Which version of each row counts. Storing it is what makes a plan visible.
    pub generation: u64,
    /// Bit `n` is set when some cgroup of depth `n` below the cgroup v2 root has a row in the
    /// caller table: only those ancestors are looked up.
    pub caller_levels: u32,
    /// Process id (thread group, first pid namespace) whose connects are left alone; 0 for none.
    pub daemon: u32,
    /// The same for the agent, which probes endpoints themselves.
    pub agent: u32,
    /// 1 where connections are accounted.
    pub accounting: u32,
    /// Which moments of connections somebody wants to know.
    pub interest: Interest,
    pub reserved: u32,
}

/// How somebody who finds the tables knows what they are. The same in every layout, at the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Label {
    /// [`Label::MAGIC`]: others may have a map of this name.
    pub magic: u64,
    /// [`LAYOUT_VERSION`] of whoever made them.
    pub layout: u32,
    pub reserved: u32,
    /// Which daemon of the host they belong to.
    pub instance: u64,
}

impl Label {
    pub const MAGIC: u64 = u64::from_be_bytes(*b"kmeshlit");

    /// Of tables made now.
    pub const fn new(instance: u64) -> Self {
        Self {
            magic: Self::MAGIC,
            layout: LAYOUT_VERSION,
            reserved: 0,
            instance,
        }
    }
}

const _: () = assert!(size_of::<Settings>() == 56);
const _: () = assert!(size_of::<Label>() == 24);
