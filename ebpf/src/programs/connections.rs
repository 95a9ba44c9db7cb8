//! sock_ops: what becomes of the connections of a cgroup. The program only tells the stages of a
//! connection apart; each part that acts at a stage has a function for it.

use crate::original;
use crate::pending;
use aya_ebpf::bindings::{
    BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB, BPF_SOCK_OPS_STATE_CB,
    BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock,
};
use aya_ebpf::programs::SockOpsContext;

/// Sock_ops programs must return this.
const DONE: u32 = 1;

/// Dispatches one callback.
#[inline(always)]
pub fn follow(ctx: &SockOpsContext) -> u32 {
    let op = ctx.op();
    // First of all, for the sake of every connection that is not ours.
    if op != BPF_SOCK_OPS_TCP_CONNECT_CB
        && op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB
        && op != BPF_SOCK_OPS_HDR_OPT_LEN_CB
        && op != BPF_SOCK_OPS_STATE_CB
    {
        return DONE;
    }
    // SAFETY: the context is valid while the program runs.
    let sk: *mut bpf_sock = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    let Some(original) = original::of(sk) else {
        return DONE;
    };
    if op == BPF_SOCK_OPS_HDR_OPT_LEN_CB {
        pending::segment(ctx, original);
    } else if op == BPF_SOCK_OPS_STATE_CB {
        pending::changed(ctx, original);
    } else if op == BPF_SOCK_OPS_TCP_CONNECT_CB {
        pending::connecting(ctx, original);
    } else {
        pending::established(ctx, original);
    }
    DONE
}
