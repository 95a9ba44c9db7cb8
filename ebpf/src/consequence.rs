//! What is kept of a connect that is sent elsewhere, as functions in the kernel.
//!
//! There are many ways through a decision, and what follows is the same for all of them. So it is a function that the
//! verifier looks at once, as those of [`crate::search`] are: it is called with numbers, and gives one.

use crate::blank::blurred;
use crate::context::{self, Fields, V4, V6};
use crate::counters;
use crate::maps::{self, number};
use crate::open;
use crate::original;
use crate::reading::Maps;
use crate::remember::{self, Past};
use crate::slots;
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::bpf_get_current_cgroup_id;
use aya_ebpf::programs::SockAddrContext;
use core::arch::asm;
use kmesh_lite_common::{
    BackendId, Connection, EndpointId, Header, Life, Original, Probe, ServiceId, Speaker, Stage,
    Waypoint, WaypointId,
};
use kmesh_lite_ebpf::{Chosen, Connect, Lookup, Redirect, Refuse, Taken, give_back};

/// Keeps what is to be known of a connection, and counts it. Gives the number of a [`Refuse`], or 0.
#[inline(always)]
pub fn keep<F: Fields, const TABLE: bool>(
    ctx: &SockAddrContext,
    tables: &Maps<'_, TABLE>,
    asked: &Connect,
    to: &Redirect,
    past: Past,
) -> u64 {
    if !TABLE {
        // Nothing is counted, and there is less to do.
        let kept = Kept::<TABLE> {
            asked: *asked,
            chosen: to.chosen,
            waypoint: to.waypoint,
            taken: Taken::NOTHING,
            past,
        };
        return kept.keep(ctx, tables);
    }
    let keep = if F::IS_V4 { keep4 } else { keep6 };
    let (chosen, way) = packed(&to.chosen, to.waypoint);
    let before = u64::from(past.bits()) | blurred(to.taken.bits().into()) << 32;
    keep(ctx.sock_addr, chosen, way, before, tables.generation())
}

/// What was chosen as two numbers: the service and the endpoint, the backend and the waypoint.
#[inline(always)]
pub fn packed(chosen: &Chosen, waypoint: Option<WaypointId>) -> (u64, u64) {
    let mut service = number(chosen.service.map(ServiceId::index));
    let mut endpoint = number(chosen.endpoint.map(EndpointId::index));
    let mut backend = number(chosen.backend.map(BackendId::index));
    let mut waypoint = number(waypoint.map(WaypointId::index));
    // Else the compiler puts them together before it is known that anything was chosen, and the verifier refuses to see a
    // register used that was never written.
    // SAFETY: nothing changes.
    unsafe {
        asm!(
            "{service} = {service}",
            "{endpoint} = {endpoint}",
            "{backend} = {backend}",
            "{waypoint} = {waypoint}",
            service = inout(reg) service,
            endpoint = inout(reg) endpoint,
            backend = inout(reg) backend,
            waypoint = inout(reg) waypoint,
        );
    }
    (service | endpoint << 32, backend | waypoint << 32)
}

/// The same again.
#[inline(always)]
pub fn unpacked(chosen: u64, way: u64) -> (Chosen, Option<WaypointId>) {
    let index = |number: u64| (number as u32).wrapping_sub(1);
    let chosen = Chosen {
        service: ServiceId::from_index(index(chosen)),
        backend: BackendId::from_index(index(way)),
        endpoint: EndpointId::from_index(index(chosen >> 32)),
    };
    (chosen, WaypointId::from_index(index(way >> 32)))
}

macro_rules! keeps {
    ($name:ident, $fields:ty) => {
        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $name(
            ctx: *mut bpf_sock_addr,
            chosen: u64,
            way: u64,
            before: u64,
            generation: u64,
        ) -> u64 {
            let ctx = SockAddrContext::new(ctx);
            let (chosen, waypoint) = unpacked(chosen, way);
            let kept = Kept::<true> {
                asked: context::asked::<$fields>(&ctx),
                chosen,
                waypoint,
                taken: Taken::of_bits((before >> 32) as u8),
                past: Past::of_bits(before as u32),
            };
            match Maps::<true>::at(&ctx, generation) {
                Some(tables) => kept.keep(&ctx, &tables),
                None => Refuse::Dangling.number(),
            }
        }
    };
}
keeps!(keep4, V4);
keeps!(keep6, V6);

/// A connection that is to be kept. `TABLE`: whether the program takes slots of the connection table.
struct Kept<const TABLE: bool> {
    asked: Connect,
    chosen: Chosen,
    waypoint: Option<WaypointId>,
    taken: Taken,
    past: Past,
}

impl<const TABLE: bool> Kept<TABLE> {
    #[inline(always)]
    fn keep(&self, ctx: &SockAddrContext, tables: &Maps<'_, TABLE>) -> u64 {
        match self.remember(ctx, tables) {
            Ok(()) => {
                counters::count_redirect(&self.chosen, self.waypoint);
                0
            }
            Err(reason) => reason.number(),
        }
    }

    #[inline(always)]
    fn remember(&self, ctx: &SockAddrContext, tables: &Maps<'_, TABLE>) -> Result<(), Refuse> {
        let waypoint = self.waypoint.and_then(|id| tables.waypoint(id));
        let told = waypoint.filter(|waypoint| waypoint.header != Header::Nothing);
        if told.is_some() && context::is_mptcp(ctx) {
            give_back(tables, &self.chosen, self.taken);
            return Err(Refuse::Header);
        }
        let stage = self.stage(tables);
        let mut listed = false;
        if TABLE {
            listed = remember::list(ctx, self.past, || self.connection(stage));
        }
        let kept = if listed && told.is_none() {
            remember::forget_own::<TABLE>(ctx, self.past);
            true
        } else {
            let stage = if listed { Stage::default() } else { stage };
            original::keep::<TABLE>(ctx, || self.original(told, stage))
        };
        if !kept && listed {
            remember::end::<TABLE>(ctx);
        } else if !kept || self.past.is_endless() {
            give_back(tables, &self.chosen, self.taken);
        }
        // Connected all the same, it would report a peer that it did not ask for.
        kept.then_some(()).ok_or(Refuse::NoMemory)
    }

    /// The stages with which a connection begins. Nothing would tell of the end of one whose socket is the kernel's own.
    #[inline(always)]
    fn stage(&self, tables: &Maps<'_, TABLE>) -> Stage {
        let mut stage = Stage::default();
        if tables.accounts() && !self.chosen.is_query(self.waypoint) {
            stage = stage.with(Stage::ACCOUNTED);
        }
        if TABLE && slots::exist() && !self.past.is_endless() {
            stage = stage.with(self.taken.stage());
        }
        Stage(blurred(stage.0.into()) as u8)
    }

    /// The row of the connection, without who connects and when.
    #[inline(always)]
    fn connection(&self, stage: Stage) -> Connection {
        Connection {
            address: self.asked.address,
            since: 0,
            cgroup: 0,
            service: self.chosen.service,
            endpoint: self.chosen.endpoint,
            backend: self.chosen.backend,
            waypoint: self.waypoint,
            process: 0,
            user: 0,
            owner: 0,
            port: self.asked.port,
            protocol: self.asked.protocol,
            stage,
        }
    }

    /// What the socket remembers by itself; `told` is the waypoint that it has a header for.
    #[inline(always)]
    fn original(&self, told: Option<&Waypoint>, stage: Stage) -> Original {
        let (pending, speaker, process) = match told {
            Some(waypoint) => (waypoint.header, waypoint.speaker, maps::process()),
            None => (Header::Nothing, Speaker::Client, 0),
        };
        let mut terms = (0, 0);
        if stage.has(Stage::AT_ENDPOINT) || stage.has(Stage::AT_SERVICE) {
            terms = open::terms(self.chosen.endpoint, self.chosen.service);
        }
        Original {
            address: self.asked.address,
            port: self.asked.port,
            pending,
            service: self.chosen.service,
            backend: self.chosen.backend,
            waypoint: self.waypoint,
            speaker,
            process,
            sender: 0,
            probe: Probe::Idle,
            ids: 0,
            mark: 0,
            endpoint: self.chosen.endpoint,
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
}
