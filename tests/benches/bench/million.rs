//! 10,000 services of 100 endpoints: a size that is supported, and takes minutes to measure.

use crate::connect::{self, Listener};
use crate::machine::OneCore;
use crate::mesh::{self, MILLION, SMALL};
use crate::passes::{processor_time, with_one_unusable};
use crate::report::{Goal, Report, Row, Unit};
use crate::rounds::{interleave, quantile};
use crate::saved::{Figures, Layout, Run, program};
use crate::{Effort, Error};
use kmesh_lite::host::{self, Cgroups};
use kmesh_lite::model::CgroupRef;
use kmesh_lite::reconcile::Extent;
use kmesh_lite_tests::cgroup::Cgroup;
use std::net::SocketAddrV4;
use std::time::Instant;

/// Somebody who wants it says so.
const WANTED: &str = "KMESH_LITE_BENCH_MILLION";

pub fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    report.begin("10,000 x 100: a million endpoints");
    if std::env::var(WANTED).is_ok_and(|value| value == "1") {
        saved(effort, report);
        connects(effort, report)
    } else {
        report.skip("a million endpoints", format!("{WANTED}=1 was not set"));
        Ok(())
    }
}

fn saved(effort: Effort, report: &mut Report) {
    let Some(program) = program() else {
        report.skip("the daemon", "no kmesh-lite is built beside this program");
        return;
    };
    for (layout, name, goal) in [
        (Layout::OneFile, "a million in one file", 600.0),
        (Layout::DropIns, "a million in 10,000 drop-ins", 50.0),
    ] {
        let run = Run::new(&program, MILLION, layout);
        match run.and_then(|run| run.measure(effort.pick(2, 5))) {
            Ok(figures) => report.add(rows(&figures, name, goal)),
            Err(error) => report.skip(name, error),
        }
    }
}

fn rows(figures: &Figures, name: &str, goal: f64) -> Vec<Row> {
    let milliseconds = |what, value, goal| Row::alone(name, what, Unit::Milliseconds, value, goal);
    let megabytes = |what, value, goal| Row::alone(name, what, Unit::Megabytes, value, goal);
    vec![
        milliseconds("cold start", figures.start, Goal::Value(2_500.0)),
        megabytes("cold start, peak memory", figures.start_peak, Goal::None),
        megabytes("memory", figures.steady, Goal::Value(300.0)),
        milliseconds("one endpoint changes", figures.change, Goal::Value(goal)),
        milliseconds(
            "one endpoint changes, processor time",
            figures.change_processor,
            Goal::None,
        ),
        megabytes(
            "one endpoint changes, peak memory",
            figures.change_peak,
            Goal::None,
        ),
    ]
}

/// What a connect costs beside one in a mesh of a hundred endpoints, and what a fact costs.
fn connects(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let listener = Listener::new()?;
    let plain = Cgroup::new("plain")?;
    let (small, million) = (Cgroup::new("small")?, Cgroup::new("million")?);
    let _small = connect::attach(SMALL, &small, listener.port)?;
    let mut mesh = MILLION.mesh(listener.port);
    mesh.capture.cgroups = vec![CgroupRef::Path(million.path().to_owned())];
    let mut kernel = connect::follow(&mesh, &million)?;

    let facts = host::facts(&host::this_host(), &Cgroups::find()?, &mesh);
    let flipped = with_one_unusable(&facts, &mesh)?;
    let (mut whole, mut processor) = (Vec::new(), Vec::new());
    for facts in [&flipped, &facts].repeat(effort.pick(1, 5)) {
        let (begin, used) = (Instant::now(), processor_time()?);
        kernel.reconcile(&mesh, facts, Extent::Changes)?;
        processor.push((processor_time()? - used).as_secs_f64() * 1e3);
        whole.push(begin.elapsed().as_secs_f64() * 1e3);
        kernel.quiesce();
    }
    let row = |what, values: &[f64]| {
        let median = quantile(values, 0.5);
        Row::alone("pass", what, Unit::Milliseconds, median, Goal::None)
    };
    report.add(vec![
        row("a fact about one endpoint of a million", &whole),
        row("  of it processor time", &processor),
    ]);

    let _core = OneCore::pin()?;
    let direct =
        move |number| SocketAddrV4::new(mesh::backend(number % SMALL.all()), listener.port);
    let values = interleave(
        effort.pick(20, 300),
        &mut [
            listener.connects(&plain, direct),
            listener.connects(&small, |_| mesh::vip(0)),
            listener.connects(&million, |_| mesh::vip(MILLION.services / 2)),
        ],
    )?;
    let [direct, few, many] = &values[..] else {
        unreachable!("a value for each case");
    };
    let row = |what, values, base, goal| {
        Row::compared("connect", what, Unit::Nanoseconds, values, base, goal)
    };
    report.add(vec![
        row("direct", direct, direct, Goal::None),
        row("VIP, 1 service of 100 endpoints", few, direct, Goal::None),
        row("VIP, 10,000 x 100, one of them", many, direct, Goal::None),
        row(
            "VIP, 10,000 x 100, one of them, against 1 service",
            many,
            few,
            Goal::Ratio(1.02),
        ),
    ]);
    Ok(())
}
