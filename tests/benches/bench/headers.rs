//! What it costs to be sent to a waypoint, without a header and with one of each kind: until the
//! waypoint has answered, and when the connection goes on. And what others pay for the hook that
//! headers need.
//!
//! Every way is gone by the same client to the same server process, which is the waypoint as well.

use crate::connect::{Listener, follow};
use crate::exchange::{Way, rounds, rows};
use crate::mesh::{self, SMALL};
use crate::report::{Goal, Report, Row, Unit};
use crate::rounds::{Values, interleave};
use crate::server::{ANSWER, Server, request};
use crate::{Effort, Error};
use kmesh_lite::model::Header;
use kmesh_lite_tests::cgroup::Cgroup;
use std::net::SocketAddrV4;
use std::time::Duration;

/// Services of the meshes here: one without a waypoint, and one behind each.
const VIP: u32 = 0;
const WITHOUT: u32 = 1;
const TLV: u32 = 2;
const PROXY_V2: u32 = 3;

/// What a header may add to a connection, in nanoseconds.
const EXTRA: f64 = 20_000.0;

pub fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let server = Server::start()?;
    let (plain, meshed) = (Cgroup::new("plain")?, Cgroup::new("meshed")?);
    let waypoints = [
        (WITHOUT, Header::Nothing, at(server.port)),
        (TLV, Header::Tlv, at(server.tlv)),
        (PROXY_V2, Header::ProxyV2, at(server.proxy_v2)),
    ];
    let _kernel = follow(&mesh::behind(server.port, &waypoints), &meshed)?;

    let direct = at(server.port);
    let way = |name, cgroup, address, ours| Way {
        name,
        cgroup,
        address,
        ours,
    };
    let ways = [
        way("direct", &plain, direct, false),
        way("the same again, which is the noise", &plain, direct, false),
        way("VIP", &meshed, mesh::vip(VIP), false),
        way("waypoint, no header", &meshed, mesh::vip(WITHOUT), true),
        way("waypoint, tlv", &meshed, mesh::vip(TLV), true),
        way("waypoint, proxy-v2", &meshed, mesh::vip(PROXY_V2), true),
    ];
    for way in &ways {
        check(way)?;
    }

    let visits = rounds(effort.pick(10, 200), &ways, Way::visit_batch)?;
    report.begin("connect, header, 64 bytes there and 64 back, close");
    report.add(rows(
        "first exchange",
        Unit::Nanoseconds,
        &ways,
        &visits,
        Goal::None,
    ));
    report.add(extras(&visits));

    let values = rounds(effort.pick(10, 60), &ways, Way::exchange_batch)?;
    report.begin("64 bytes there and 64 back, on a connection whose header is out");
    let unit = Unit::Nanoseconds;
    report.add(rows("next exchanges", unit, &ways, &values, Goal::Same));

    let values = rounds(effort.pick(3, 60), &ways, Way::stream_batch)?;
    report.begin("a stream on a connection whose header is out");
    let unit = Unit::MegabytesPerSecond;
    report.add(rows("stream after", unit, &ways, &values, Goal::Rate(0.97)));

    let processor = |way: &Way<'_>| way.processor_batch(&server);
    let values = rounds(effort.pick(3, 60), &ways, processor)?;
    report.begin("processor time of client and server for the same");
    let (unit, goal) = (Unit::Milliseconds, Goal::Ratio(1.03));
    report.add(rows("processor", unit, &ways, &values, goal));

    others(effort, report)
}

/// What waypoints add: without a header to another redirect, with one to a direct connection.
fn extras(visits: &[Values]) -> Vec<Row> {
    let [direct, _, vip, without, tlv, proxy_v2] = visits else {
        unreachable!("a value for each way");
    };
    let (name, unit) = ("first exchange", Unit::Nanoseconds);
    let (what, goal) = ("waypoint, no header, against a VIP", Goal::Ratio(1.10));
    let extra = |what, values: &Values| {
        let extra = values.differences(direct).median();
        Row::alone(name, what, unit, extra, Goal::Value(EXTRA))
    };
    vec![
        Row::compared(name, what, unit, without, vip, goal),
        extra("waypoint, tlv, on top of direct", tlv),
        extra("waypoint, proxy-v2, on top of direct", proxy_v2),
    ]
}

/// What connections without a header pay while the hook for headers is attached.
fn others(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let listener = Listener::new()?;
    let (off, again, on) = (
        Cgroup::new("off")?,
        Cgroup::new("again")?,
        Cgroup::new("on")?,
    );
    let port = listener.port;
    let nothing = (WITHOUT, Header::Nothing, at(port));
    let without = mesh::behind(port, &[nothing]);
    let with = mesh::behind(port, &[nothing, (TLV, Header::Tlv, at(port))]);
    let _kernels = [
        follow(&without, &off)?,
        follow(&without, &again)?,
        follow(&with, &on)?,
    ];
    let stranger = move |number| SocketAddrV4::new(mesh::stranger(number % SMALL.all()), port);
    let values = interleave(
        effort.pick(20, 300),
        &mut [
            listener.connects(&off, stranger),
            listener.connects(&again, stranger),
            listener.connects(&on, stranger),
            listener.connects(&off, |_| mesh::vip(VIP)),
            listener.connects(&on, |_| mesh::vip(VIP)),
            listener.connects(&off, |_| mesh::vip(WITHOUT)),
            listener.connects(&on, |_| mesh::vip(WITHOUT)),
        ],
    )?;
    let [direct, noise, direct_on, vip, vip_on, redirect, redirect_on] = &values[..] else {
        unreachable!("a value for each case");
    };
    let row = |what: &str, values, base, goal| {
        Row::compared("hook", what, Unit::Nanoseconds, values, base, goal)
    };
    let goal = Goal::Ratio(1.02);
    report.begin("connect() while some waypoint has a header, against while none has");
    report.add(vec![
        row("not ours, no header anywhere", direct, direct, Goal::None),
        row(
            "the same again, which is the noise",
            noise,
            direct,
            Goal::None,
        ),
        row("not ours", direct_on, direct, goal),
        row("VIP", vip_on, vip, goal),
        row("waypoint, no header", redirect_on, redirect, goal),
    ]);
    Ok(())
}

/// Where everything leads: to one address.
fn at(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(mesh::backend(0), port)
}

/// That the header is what the server expects: it would wait for the rest of one that is too short.
fn check(way: &Way<'_>) -> Result<(), Error> {
    let _inside = way.cgroup.enter()?;
    let mut stream = way.connect()?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    request(&mut stream, ANSWER).map_err(|error| format!("{}: {error}", way.name).into())
}
