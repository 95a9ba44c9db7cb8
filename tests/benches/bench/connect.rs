//! What connect() costs, and getpeername().
//!
//! Client and listener are one thread: nobody has to be woken. The listener has the wildcard
//! address, so that every backend of every mesh is there, and direct connects go to the very
//! addresses that the services would choose.

use crate::mesh::{self, LARGE, SMALL, Size};
use crate::report::{Goal, Report, Row, Unit};
use crate::rounds::{self, Batch, interleave};
use crate::{Effort, Error};
use kmesh_lite::host::{self, Cgroups};
use kmesh_lite::kernel::{Kernel, KernelOptions};
use kmesh_lite::model::{CgroupRef, Mesh};
use kmesh_lite::reconcile::Extent;
use kmesh_lite_tests::cgroup::Cgroup;
use kmesh_lite_tests::foreign::{Foreign, Sharing};
use socket2::{Domain, SockAddr, Socket, Type};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

/// Connects a batch, and before those that count.
const BATCH: usize = 200;
const WARM_UP: usize = 30;
/// Calls of getpeername() that are timed together.
const CALLS: u32 = 10;

pub fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let listener = Listener::new()?;
    let plain = Cgroup::new("plain")?;
    let again = Cgroup::new("again")?;
    let (small, large) = (Cgroup::new("small")?, Cgroup::new("large")?);
    // What the kernel itself takes for calling any program.
    let idle = Cgroup::new("idle")?;
    let _idle = Foreign::attach(idle.folder(), Sharing::Multi)?;
    let _small = attach(SMALL, &small, listener.port)?;
    let _large = attach(LARGE, &large, listener.port)?;

    let at = |address| SocketAddrV4::new(address, listener.port);
    let few = move |number| at(mesh::backend(number % SMALL.all()));
    let many = move |number| at(mesh::backend(number % LARGE.all()));
    // None of them is an address of the small mesh.
    let many_strangers = move |number| at(mesh::backend(SMALL.all() + number % LARGE.all()));
    let stranger = move |number| at(mesh::stranger(number % SMALL.all()));
    let row = |what: &str, values, base, goal| {
        Row::compared("connect", what, Unit::Nanoseconds, values, base, goal)
    };
    report.begin("connect(), against a direct one in a cgroup without programs");
    let values = interleave(
        effort.pick(20, 300),
        &mut [
            listener.connects(&plain, few),
            listener.connects(&again, few),
            listener.connects(&idle, few),
            listener.connects(&small, stranger),
            listener.connects(&large, stranger),
            listener.connects(&small, |_| mesh::vip(0)),
            listener.connects(&large, |_| mesh::vip(LARGE.services / 2)),
        ],
    )?;
    let [direct, noise, floor, other, others, vip, vips] = &values[..] else {
        unreachable!("a value for each case");
    };
    report.add(vec![
        row("direct", direct, direct, Goal::None),
        row(
            "the same again, which is the noise",
            noise,
            direct,
            Goal::None,
        ),
        row("a program that returns at once", floor, direct, Goal::None),
        row("not ours, 1 service", other, direct, Goal::None),
        row("not ours, 1,000 x 100", others, direct, Goal::None),
        row(
            "not ours, 1,000 x 100, against a program that returns at once",
            others,
            floor,
            Goal::Ratio(1.0),
        ),
        row("VIP, 1 service", vip, direct, Goal::Ratio(1.03)),
        row(
            "VIP, 1,000 x 100, one of them",
            vips,
            direct,
            Goal::Ratio(1.03),
        ),
    ]);
    // Apart from the others, whose rows they would drive out of the caches.
    let values = interleave(
        effort.pick(20, 200),
        &mut [
            listener.connects(&plain, many),
            listener.connects(&idle, many),
            listener.connects(&small, many_strangers),
            listener.connects(&large, |number| mesh::vip(number % LARGE.services)),
        ],
    )?;
    let [direct, floor, others, vips] = &values[..] else {
        unreachable!("a value for each case");
    };
    report.add(vec![
        row("direct, to 100,000 addresses", direct, direct, Goal::None),
        row(
            "a program that returns at once, 100,000 addresses",
            floor,
            direct,
            Goal::None,
        ),
        row(
            "not ours, 100,000 addresses, against that",
            others,
            floor,
            Goal::Ratio(1.0),
        ),
        row(
            "VIP, 1,000 x 100, all in turn: rows out of cache",
            vips,
            direct,
            Goal::Ratio(1.10),
        ),
    ]);

    let peers = interleave(
        effort.pick(20, 200),
        &mut [
            listener.peers(&plain, at(mesh::backend(0))),
            listener.peers(&small, at(mesh::stranger(0))),
            listener.peers(&small, mesh::vip(0)),
        ],
    )?;
    let row = |what: &str, values, goal| {
        let base = &peers[0];
        Row::compared("getpeername", what, Unit::Nanoseconds, values, base, goal)
    };
    report.add(vec![
        row("direct", &peers[0], Goal::None),
        row("not ours, 1 service", &peers[1], Goal::None),
        row("VIP, 1 service", &peers[2], Goal::None),
    ]);
    Ok(())
}

/// A mesh of this size in the kernel, for sockets of `cgroup`.
pub fn attach(size: Size, cgroup: &Cgroup, target: u16) -> Result<Kernel, Error> {
    follow(&size.mesh(target), cgroup)
}

/// The same of a mesh that is there already.
pub fn follow(mesh: &Mesh, cgroup: &Cgroup) -> Result<Kernel, Error> {
    let mut kernel = Kernel::load(mesh.limits, KernelOptions::default())?;
    let mut mesh = mesh.clone();
    mesh.capture.cgroups = vec![CgroupRef::Path(cgroup.path().to_owned())];
    let facts = host::facts(&host::this_host(), &Cgroups::find()?, &mesh);
    kernel.reconcile(&mesh, &facts, Extent::Everything)?;
    Ok(kernel)
}

/// Numbers that jump: neighbours in a table would share cache lines.
fn jumps() -> impl Iterator<Item = u32> {
    // A prime, so that every remainder comes up.
    (0..).map(|number: u32| number.wrapping_mul(7_919))
}

/// At every address of loopback.
pub struct Listener {
    socket: Socket,
    pub port: u16,
}

impl Listener {
    pub fn new() -> Result<Self, Error> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SockAddr::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)))?;
        socket.listen(1024)?;
        let address = socket.local_addr()?.as_socket_ipv4();
        let port = address.ok_or("a listener has an address")?.port();
        Ok(Self { socket, port })
    }

    /// Connects from inside `cgroup`.
    pub fn connects<'a>(
        &'a self,
        cgroup: &'a Cgroup,
        destination: impl Fn(u32) -> SocketAddrV4 + 'a,
    ) -> Batch<'a> {
        let mut numbers = jumps();
        Box::new(move || {
            let destinations = numbers.by_ref().map(&destination);
            self.connect_batch(cgroup, destinations)
        })
    }

    /// Questions for the peer of a connection that was made inside `cgroup`.
    fn peers<'a>(&'a self, cgroup: &'a Cgroup, destination: SocketAddrV4) -> Batch<'a> {
        Box::new(move || self.peer_batch(cgroup, destination))
    }

    /// Median duration of a connect().
    fn connect_batch(
        &self,
        cgroup: &Cgroup,
        destinations: impl Iterator<Item = SocketAddrV4>,
    ) -> Result<f64, Error> {
        let _inside = cgroup.enter()?;
        let mut durations = Vec::with_capacity(BATCH);
        for (number, destination) in destinations.take(WARM_UP + BATCH).enumerate() {
            let (client, duration) = self.connect(destination)?;
            if number >= WARM_UP {
                durations.push(duration);
            }
            drop(client);
        }
        Ok(rounds::quantile(&durations, 0.5))
    }

    /// A connection whose other end is gone again, and what connect() took, in nanoseconds.
    fn connect(&self, destination: SocketAddrV4) -> Result<(Socket, f64), Error> {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Nobody keeps the port of a connection that was reset.
        client.set_linger(Some(Duration::ZERO))?;
        let destination = SockAddr::from(destination);
        let begin = Instant::now();
        client.connect(&destination)?;
        let duration = begin.elapsed();
        drop(self.socket.accept()?);
        Ok((client, duration.as_nanos() as f64))
    }

    /// Mean duration of a getpeername() on one connection.
    fn peer_batch(&self, cgroup: &Cgroup, destination: SocketAddrV4) -> Result<f64, Error> {
        let _inside = cgroup.enter()?;
        let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        client.set_linger(Some(Duration::ZERO))?;
        client.connect(&SockAddr::from(destination))?;
        let _server = self.socket.accept()?;
        let mut durations = Vec::with_capacity(BATCH);
        for _ in 0..WARM_UP + BATCH {
            let begin = Instant::now();
            for _ in 0..CALLS {
                let peer = client.peer_addr()?;
                if peer.as_socket_ipv4() != Some(destination) {
                    return Err(format!("connected to {destination}, the peer is {peer:?}").into());
                }
            }
            durations.push(begin.elapsed().as_nanos() as f64 / f64::from(CALLS));
        }
        Ok(rounds::quantile(&durations, 0.5))
    }
}
