//! connect4 and connect6: the decision, and its consequence.

use crate::context::{self, Fields, PROCEED};
use crate::counters;
use crate::maps::{self, Maps};
use crate::remember;
use aya_ebpf::programs::SockAddrContext;
use kmesh_lite_common::{Connection, Header, Original, Probe, Speaker};
use kmesh_lite_ebpf::{Connect, Lookup, Redirect, Refuse, Verdict, decide};

/// `TABLE`: whether the program takes slots of the connection table.
#[inline(always)]
pub fn connect<F: Fields, const TABLE: bool>(ctx: &SockAddrContext) -> i32 {
    let asked = context::asked::<F>(ctx);
    let tables = Maps::now(ctx);
    match decide(&tables, &asked) {
        Verdict::Pass(pass) => {
            remember::forget(ctx, remember::past(ctx, &asked));
            counters::count(&Verdict::Pass(pass));
            PROCEED
        }
        Verdict::Redirect(to) => {
            let original = original(&tables, &asked, &to);
            if original.pending != Header::Nothing && context::is_mptcp(ctx) {
                return refuse(Refuse::Header);
            }
            let past = remember::past(ctx, &asked);
            if !remember::keep::<TABLE>(ctx, past, &mut connection(&asked, &to), original) {
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

/// The row of the connection, without who connects and when.
#[inline(always)]
fn connection(asked: &Connect, to: &Redirect) -> Connection {
    Connection {
        address: asked.address,
        since: 0,
        cgroup: 0,
        service: to.chosen.service,
        endpoint: to.chosen.endpoint,
        backend: to.chosen.backend,
        waypoint: to.waypoint,
        process: 0,
        user: 0,
        owner: 0,
        port: asked.port,
        protocol: asked.protocol,
        zero: 0,
    }
}

#[inline(always)]
fn original(tables: &Maps<'_>, asked: &Connect, to: &Redirect) -> Original {
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
