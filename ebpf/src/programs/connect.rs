//! connect4 and connect6: the decision, and its consequence.

use crate::context::{self, Fields, PROCEED};
use crate::counters;
use crate::maps;
use crate::moments;
use crate::open;
use crate::original;
use crate::reading::Maps;
use crate::remember::{self, Past};
use crate::slots;
use aya_ebpf::helpers::generated::bpf_get_current_cgroup_id;
use aya_ebpf::programs::SockAddrContext;
use kmesh_lite_common::{Connection, Header, Life, Original, Probe, Speaker, Stage, Waypoint};
use kmesh_lite_ebpf::{Connect, Lookup, Redirect, Refuse, Verdict, decide, give_back};

/// `TABLE`: whether the program takes slots of the connection table.
#[inline(always)]
pub fn connect<F: Fields, const TABLE: bool>(ctx: &SockAddrContext) -> i32 {
    let Some(tables) = Maps::<TABLE>::now(ctx) else {
        return PROCEED;
    };
    let asked = context::asked::<F>(ctx);
    match follow::<F, TABLE>(ctx, &tables, &asked) {
        Ok(()) => PROCEED,
        // What the socket remembers stays: a refused datagram socket keeps its old peer.
        Err(reason) => {
            let verdict = Verdict::Refuse(reason);
            counters::count(&verdict);
            moments::connects(ctx, &tables, &asked, &verdict);
            context::refuse(reason)
        }
    }
}

#[inline(always)]
fn follow<F: Fields, const TABLE: bool>(
    ctx: &SockAddrContext,
    tables: &Maps<'_, TABLE>,
    asked: &Connect,
) -> Result<(), Refuse> {
    let past = remember::past(ctx, asked);
    if TABLE {
        remember::end_earlier(ctx, past, asked);
    }
    let verdict = decide(tables, asked);
    match verdict {
        Verdict::Pass(_) => {
            remember::forget::<TABLE>(ctx, past);
            counters::count(&verdict);
            Ok(())
        }
        Verdict::Redirect(to) => {
            keep::<TABLE>(ctx, tables, asked, &to, past)?;
            context::rewrite::<F>(ctx, to.address, to.port);
            counters::count(&verdict);
            moments::connects(ctx, tables, asked, &verdict);
            Ok(())
        }
        Verdict::Refuse(reason) => Err(reason),
    }
}

/// Keeps what is to be known of the connection.
#[inline(always)]
fn keep<const TABLE: bool>(
    ctx: &SockAddrContext,
    tables: &Maps<'_, TABLE>,
    asked: &Connect,
    to: &Redirect,
    past: Past,
) -> Result<(), Refuse> {
    let waypoint = to.waypoint.and_then(|id| tables.waypoint(id));
    let told = waypoint.filter(|waypoint| waypoint.header != Header::Nothing);
    if told.is_some() && context::is_mptcp(ctx) {
        give_back(tables, &to.chosen, to.taken);
        return Err(Refuse::Header);
    }
    let stage = stage::<TABLE>(tables, to, past);
    let mut listed = false;
    if TABLE {
        listed = remember::list(ctx, past, &mut connection(asked, to, stage));
    }
    let kept = if listed && told.is_none() {
        remember::forget_own::<TABLE>(ctx, past);
        true
    } else {
        let stage = if listed { Stage::default() } else { stage };
        original::keep::<TABLE>(ctx, || original(asked, to, told, stage))
    };
    if !kept && listed {
        remember::end::<TABLE>(ctx);
    } else if !kept || past.endless {
        give_back(tables, &to.chosen, to.taken);
    }
    // Connected all the same, it would report a peer that it did not ask for.
    kept.then_some(()).ok_or(Refuse::NoMemory)
}

/// The stages with which a connection begins. Nothing would tell of the end of one whose socket is the kernel's own.
#[inline(always)]
fn stage<const TABLE: bool>(tables: &Maps<'_, TABLE>, to: &Redirect, past: Past) -> Stage {
    let mut stage = Stage::default();
    if tables.accounts() {
        stage = stage.with(Stage::ACCOUNTED);
    }
    if TABLE && slots::exist() && !past.endless {
        stage = stage.with(to.taken.stage());
    }
    stage
}

/// The row of the connection, without who connects and when.
#[inline(always)]
fn connection(asked: &Connect, to: &Redirect, stage: Stage) -> Connection {
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
        stage,
    }
}

/// What the socket remembers by itself; `told` is the waypoint that it has a header for.
#[inline(always)]
fn original(asked: &Connect, to: &Redirect, told: Option<&Waypoint>, stage: Stage) -> Original {
    let (pending, speaker, process) = match told {
        Some(waypoint) => (waypoint.header, waypoint.speaker, maps::process()),
        None => (Header::Nothing, Speaker::Client, 0),
    };
    let mut terms = (0, 0);
    if stage.has(Stage::AT_ENDPOINT) || stage.has(Stage::AT_SERVICE) {
        terms = open::terms(to.chosen.endpoint, to.chosen.service);
    }
    Original {
        address: asked.address,
        port: asked.port,
        pending,
        service: to.chosen.service,
        backend: to.chosen.backend,
        waypoint: to.waypoint,
        speaker,
        process,
        sender: 0,
        probe: Probe::Idle,
        ids: 0,
        mark: 0,
        endpoint: to.chosen.endpoint,
        header: 0,
        stage,
        zero: 0,
        // SAFETY: no arguments.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        life: Life::default(),
        endpoint_term: terms.0,
        service_term: terms.1,
    }
}
