//! What it costs that connections are accounted: from connect() to close(), against the same mesh that
//! does not account, and against no programs at all.

use crate::connect::follow;
use crate::exchange::{Way, rounds, rows};
use crate::mesh::{self, LARGE};
use crate::report::{Goal, Report, Row, Unit};
use crate::server::Server;
use crate::{Effort, Error};
use kmesh_lite_tests::cgroup::Cgroup;
use std::net::SocketAddrV4;

pub fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let server = Server::start()?;
    let cgroups = [
        Cgroup::new("plain")?,
        Cgroup::new("off")?,
        Cgroup::new("on")?,
    ];
    let [plain, off, on] = &cgroups;
    let mut mesh = LARGE.mesh(server.port);
    let _off = follow(&mesh, off)?;
    mesh.accounting = true;
    let _on = follow(&mesh, on)?;
    let direct = SocketAddrV4::new(mesh::backend(0), server.port);
    // No mesh mentions it.
    let other = SocketAddrV4::new(mesh::stranger(0), server.port);
    let way = |name, cgroup, address| Way {
        name,
        cgroup,
        address,
        ours: false,
    };
    let ways = [
        way("direct", plain, direct),
        way("the same again, which is the noise", plain, direct),
        way("not ours, not accounted", off, other),
        way("not ours, accounted", on, other),
        way("VIP, not accounted", off, mesh::vip(0)),
        way("VIP, accounted", on, mesh::vip(0)),
    ];
    let values = rounds(effort.pick(10, 150), &ways, Way::visit_batch)?;
    report.begin("connect, 64 bytes there and 64 back, close: with accounts and without");
    report.add(rows(
        "accounted",
        Unit::Nanoseconds,
        &ways,
        &values,
        Goal::None,
    ));
    for (what, of, base) in [
        ("not ours, accounted, against not", 3, 2),
        ("VIP, accounted, against not", 5, 4),
    ] {
        report.add(vec![Row::compared(
            "accounted",
            what,
            Unit::Nanoseconds,
            &values[of],
            &values[base],
            Goal::Ratio(1.02),
        )]);
    }
    Ok(())
}
