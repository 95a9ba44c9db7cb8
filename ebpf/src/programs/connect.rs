//! connect4 and connect6: the decision, and its consequence.

use crate::context::{self, Fields, PROCEED};
use crate::counters;
use crate::maps::{self, Maps, original};
use aya_ebpf::programs::SockAddrContext;
use kmesh_lite_common::{Header, Original, Probe, Speaker};
use kmesh_lite_ebpf::{Connect, Lookup, Redirect, Refuse, Verdict, decide};

#[inline(always)]
pub fn connect<F: Fields>(ctx: &SockAddrContext) -> i32 {
    let asked = context::asked::<F>(ctx);
    let tables = Maps::now(ctx);
    match decide(&tables, &asked) {
        Verdict::Pass(pass) => {
            original::forget(ctx);
            counters::count(&Verdict::Pass(pass));
            PROCEED
        }
        Verdict::Redirect(to) => {
            let original = remember(&tables, &asked, &to);
            if original.pending != Header::Nothing && context::is_mptcp(ctx) {
                return refuse(Refuse::Header);
            }
            if !original::keep(ctx, original) {
                // Connected all the same, it would report a peer that it did not ask for.
                return refuse(Refuse::NoMemory);
            }
            context::rewrite::<F>(ctx, to.address, to.port);
            counters::count(&Verdict::Redirect(to));
            PROCEED
        }
        // What the socket remembers stays: a refused datagram socket keeps its old peer.
        Verdict::Refuse(reason) => refuse(reason),
    }
}

#[inline(always)]
fn refuse(reason: Refuse) -> i32 {
    counters::count(&Verdict::Refuse(reason));
    context::refuse(reason)
}

#[inline(always)]
fn remember(tables: &Maps<'_>, asked: &Connect, to: &Redirect) -> Original {
    let mut original = Original {
        address: asked.address,
        port: asked.port,
        pending: Header::Nothing,
        service: to.chosen.service,
        backend: to.chosen.backend,
        waypoint: to.waypoint,
        speaker: Speaker::Client,
        process: 0,
        sender: 0,
        probe: Probe::Idle,
        ids: 0,
        mark: 0,
    };
    if let Some(waypoint) = to.waypoint.and_then(|id| tables.waypoint(id))
        && waypoint.header != Header::Nothing
    {
        original.pending = waypoint.header;
        original.speaker = waypoint.speaker;
        original.process = maps::process();
    }
    original
}
