//! sock_ops: what becomes of the connections of a cgroup. The program only tells the stages of a
//! connection apart; each part that acts at a stage has a function for it.

use crate::arrivals;
use crate::life::{self, Socket};
use crate::pending;
use aya_ebpf::bindings::{
    BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB,
    BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_TCP_CONNECT_CB,
    bpf_sock,
};
use aya_ebpf::programs::SockOpsContext;

/// Sock_ops programs must return this.
const DONE: u32 = 1;

/// Dispatches one callback. `TABLE`: whether there may be a connection table.
#[inline(always)]
pub fn follow<const TABLE: bool>(ctx: &SockOpsContext) -> u32 {
    let op = ctx.op();
    if op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB {
        arrivals::arrived(ctx);
        return DONE;
    }
    // First of all, for the sake of every connection that is not ours.
    if op != BPF_SOCK_OPS_TCP_CONNECT_CB
        && op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB
        && op != BPF_SOCK_OPS_HDR_OPT_LEN_CB
        && op != BPF_SOCK_OPS_STATE_CB
    {
        return DONE;
    }
    // Only connections that are ours are asked about beyond that.
    if op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && ctx.cb_flags() == 0 {
        return DONE;
    }
    // Of the states of a connection, two in five matter.
    if op == BPF_SOCK_OPS_STATE_CB && !life::is_stage(ctx) {
        return DONE;
    }
    // SAFETY: the context is valid while the program runs.
    let sk: *mut bpf_sock = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        return DONE;
    }
    let socket = Socket::of(ctx, sk);
    if op == BPF_SOCK_OPS_TCP_CONNECT_CB {
        life::begins::<TABLE>(ctx, socket);
        if let Some(original) = socket.original() {
            pending::connecting(ctx, original);
        }
    } else if op == BPF_SOCK_OPS_STATE_CB {
        if pending::asks(ctx)
            && let Some(original) = socket.original()
        {
            pending::changed(ctx, original);
        }
        life::changes::<TABLE>(ctx, socket);
    } else if let Some(original) = socket.original() {
        if op == BPF_SOCK_OPS_HDR_OPT_LEN_CB {
            pending::segment(ctx, original);
        } else {
            pending::established(ctx, original);
        }
    }
    DONE
}
