//! The kinds of processes that connect.

use crate::word;

word!(
    /// What the cgroup of a process says about its connects; the key of the table is the cgroup's
    /// id (its inode number in cgroup v2). A cgroup without a row is an ordinary caller, unless an
    /// ancestor has one.
    Caller: u32 {
        /// Routed like any program.
        Ordinary = 0 "ordinary",
        /// Left alone.
        Bypass = 1 "bypass",
        /// A waypoint on this host: gets load balancing, never another waypoint.
        Waypoint = 2 "waypoint",
    }
);
