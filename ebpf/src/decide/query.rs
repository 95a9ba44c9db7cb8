//! A question to a DNS server that is none of the mesh, over a connection or in a datagram: the agent answers it in place of the
//! server, if it can and should.

use crate::{Chosen, Connect, Lookup, Redirect, Taken, Verdict};
use kmesh_lite_common::Caller;

/// None where the question goes where it is sent.
#[inline(always)]
pub fn decide<L: Lookup>(tables: &L, connect: &Connect) -> Option<Verdict> {
    // An address of the other family cannot stand in: a datagram could not be sent there.
    let (address, port) = tables.nameserver()?.listener(connect.address.family())?;
    let is_asked_already = address == connect.address && port == connect.port;
    // The agent itself asks others, and what is left alone by the mesh is left alone in this as well.
    if is_asked_already || tables.caller() == Caller::Bypass {
        return None;
    }
    tables
        .answers_instead(address, port, connect.protocol)
        .then_some(Verdict::Redirect(Redirect {
            address,
            port,
            chosen: Chosen::default(),
            waypoint: None,
            taken: Taken::NOTHING,
        }))
}
