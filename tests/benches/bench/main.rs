//! `make bench`: what the mesh costs, as ratios to a direct connect of the same run, and against
//! proxies that do the same job.
//!
//! Nothing here fails for being slow: a goal that is not met is a line of the table.

mod connect;
mod exchange;
mod headers;
mod machine;
mod mesh;
mod passes;
mod process;
mod proxies;
mod reload;
mod report;
mod rounds;
mod server;

use kmesh_lite_tests::require;
use machine::{Machine, OneCore};
use report::Report;
use std::path::Path;
use std::process::ExitCode;

pub type Error = Box<dyn std::error::Error>;

/// How long to take.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// See that everything runs.
    pub quick: bool,
}

impl Effort {
    pub fn pick<T>(self, quick: T, thorough: T) -> T {
        if self.quick { quick } else { thorough }
    }
}

fn main() -> ExitCode {
    if std::env::args()
        .nth(1)
        .is_some_and(|argument| argument == server::ARGUMENT)
    {
        return exit(server::serve());
    }
    let quick = std::env::var("KMESH_LITE_BENCH_QUICK").is_ok_and(|value| value == "1");
    exit(run(Effort { quick }))
}

fn exit(result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(effort: Effort) -> Result<(), Error> {
    if !require::met() {
        return Ok(());
    }
    let machine = Machine::read(effort.quick);
    machine.print();
    let mut report = Report::default();
    {
        let _core = OneCore::pin()?;
        connect::measure(effort, &mut report)?;
        exchange::measure(effort, &mut report)?;
        headers::measure(effort, &mut report)?;
    }
    passes::measure(effort, &mut report)?;
    reload::measure(effort, &mut report)?;
    report.conclude();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../bench.json");
    report.write(&machine, &target)?;
    println!("written to {}", target.canonicalize()?.display());
    Ok(())
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
