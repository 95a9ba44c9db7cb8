//! connect4 and connect6: the decision, and its consequence.

use crate::blank::blurred;
use crate::consequence;
use crate::context::{self, Fields, PROCEED};
use crate::counters;
use crate::moments;
use crate::reading::Maps;
use crate::remember;
use aya_ebpf::programs::SockAddrContext;
use kmesh_lite_ebpf::{Verdict, decide};

/// `TABLE`: whether the program takes slots of the connection table.
#[inline(always)]
pub fn connect<F: Fields, const TABLE: bool>(ctx: &SockAddrContext) -> i32 {
    let Some(tables) = Maps::<TABLE>::now(ctx) else {
        return PROCEED;
    };
    let asked = context::asked::<F>(ctx);
    let past = remember::past(ctx, &asked);
    if TABLE {
        remember::end_earlier(ctx, past, &asked);
    }
    let refusal = match decide(&tables, &asked) {
        Verdict::Pass(reason) => {
            remember::forget::<TABLE>(ctx, past);
            counters::count_pass(reason);
            return PROCEED;
        }
        Verdict::Redirect(to) => {
            let refusal = consequence::keep::<F, TABLE>(ctx, &tables, &asked, &to, past);
            if refusal == 0 {
                // It looks at what was asked for, so it comes before the address is another one. Of questions to DNS
                // servers the agent tells more.
                if !to.is_query() {
                    moments::decided::<F, TABLE>(ctx, &tables, &to);
                }
                context::rewrite::<F>(ctx, to.address, to.port);
                return PROCEED;
            }
            refusal
        }
        Verdict::Refuse(reason) => reason.number(),
    };
    // What the socket remembers stays: a refused datagram socket keeps its old peer.
    refuse::<F, TABLE>(ctx, &tables, refusal)
}

/// Refuses, tells and counts it.
#[inline(always)]
pub fn refuse<F: Fields, const TABLE: bool>(
    ctx: &SockAddrContext,
    tables: &Maps<'_, TABLE>,
    refusal: u64,
) -> i32 {
    let refusal = blurred(refusal);
    counters::count_refusal(refusal);
    moments::rejected::<F, TABLE>(ctx, tables, refusal);
    context::refuse(refusal)
}
