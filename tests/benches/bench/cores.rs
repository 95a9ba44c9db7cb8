//! Two clients on two cores against one on one: a cache line that both write would show.

use crate::connect::{Listener, attach};
use crate::machine::stay_on;
use crate::mesh::{self, SMALL};
use crate::report::{Goal, Report, Row, Unit};
use crate::rounds::{Batch, interleave};
use crate::{Effort, Error};
use kmesh_lite_tests::cgroup::Cgroup;
use nix::sched::CpuSet;
use std::net::SocketAddrV4;
use std::thread;

pub fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    report.begin("two clients on two cores, against one on one");
    if thread::available_parallelism()?.get() < 2 {
        report.skip("two cores", "this machine has one");
        return Ok(());
    }
    let (plain, captured) = (Cgroup::new("plain")?, Cgroup::new("captured")?);
    let listener = &Listener::new()?;
    let _mesh = attach(SMALL, &captured, listener.port)?;
    let direct = SocketAddrV4::new(mesh::backend(0), listener.port);
    let case = |cores: usize, cgroup, to| -> Batch<'_> {
        Box::new(move || together(cores, listener, cgroup, to))
    };
    let values = interleave(
        effort.pick(5, 60),
        &mut [
            case(1, &plain, direct),
            case(2, &plain, direct),
            case(1, &captured, mesh::vip(0)),
            case(2, &captured, mesh::vip(0)),
        ],
    )?;
    let [direct, direct_two, vip, vip_two] = &values[..] else {
        unreachable!("a value for each case");
    };
    let (direct, vip) = (direct_two.ratios(direct), vip_two.ratios(vip));
    let row = |what: &str, values, base, goal| {
        Row::compared("two cores", what, Unit::Times, values, base, goal)
    };
    report.add(vec![
        row(
            "a direct connect takes so many times as long",
            &direct,
            &direct,
            Goal::None,
        ),
        row("one to a VIP", &vip, &direct, Goal::Ratio(1.03)),
    ]);
    Ok(())
}

/// The mean of the medians of so many clients, each on a core of its own.
fn together(
    cores: usize,
    listener: &Listener,
    cgroup: &Cgroup,
    to: SocketAddrV4,
) -> Result<f64, Error> {
    let client = |core: usize| -> Result<f64, String> {
        let work = || -> Result<f64, Error> {
            let mut own = CpuSet::new();
            own.set(core)?;
            stay_on(&own)?;
            listener.connects(cgroup, |_| to)()
        };
        work().map_err(|error| error.to_string())
    };
    let durations: Result<Vec<f64>, String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..cores)
            .map(|core| scope.spawn(move || client(core)))
            .collect();
        let ended = clients
            .into_iter()
            .map(|client| client.join().expect("no panic"));
        ended.collect()
    });
    let durations = durations?;
    Ok(durations.iter().sum::<f64>() / durations.len() as f64)
}
