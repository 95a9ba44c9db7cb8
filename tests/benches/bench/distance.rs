//! What a header adds to the first exchange with a waypoint that is not on this host.
//!
//! A segment that waits for an acknowledgement waits for a round trip, which loopback does not have.
//! So the client is in one network namespace, proxies and their backend are in another, and a line
//! between the two delays packets. Each proxy is the waypoint of two services, which differ in the
//! header alone.

pub mod backend;
mod line;
mod waypoints;

use crate::connect::follow;
use crate::machine::SpareCore;
use crate::mesh;
use crate::report::{Goal, Report, Row, Unit};
use crate::rounds::{Batch, Values, interleave, quantile};
use crate::{Effort, Error};
use backend::Backend;
use kmesh_lite_tests::cgroup::Cgroup;
use kmesh_lite_tests::netns::NetNs;
use line::Line;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

const ROUND_TRIP: Duration = Duration::from_millis(1);
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 97, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 97, 0, 2);

/// Exchanges of a batch.
const BATCH: usize = 5;
/// An exchange that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a header may add, in nanoseconds.
const EXTRA: f64 = 100_000.0;

const NAME: &str = "1 ms away";

pub fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let core = SpareCore::keep()?;
    let _far = NetNs::enter()?;
    let far = match line::end(FAR) {
        Ok(far) => far,
        Err(error) => {
            report.skip(NAME, format!("no TUN device: {error}"));
            return Ok(());
        }
    };
    let _backend = Backend::start()?;
    let (_proxies, waypoints) = waypoints::start(FAR, report);
    let _near = NetNs::enter()?;
    let _line = Line::between([line::end(NEAR)?, far], ROUND_TRIP, core.spare())?;

    let (plain, meshed) = (Cgroup::new("plain")?, Cgroup::new("meshed")?);
    let listeners: Vec<_> = waypoints
        .iter()
        .flat_map(|waypoint| waypoint.listeners.both())
        .zip(0..)
        .map(|((header, address), service)| (service, header, address))
        .collect();
    let _kernel = follow(&mesh::behind(backend::PORT, &listeners), &meshed)?;

    let direct = Exchange {
        what: "direct".to_owned(),
        cgroup: &plain,
        address: SocketAddrV4::new(FAR, backend::PORT),
        nodelay: true,
        writes: vec![backend::request(100)],
    };
    let mut exchanges = vec![[direct.clone(), direct]];
    for (waypoint, service) in waypoints.iter().zip((0..).step_by(2)) {
        exchanges.extend(pairs(waypoint.name, service, &meshed));
    }
    let case = |exchange| -> Batch<'_> { Box::new(move || Exchange::batch(exchange)) };
    let mut cases: Vec<_> = exchanges.iter().flatten().map(case).collect();
    let values = interleave(effort.pick(2, 20), &mut cases)?;
    report.begin("first exchange with a waypoint over a line of 1 ms: what a header adds");
    report.add(rows(&exchanges, &values));
    Ok(())
}

/// Every kind of exchange with a waypoint: through `service`, which has no header, and through the
/// one after it, which has one.
fn pairs<'a>(
    waypoint: &'static str,
    service: u32,
    cgroup: &'a Cgroup,
) -> impl Iterator<Item = [Exchange<'a>; 2]> {
    let small = backend::request(100);
    let (first, rest) = small.split_at(1);
    let requests = [
        ("1 byte", vec![first.to_vec(), rest.to_vec()]),
        ("100 bytes", vec![small]),
        ("64 kB", vec![backend::request(64 << 10)]),
    ];
    let options = [(true, ", TCP_NODELAY"), (false, "")];
    requests.into_iter().flat_map(move |(size, writes)| {
        options.map(|(nodelay, option)| {
            [service, service + 1].map(|service| Exchange {
                what: format!("{waypoint}, {size}{option}"),
                cgroup,
                address: mesh::vip(service),
                nodelay,
                writes: writes.clone(),
            })
        })
    })
}

fn rows(pairs: &[[Exchange<'_>; 2]], values: &[Values]) -> Vec<Row> {
    let extra = |what: &str, with: &Values, without: &Values, goal| Row {
        value: with.differences(without).median(),
        ..Row::compared(NAME, what, Unit::Nanoseconds, with, without, goal)
    };
    let (direct, noise) = (&values[0], &values[1]);
    let line = direct.median() / 1e6;
    let (what, unit) = ("direct, which is the line", Unit::Milliseconds);
    let mut rows = vec![
        Row::alone(NAME, what, unit, line, Goal::None),
        extra(
            "the same again, which is the noise",
            noise,
            direct,
            Goal::None,
        ),
    ];
    for ([without, _], values) in pairs.iter().zip(values.chunks_exact(2)).skip(1) {
        let goal = Goal::Value(EXTRA);
        rows.push(extra(&without.what, &values[1], &values[0], goal));
    }
    rows
}

/// A way to a server, and what is said there.
#[derive(Clone)]
struct Exchange<'a> {
    what: String,
    cgroup: &'a Cgroup,
    address: SocketAddrV4,
    nodelay: bool,
    /// The request.
    writes: Vec<Vec<u8>>,
}

impl Exchange<'_> {
    /// Median duration of a first exchange, in nanoseconds.
    fn batch(&self) -> Result<f64, Error> {
        let _inside = self.cgroup.enter()?;
        let durations: Result<Vec<_>, _> = (0..BATCH).map(|_| self.once()).collect();
        match durations {
            Ok(durations) => Ok(quantile(&durations, 0.5)),
            Err(error) => Err(format!("{}: {error}", self.what).into()),
        }
    }

    /// From the first write until the answer is whole.
    fn once(&self) -> io::Result<f64> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Nobody keeps the port of a connection that was reset.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.set_tcp_nodelay(self.nodelay)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(&SockAddr::from(self.address))?;
        let mut stream = TcpStream::from(socket);
        let begin = Instant::now();
        for write in &self.writes {
            stream.write_all(write)?;
        }
        backend::whole_answer(&mut stream)?;
        Ok(begin.elapsed().as_nanos() as f64)
    }
}
