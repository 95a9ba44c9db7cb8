//! What a datagram costs: direct, over a connected socket, and over one that names an address each time.

use crate::connect::follow;
use crate::mesh::{self, LARGE, PORT};
use crate::programs;
use crate::report::{Goal, Report, Row, Unit};
use crate::rounds::{Batch, interleave, quantile};
use crate::{Effort, Error};
use aya::sys::{Stats, enable_stats};
use kmesh_lite::model::{Mesh, PortMapping, Protocol};
use kmesh_lite_tests::cgroup::Cgroup;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

/// Datagrams of a batch.
const BATCH: usize = 200;
const BYTES: usize = 64;

/// A socket of a program, and where it sends to.
struct Way {
    what: &'static str,
    client: UdpSocket,
    /// None where the socket is connected.
    to: Option<SocketAddrV4>,
    goal: Goal,
}

impl Way {
    fn new(
        what: &'static str,
        cgroup: &Cgroup,
        to: SocketAddrV4,
        is_connected: bool,
        goal: Goal,
    ) -> Result<Self, Error> {
        // Hooks follow the cgroup in which a socket is made.
        let client = cgroup.run(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))??;
        if is_connected {
            cgroup.run(|| client.connect(to))??;
        }
        Ok(Self {
            what,
            client,
            to: (!is_connected).then_some(to),
            goal,
        })
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        match self.to {
            Some(to) => self.client.send_to(bytes, to)?,
            None => self.client.send(bytes)?,
        };
        Ok(())
    }

    /// One there.
    fn sends<'a>(&'a self, server: &'a UdpSocket) -> Batch<'a> {
        Box::new(move || {
            let mut bytes = [0; BYTES];
            median(|| {
                self.send(&bytes)?;
                server.recv(&mut bytes)?;
                Ok(())
            })
        })
    }

    /// One there and one back, whose sender the program asks for.
    fn exchanges<'a>(&'a self, server: &'a UdpSocket) -> Batch<'a> {
        Box::new(move || {
            let mut bytes = [0; BYTES];
            median(|| {
                self.send(&bytes)?;
                let (_, from) = server.recv_from(&mut bytes)?;
                server.send_to(&bytes, from)?;
                self.client.recv_from(&mut bytes)?;
                Ok(())
            })
        })
    }
}

/// Of a batch, in nanoseconds.
fn median(mut operation: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    let mut durations = Vec::with_capacity(BATCH);
    for _ in 0..BATCH {
        let begin = Instant::now();
        operation()?;
        durations.push(begin.elapsed().as_nanos() as f64);
    }
    Ok(quantile(&durations, 0.5))
}

/// Every service takes datagrams as well.
fn with_datagrams(target: u16) -> Mesh {
    let mut mesh = LARGE.mesh(target);
    let names: Vec<_> = mesh.services.keys().cloned().collect();
    for name in names {
        let service = mesh.services.get_mut(&name).expect("one of these");
        Arc::make_mut(service).ports.push(PortMapping {
            protocol: Protocol::Udp,
            port: PORT,
            target,
        });
    }
    mesh
}

pub fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let server = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = server.local_addr()?.port();
    let (plain, meshed) = (Cgroup::new("plain")?, Cgroup::new("meshed")?);
    let _kernel = follow(&with_datagrams(port), &meshed)?;
    let direct = SocketAddrV4::new(mesh::backend(0), port);
    let stranger = SocketAddrV4::new(mesh::stranger(0), port);
    let vip = mesh::vip(0);
    let (none, most) = (Goal::None, Goal::Ratio(1.05));
    let connected = [
        Way::new("direct", &plain, direct, true, none)?,
        Way::new(
            "the same again, which is the noise",
            &plain,
            direct,
            true,
            none,
        )?,
        Way::new("not ours", &meshed, stranger, true, Goal::Same)?,
        Way::new("VIP", &meshed, vip, true, Goal::Same)?,
    ];
    let unconnected = [
        Way::new("direct", &plain, direct, false, none)?,
        Way::new(
            "the same again, which is the noise",
            &plain,
            direct,
            false,
            none,
        )?,
        Way::new("not ours", &meshed, stranger, false, none)?,
        Way::new("VIP", &meshed, vip, false, most)?,
    ];
    let rounds = effort.pick(20, 300);
    for (name, ways) in [("connected", &connected), ("not connected", &unconnected)] {
        let mut add = |what: &str, mut batches: Vec<Batch<'_>>| -> Result<(), Error> {
            let values = interleave(rounds, &mut batches)?;
            report.begin(&format!(
                "a datagram of 64 bytes, {what}; the socket is {name}"
            ));
            let rows = ways.iter().zip(&values).map(|(way, of_way)| {
                Row::compared(
                    name,
                    way.what,
                    Unit::Nanoseconds,
                    of_way,
                    &values[0],
                    way.goal,
                )
            });
            report.add(rows.collect());
            Ok(())
        };
        let sends = ways.iter().map(|way| way.sends(&server)).collect();
        add("there", sends)?;
        let exchanges = ways.iter().map(|way| way.exchanges(&server)).collect();
        add("there and back", exchanges)?;
    }
    report.begin("nanoseconds a run for a datagram, as the kernel counts them");
    let _counting = enable_stats(Stats::RunTime)?;
    for (name, ways) in [("connected", &connected), ("not connected", &unconnected)] {
        for way in &ways[2..] {
            let before = programs::counted()?;
            let mut exchanges = way.exchanges(&server);
            for _ in 0..effort.pick(5, 50) {
                exchanges()?;
            }
            for (program, took) in programs::took(&before, &programs::counted()?) {
                let what = format!("{}, {name}", way.what);
                let row = Row::alone(&program, what, Unit::Nanoseconds, took, none);
                report.add(vec![row]);
            }
        }
    }
    Ok(())
}
