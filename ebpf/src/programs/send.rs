//! sendmsg4 and sendmsg6: a datagram to an address that is named with it, and not by connect().

use crate::context::{self, Fields, PROCEED};
use crate::counters;
use crate::flows::{self, Decided, Sender};
use crate::moments;
use crate::programs::connect::refuse;
use crate::reading::Maps;
use crate::remember;
use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_get_current_uid_gid};
use aya_ebpf::programs::SockAddrContext;
use kmesh_lite_common::{Address, DNS, FlowKey, Held, Port};
use kmesh_lite_ebpf::{Connect, Lookup, Refuse, Verdict, decide};

/// Nothing tells when a socket has sent the last of its datagrams, so they are no open connection of anything: what is
/// counted of connections is neither asked nor changed.
type Tables<'a> = Maps<'a, false>;

/// A datagram that is not ours costs one look at a bit. One to an address of ours costs two looks at what was decided for
/// the one before.
#[inline(always)]
pub fn sends<F: Fields>(ctx: &SockAddrContext) -> i32 {
    let Some(tables) = Tables::of_datagram(ctx) else {
        return PROCEED;
    };
    let asked = context::asked::<F>(ctx);
    if !tables.may_be_ours(&asked.address) && asked.port != DNS {
        return PROCEED;
    }
    let key = FlowKey::new(remember::cookie(ctx), asked.address, asked.port);
    let known = flows::find(&key);
    if let Some(known) = known
        && let Some(to) = known.goes_on(&key, tables.generation(), tables.caller(), sender)
    {
        return match send::<F>(ctx, &key, &to) {
            Ok(()) => PROCEED,
            Err(reason) => {
                counters::count_refusal(reason.number());
                context::refuse(reason.number())
            }
        };
    }
    let kept = known.and_then(|known| known.held(&key));
    let tables = tables.keeping(kept.unwrap_or(Held::NONE));
    match follow::<F>(ctx, &tables, &key, &asked) {
        Ok(()) => PROCEED,
        Err(reason) => refuse::<F, false>(ctx, &tables, reason.number()),
    }
}

/// Sends the datagram to somewhere else.
#[inline(always)]
fn send<F: Fields>(
    ctx: &SockAddrContext,
    key: &FlowKey,
    to: &(Address, Port),
) -> Result<(), Refuse> {
    expect(key, to)?;
    context::rewrite::<F>(ctx, to.0, to.1);
    Ok(())
}

/// Notes where its answer comes from: sent without that, it would seem to come from somebody else.
#[inline(always)]
fn expect(key: &FlowKey, to: &(Address, Port)) -> Result<(), Refuse> {
    if flows::expect(key, to) {
        Ok(())
    } else {
        Err(Refuse::NoMemory)
    }
}

#[inline(always)]
fn sender() -> Sender {
    Sender {
        // SAFETY: no arguments.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        // SAFETY: as above.
        user_and_group: unsafe { bpf_get_current_uid_gid() },
    }
}

/// Decides. The socket keeps the endpoint that it has, as long as that is in use.
#[inline(always)]
fn follow<F: Fields>(
    ctx: &SockAddrContext,
    tables: &Tables<'_>,
    key: &FlowKey,
    asked: &Connect,
) -> Result<(), Refuse> {
    match decide(tables, asked) {
        // No choice was made, and there may be any number of such datagrams: nobody counts them.
        Verdict::Pass(_) => Ok(()),
        // Decided for each: the next one may not be answered here any more.
        Verdict::Redirect(to) if to.is_query() => {
            send::<F>(ctx, key, &(to.address, to.port))?;
            counters::count_redirect(&to.chosen, to.waypoint);
            Ok(())
        }
        Verdict::Redirect(to) => {
            let decided = Decided {
                generation: tables.generation(),
                caller: tables.caller(),
                is_judged: tables.is_judged(),
                held: tables.held_by(to.chosen.endpoint),
            };
            let is_new = flows::keep(key, &sender(), &decided, &to);
            let is_new = is_new.ok_or(Refuse::NoMemory)?;
            expect(key, &(to.address, to.port))?;
            if is_new {
                counters::count_redirect(&to.chosen, to.waypoint);
                // It looks at what was asked for, so it comes before the address is another one.
                moments::decided::<F, false>(ctx, tables, &to);
            }
            context::rewrite::<F>(ctx, to.address, to.port);
            Ok(())
        }
        Verdict::Refuse(reason) => Err(reason),
    }
}
