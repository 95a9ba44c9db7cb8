//! Where the time of a pass goes, in this process: the daemon's share without files and watching.
//!
//! Steps in processor time, so that others do not count; whole passes by the clock, with all their
//! waiting for programs to end.

use crate::mesh::LARGE;
use crate::report::{Goal, Report, Row, Unit};
use crate::rounds::quantile;
use crate::{Effort, Error};
use kmesh_lite::host::{self, Cgroups};
use kmesh_lite::kernel::{Kernel, KernelOptions};
use kmesh_lite::model::{CgroupRef, Limits, Mesh};
use kmesh_lite::{plan, tables};
use kmesh_lite_tests::cgroup::Cgroup;
use nix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let cgroup = Cgroup::new("passes")?;
    let mut times = Times::default();
    let mut mesh = LARGE.mesh(8080);
    mesh.capture.cgroups = vec![CgroupRef::Path(cgroup.path().to_owned())];
    let changed = without_one(mesh.clone());
    let mut kernel = times.time("load the programs", || {
        Kernel::load(Limits::default(), KernelOptions::default())
    })?;
    let facts = host::facts(&host::this_host(), &Cgroups::find()?, &mesh);
    times.time("first pass", || kernel.reconcile(&mesh, &facts))?;
    for round in 0..effort.pick(1, 5) {
        times.time("pass with nothing to do", || {
            kernel.reconcile(if round % 2 == 0 { &mesh } else { &changed }, &facts)
        })?;
        let next = if round % 2 == 0 { &changed } else { &mesh };
        let actual = times.time("  read", || kernel.read())?;
        let desired = times.time("  build", || tables::build(next, &facts, &actual))?;
        times.time("  check", || tables::check(&desired))?;
        times.time("  diff", || Ok::<_, Error>(plan::diff(&actual, &desired)))?;
        times.time("  words", || {
            Ok::<_, Error>(plan::summary(&actual.tables, &desired))
        })?;
        let pass = times.time("pass with one endpoint less or more", || {
            kernel.reconcile(next, &facts)
        })?;
        if pass.operations == 0 || pass.operations > 10 {
            return Err(format!("one endpoint took {} operations", pass.operations).into());
        }
    }
    report.begin("a pass over 1,000 x 100, in this process");
    report.add(times.rows());
    Ok(())
}

/// Steps are set apart from whole passes.
const STEP: &str = "  ";

fn processor_time() -> Result<Duration, Error> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn without_one(mut mesh: Mesh) -> Mesh {
    let first = mesh.services.get_min().map(|(name, _)| name.clone());
    let service = first.and_then(|name| mesh.services.get_mut(&name));
    service.and_then(|service| Arc::make_mut(service).endpoints.pop());
    mesh
}

/// Durations by what took them, in the order of their first time.
#[derive(Default)]
struct Times {
    order: Vec<&'static str>,
    milliseconds: BTreeMap<&'static str, Vec<f64>>,
}

impl Times {
    fn time<T, E: Into<Error>>(
        &mut self,
        what: &'static str,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Error> {
        let (begin, processor) = (Instant::now(), processor_time()?);
        let result = work().map_err(Into::into)?;
        let duration = if what.starts_with(STEP) {
            processor_time()? - processor
        } else {
            begin.elapsed()
        };
        if !self.order.contains(&what) {
            self.order.push(what);
        }
        self.milliseconds
            .entry(what)
            .or_default()
            .push(duration.as_secs_f64() * 1e3);
        Ok(result)
    }

    fn rows(&self) -> Vec<Row> {
        let rows = self.order.iter().map(|what| {
            let median = quantile(&self.milliseconds[what], 0.5);
            Row::alone("pass", *what, Unit::Milliseconds, median, Goal::None)
        });
        rows.collect()
    }
}
