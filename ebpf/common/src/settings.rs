//! What the programs need to know besides the mesh.

/// The single row of the settings table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Which version of each row counts. Storing it is what makes a plan visible.
    pub generation: u64,
    /// Bit `n` is set when some cgroup of depth `n` below the cgroup v2 root has a row in the
    /// caller table: only those ancestors are looked up.
    pub caller_levels: u32,
    /// Process id (thread group, first pid namespace) whose connects are left alone; 0 for none.
    pub daemon: u32,
}

const _: () = assert!(size_of::<Settings>() == 16);
