//! What a connection costs once it is there, and one from beginning to end: direct, to a VIP, and
//! through proxies.

use crate::connect::attach;
use crate::mesh::{self, LARGE};
use crate::proxies;
use crate::report::{Goal, Report, Row, Unit};
use crate::rounds::{self, Batch, Values, interleave};
use crate::server::{ANSWER, Server, request};
use crate::{Effort, Error};
use kmesh_lite_tests::cgroup::Cgroup;
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, SockAddr, Socket, Type};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

/// Operations of a batch, and before those that count.
const BATCH: usize = 200;
const WARM_UP: usize = 20;
/// Bytes of a stream.
const STREAM: usize = 32 << 20;

/// A way to the server.
pub struct Way<'a> {
    pub name: &'static str,
    pub cgroup: &'a Cgroup,
    pub address: SocketAddrV4,
    /// Whether it is to be as fast as a direct one.
    pub ours: bool,
}

pub fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let server = Server::start()?;
    let (plain, meshed) = (Cgroup::new("plain")?, Cgroup::new("meshed")?);
    let _kernel = attach(LARGE, &meshed, server.port)?;
    let (direct, vip) = (
        SocketAddrV4::new(mesh::backend(0), server.port),
        mesh::vip(0),
    );
    let haproxy = proxies::haproxy(server.port);
    let nginx = proxies::nginx(server.port);

    let way = |name, cgroup, address, ours| Way {
        name,
        cgroup,
        address,
        ours,
    };
    let mut ways = vec![
        way("direct", &plain, direct, false),
        way("the same again, which is the noise", &plain, direct, false),
        way("VIP", &meshed, vip, true),
    ];
    for (name, proxy) in [("HAProxy", &haproxy), ("nginx stream", &nginx)] {
        match proxy {
            Ok((_, address)) => ways.push(way(name, &plain, *address, false)),
            Err(error) => report.skip(name, error),
        }
    }

    let values = rounds(effort.pick(10, 60), &ways, Way::exchange_batch)?;
    report.begin("64 bytes there and 64 back, on one connection");
    report.add(rows(
        "exchange",
        Unit::Nanoseconds,
        &ways,
        &values,
        Goal::Same,
    ));

    let values = rounds(effort.pick(3, 30), &ways, Way::stream_batch)?;
    report.begin("a stream to the server");
    report.add(rows(
        "stream",
        Unit::MegabytesPerSecond,
        &ways,
        &values,
        Goal::SameRate,
    ));

    let values = rounds(effort.pick(10, 60), &ways, Way::visit_batch)?;
    report.begin("connect, 64 bytes there and 64 back, close");
    report.add(rows(
        "connection",
        Unit::Nanoseconds,
        &ways,
        &values,
        Goal::None,
    ));
    Ok(())
}

/// Measures every way in every round.
pub fn rounds<'a>(
    rounds: usize,
    ways: &'a [Way<'a>],
    batch: impl Fn(&Way<'a>) -> Result<f64, Error> + Copy + 'a,
) -> Result<Vec<Values>, Error> {
    let case = |way| -> Batch<'a> { Box::new(move || batch(way)) };
    let mut cases: Vec<_> = ways.iter().map(case).collect();
    interleave(rounds, &mut cases)
}

/// A row for each way, compared to the first one.
pub fn rows(name: &str, unit: Unit, ways: &[Way<'_>], values: &[Values], goal: Goal) -> Vec<Row> {
    let ways = ways.iter().zip(values);
    ways.map(|(way, of_way)| {
        let goal = if way.ours { goal } else { Goal::None };
        Row::compared(name, way.name, unit, of_way, &values[0], goal)
    })
    .collect()
}

impl Way<'_> {
    pub fn connect(&self) -> Result<TcpStream, Error> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Nobody keeps the port of a connection that was reset.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.set_tcp_nodelay(true)?;
        socket.connect(&SockAddr::from(self.address))?;
        Ok(socket.into())
    }

    /// Median duration of an exchange.
    pub fn exchange_batch(&self) -> Result<f64, Error> {
        let _inside = self.cgroup.enter()?;
        let mut stream = self.connect()?;
        median(|| Ok(request(&mut stream, ANSWER)?))
    }

    /// Megabytes a second.
    pub fn stream_batch(&self) -> Result<f64, Error> {
        let _inside = self.cgroup.enter()?;
        let mut stream = self.connect_and_warm_up()?;
        let begin = Instant::now();
        request(&mut stream, STREAM)?;
        Ok(STREAM as f64 / 1e6 / begin.elapsed().as_secs_f64())
    }

    /// What the client and the server use of processors for a stream, in milliseconds.
    pub fn processor_batch(&self, server: &Server) -> Result<f64, Error> {
        let _inside = self.cgroup.enter()?;
        let mut stream = self.connect_and_warm_up()?;
        let both =
            || -> Result<f64, Error> { Ok(own_processor_time()? + server.processor_time()?) };
        let before = both()?;
        request(&mut stream, STREAM)?;
        Ok(both()? - before)
    }

    fn connect_and_warm_up(&self) -> Result<TcpStream, Error> {
        let mut stream = self.connect()?;
        // Windows open on the way.
        request(&mut stream, STREAM / 4)?;
        Ok(stream)
    }

    /// Median duration of a whole connection.
    pub fn visit_batch(&self) -> Result<f64, Error> {
        let _inside = self.cgroup.enter()?;
        median(|| Ok(request(&mut self.connect()?, ANSWER)?))
    }
}

/// Of the calling thread, in milliseconds.
fn own_processor_time() -> Result<f64, Error> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(Duration::from(time).as_secs_f64() * 1e3)
}

/// Of a batch, in nanoseconds.
fn median(mut operation: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    let mut durations = Vec::with_capacity(BATCH);
    for number in 0..WARM_UP + BATCH {
        let begin = Instant::now();
        operation()?;
        if number >= WARM_UP {
            durations.push(begin.elapsed().as_nanos() as f64);
        }
    }
    Ok(rounds::quantile(&durations, 0.5))
}
