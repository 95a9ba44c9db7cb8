//! What a process is to the mesh, told by the cgroups that it is in.

use crate::maps::CALLERS;
use aya_ebpf::helpers::generated::bpf_get_current_ancestor_cgroup_id;
use kmesh_lite_common::Caller;

/// What the row says of the one of its cgroups that is nearest to the root and has one; bit `n` of `levels` is set where
/// there are rows of cgroups at depth `n`. A function of its own for the verifier, as those of the search are.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn caller_in(levels: u64) -> u64 {
    let mut level = 0;
    while level < 32 {
        if levels >> level & 1 == 1 {
            // SAFETY: answers 0 where there is no ancestor at this depth; no cgroup has id 0.
            let cgroup = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
            // SAFETY: deleted elements are not reused before a grace period has passed.
            if let Some(caller) = unsafe { CALLERS.get(cgroup) } {
                return caller.0.into();
            }
        }
        level += 1;
    }
    Caller::Ordinary.0.into()
}
