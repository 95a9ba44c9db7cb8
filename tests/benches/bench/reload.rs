//! From save to kernel: the daemon over 1,000 services of 100 endpoints, in one file and as 1,000
//! drop-ins.

use crate::mesh::{self, LARGE};
use crate::process::{Finished, Process};
use crate::report::{Goal, Report, Row, Unit};
use crate::saved::{Figures, Layout, Run, program};
use crate::{Effort, Error};
use std::fmt::Write;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

pub fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    report.begin("1,000 x 100, from save to kernel");
    let Some(program) = program() else {
        report.skip("the daemon", "no kmesh-lite is built beside this program");
        return Ok(());
    };
    let changes = effort.pick(2, 7);
    for (layout, name, goal) in [
        (Layout::OneFile, "one file", 60.0),
        (Layout::DropIns, "1,000 drop-ins", 20.0),
    ] {
        match Run::new(&program, LARGE, layout).and_then(|run| run.measure(changes)) {
            Ok(figures) => report.add(rows(&figures, name, goal)),
            Err(error) => report.skip(name, error),
        }
    }
    match haproxy() {
        Ok(rows) => report.add(rows),
        Err(error) => report.skip("HAProxy", error),
    }
    Ok(())
}

fn rows(figures: &Figures, name: &str, goal: f64) -> Vec<Row> {
    let row = |what, unit, value, goal| Row::alone(name, what, unit, value, goal);
    vec![
        row("cold start", Unit::Milliseconds, figures.start, Goal::None),
        row(
            "cold start, peak memory",
            Unit::Megabytes,
            figures.start_peak,
            Goal::None,
        ),
        row("memory", Unit::Megabytes, figures.steady, Goal::None),
        row(
            "one endpoint changes",
            Unit::Milliseconds,
            figures.change,
            Goal::Value(goal),
        ),
        row(
            "one endpoint changes, processor time",
            Unit::Milliseconds,
            figures.change_processor,
            Goal::None,
        ),
        row(
            "one endpoint changes, peak memory",
            Unit::Megabytes,
            figures.change_peak,
            Goal::None,
        ),
    ]
}

/// HAProxy over the same mesh: what it does before every reload.
fn haproxy() -> Result<Vec<Row>, Error> {
    let mut text =
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n"
            .to_owned();
    for number in 0..LARGE.services {
        writeln!(
            text,
            "listen {}\n bind {}",
            mesh::name(number),
            mesh::vip(number)
        )?;
        for (index, address) in LARGE.addresses(number).enumerate() {
            writeln!(text, " server s{index} {address}:8080")?;
        }
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("haproxy.cfg");
    fs::write(&file, text)?;
    let mut command = Command::new("haproxy");
    command.arg("-c").arg("-f").arg(&file);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let begin = Instant::now();
    let Finished { success, peak } = Process::start(&mut command)?.finish()?;
    let duration = begin.elapsed().as_secs_f64() * 1e3;
    if !success {
        return Err("it refuses the configuration".into());
    }
    let row = |what, unit, value| Row::alone("HAProxy", what, unit, value, Goal::None);
    Ok(vec![
        row("checks the same mesh", Unit::Milliseconds, duration),
        row("checks the same mesh, peak memory", Unit::Megabytes, peak),
    ])
}
