//! To a waypoint.

use crate::{Chosen, Connect, Lookup, Redirect, Refuse, Taken, Verdict};
use kmesh_lite_common::{Header, Protocol, WaypointId};

#[inline(always)]
pub fn decide<L: Lookup>(tables: &L, connect: &Connect, chosen: Chosen, id: WaypointId) -> Verdict {
    let Some(waypoint) = tables.waypoint(id) else {
        return Verdict::Refuse(Refuse::Dangling);
    };
    if !connect.reaches(tables, &waypoint.address) {
        return Verdict::Refuse(Refuse::Family);
    }
    if waypoint.header != Header::Nothing && connect.protocol != Protocol::Tcp {
        return Verdict::Refuse(Refuse::Header);
    }
    Verdict::Redirect(Redirect {
        address: waypoint.address,
        port: waypoint.port,
        chosen,
        waypoint: Some(id),
        taken: Taken::NOTHING,
    })
}
