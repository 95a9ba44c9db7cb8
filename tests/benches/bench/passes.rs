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
use kmesh_lite::model::{CgroupRef, Down, EndpointFact, Facts, Limits, Mesh, Standing};
use kmesh_lite::reconcile::{Extent, Pass};
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
    times.time("first pass", || {
        kernel.reconcile(&mesh, &facts, Extent::Everything)
    })?;
    let flipped = with_one_unusable(&facts, &mesh)?;
    for round in 0..effort.pick(1, 5) {
        let (held, next) = if round % 2 == 0 {
            (&mesh, &changed)
        } else {
            (&changed, &mesh)
        };
        times.time("full pass with nothing to do", || {
            kernel.reconcile(held, &facts, Extent::Everything)
        })?;
        let actual = times.time("  read", || kernel.read())?;
        let desired = times
            .time("  build", || tables::build(next, &facts, &actual, u32::MAX))?
            .tables;
        times.time("  check", || tables::check(&desired))?;
        times.time("  diff", || {
            Ok::<_, Error>(plan::diff(&actual, &desired, &Default::default()))
        })?;
        times.time("  words", || {
            Ok::<_, Error>(plan::summary(&actual.tables, &desired))
        })?;
        drop((actual, desired));
        for facts in [&flipped, &facts] {
            let processor = processor_time()?;
            let pass = times.time(FACT, || kernel.reconcile(held, facts, Extent::Changes))?;
            times.add(FACT_PROCESSOR, processor_time()? - processor);
            times.time(GRACE, || {
                kernel.quiesce();
                Ok::<_, Error>(())
            })?;
            is_small(&pass)?;
        }
        times.time(NOTHING, || kernel.reconcile(held, &facts, Extent::Changes))?;
        let processor = processor_time()?;
        let pass = times.time("one endpoint less or more", || {
            kernel.reconcile(next, &facts, Extent::Changes)
        })?;
        times.add(ENDPOINT_PROCESSOR, processor_time()? - processor);
        kernel.quiesce();
        is_small(&pass)?;
    }
    report.begin("a pass over 1,000 x 100, in this process");
    report.add(times.rows());
    Ok(())
}

/// Steps are set apart from whole passes, and are in processor time.
const STEP: &str = "  ";
const NOTHING: &str = "nothing to do";
const FACT: &str = "a fact about one endpoint";
const FACT_PROCESSOR: &str = "  of it processor time";
/// The daemon waits for it when the pass has taken effect, before the next event.
const GRACE: &str = "the grace period after it";
const ENDPOINT_PROCESSOR: &str = "  of it processor time ";

fn goal(what: &str) -> Goal {
    match what {
        NOTHING => Goal::Value(5.0),
        FACT => Goal::Value(15.0),
        FACT_PROCESSOR => Goal::Value(2.0),
        _ => Goal::None,
    }
}

fn is_small(pass: &Pass) -> Result<(), Error> {
    match pass.operations {
        1..=10 => Ok(()),
        operations => Err(format!("one endpoint took {operations} operations").into()),
    }
}

/// Of the first service.
pub fn with_one_unusable(facts: &Facts, mesh: &Mesh) -> Result<Facts, Error> {
    let mut facts = facts.clone();
    let (name, service) = mesh.services.get_min().ok_or("a mesh without services")?;
    let endpoint = service.endpoints.first().ok_or("no endpoint")?;
    facts.learn(EndpointFact {
        service: name.clone(),
        endpoint: endpoint.into(),
        standing: Standing::down(Down::Unhealthy),
    });
    Ok(facts)
}

pub fn processor_time() -> Result<Duration, Error> {
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
        self.add(what, duration);
        Ok(result)
    }

    fn add(&mut self, what: &'static str, duration: Duration) {
        if !self.order.contains(&what) {
            self.order.push(what);
        }
        let all = self.milliseconds.entry(what).or_default();
        all.push(duration.as_secs_f64() * 1e3);
    }

    fn rows(&self) -> Vec<Row> {
        let rows = self.order.iter().map(|what| {
            let median = quantile(&self.milliseconds[what], 0.5);
            Row::alone("pass", *what, Unit::Milliseconds, median, goal(what))
        });
        rows.collect()
    }
}
