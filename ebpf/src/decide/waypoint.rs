//! To a waypoint.

use crate::{Connect, Lookup, Redirect, Refuse, Verdict};
use kmesh_lite_common::{BackendId, Header, Protocol, ServiceId, WaypointId};

#[inline(always)]
pub fn decide<L: Lookup>(
    tables: &L,
    connect: &Connect,
    service: Option<ServiceId>,
    backend: Option<BackendId>,
    id: WaypointId,
) -> Verdict {
    let Some(waypoint) = tables.waypoint(id) else {
        return Verdict::Refuse(Refuse::Dangling);
    };
    if !connect.reaches(&waypoint.address) {
        return Verdict::Refuse(Refuse::Family);
    }
    if waypoint.header != Header::Nothing && connect.protocol != Protocol::Tcp {
        return Verdict::Refuse(Refuse::Header);
    }
    Verdict::Redirect(Redirect {
        address: waypoint.address,
        port: waypoint.port,
        service,
        backend,
        waypoint: Some(id),
    })
}
