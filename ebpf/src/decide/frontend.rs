//! From an address of ours to a service, or to whatever holds when no service declares the port.

use super::{backend, service};
use crate::{Connect, Lookup, PassReason, Refuse, Verdict};
use kmesh_lite_common::{AddressKind, AddressRow, Caller, Frontend, Protocol};

#[inline(always)]
pub fn decide<L: Lookup>(
    tables: &L,
    connect: &Connect,
    caller: Caller,
    frontend: &Frontend,
) -> Verdict {
    let Some(id) = frontend.service else {
        return Verdict::Refuse(Refuse::Dangling);
    };
    match tables.service(id) {
        Some(row) => service::decide(tables, connect, caller, frontend, id, row),
        None => Verdict::Refuse(Refuse::Dangling),
    }
}

#[inline(always)]
pub fn undeclared<L: Lookup>(
    tables: &L,
    connect: &Connect,
    caller: Caller,
    address: &AddressRow,
) -> Verdict {
    match address.backend {
        Some(id) => backend::direct(tables, connect, caller, id),
        None if address.kind == AddressKind::Virtual => {
            Verdict::Refuse(if connect.protocol == Protocol::Udp {
                Refuse::UndeclaredUdpPort
            } else {
                Refuse::UndeclaredPort
            })
        }
        None => Verdict::Pass(PassReason::UndeclaredPort),
    }
}
