//! What each program takes, as the kernel counts it, in nanoseconds a run. Counting adds some 25 of them.

use crate::connect::{Listener, follow};
use crate::mesh::{self, LARGE, SMALL};
use crate::report::{Goal, Report, Row, Unit};
use crate::{Effort, Error};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use kmesh_lite_tests::cgroup::Cgroup;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;

/// The programs that a connect or a datagram over IPv4 meets, on its way out and where it arrives.
const NAMES: [&str; 6] = [
    "connect4",
    "connections",
    "released",
    "sendmsg4",
    "recvmsg4",
    "inbound",
];

pub fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    report.begin("nanoseconds a run, as the kernel counts them");
    let cgroup = Cgroup::new("programs")?;
    let listener = Listener::new()?;
    let mut mesh = LARGE.mesh(listener.port);
    mesh.accounting = true;
    let _mesh = follow(&mesh, &cgroup)?;
    let _counting = enable_stats(Stats::RunTime)?;
    let stranger = |number| {
        let address = mesh::stranger(number % SMALL.all());
        SocketAddrV4::new(address, listener.port)
    };
    let cases: [(&str, &dyn Fn(u32) -> SocketAddrV4); 3] = [
        ("not ours", &stranger),
        ("VIP", &|_| mesh::vip(0)),
        ("VIP, all in turn", &|number| {
            mesh::vip(number % LARGE.services)
        }),
    ];
    for (what, destination) in cases {
        let mut connects = listener.connects(&cgroup, destination);
        connects()?;
        let before = counted()?;
        for _ in 0..effort.pick(2, 50) {
            connects()?;
        }
        for (name, took) in took(&before, &counted()?) {
            let row = Row::alone(&name, what, Unit::Nanoseconds, took, Goal::None);
            report.add(vec![row]);
        }
    }
    Ok(())
}

/// Nanoseconds and runs of each of our programs, whichever daemon's, by id.
pub fn counted() -> Result<BTreeMap<u32, (String, f64, u64)>, Error> {
    let mut counted = BTreeMap::new();
    for program in loaded_programs() {
        let program = program?;
        let name = program.name_as_str().unwrap_or_default().to_owned();
        if NAMES.contains(&name.as_str()) {
            let (time, runs) = (program.run_time(), program.run_count());
            counted.insert(program.id(), (name, time.as_nanos() as f64, runs));
        }
    }
    Ok(counted)
}

/// A run of each program that ran most in between.
pub fn took(
    before: &BTreeMap<u32, (String, f64, u64)>,
    after: &BTreeMap<u32, (String, f64, u64)>,
) -> BTreeMap<String, f64> {
    let mut most: BTreeMap<String, (u64, f64)> = BTreeMap::new();
    for (id, (name, time, runs)) in after {
        let (earlier, ran) = before.get(id).map_or((0.0, 0), |it| (it.1, it.2));
        let ran = runs - ran;
        if ran > most.get(name).map_or(0, |most| most.0) {
            most.insert(name.clone(), (ran, (time - earlier) / ran as f64));
        }
    }
    most.into_iter()
        .map(|(name, (_, took))| (name, took))
        .collect()
}
