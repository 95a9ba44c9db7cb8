//! `make bench`: what the mesh costs, as ratios to a direct connect of the same run, and against
//! proxies that do the same job.
//!
//! Nothing here fails for being slow: a goal that is not met is a line of the table. Arguments pick
//! parts: `cargo bench -- distance`.

mod accounting;
mod connect;
mod cores;
mod datagrams;
mod distance;
mod exchange;
mod headers;
mod machine;
mod mesh;
mod million;
mod names;
mod passes;
mod policies;
mod process;
mod programs;
mod proxies;
mod reload;
mod report;
mod responders;
mod rounds;
mod saved;
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

/// What there is to measure, in this order.
const PARTS: [Part; 13] = [
    Part::on_one_core("connect", connect::measure),
    Part::on_one_core("programs", programs::measure),
    Part::on_all_cores("cores", cores::measure),
    Part::on_one_core("exchange", exchange::measure),
    Part::on_one_core("datagrams", datagrams::measure),
    Part::on_one_core("accounting", accounting::measure),
    Part::on_one_core("headers", headers::measure),
    Part::on_one_core("policies", policies::measure),
    Part::on_all_cores("distance", distance::measure),
    Part::on_all_cores("passes", passes::measure),
    Part::on_all_cores("reload", reload::measure),
    Part::on_all_cores("names", names::measure),
    Part::on_all_cores("million", million::measure),
];

type Measure = fn(Effort, &mut Report) -> Result<(), Error>;

struct Part {
    name: &'static str,
    one_core: bool,
    measure: Measure,
}

impl Part {
    const fn on_one_core(name: &'static str, measure: Measure) -> Self {
        Self {
            name,
            one_core: true,
            measure,
        }
    }

    const fn on_all_cores(name: &'static str, measure: Measure) -> Self {
        Self {
            name,
            one_core: false,
            measure,
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(server::ARGUMENT) => return exit(server::serve()),
        Some(distance::backend::ARGUMENT) => return exit(distance::backend::serve()),
        _ => {}
    }
    let quick = std::env::var("KMESH_LITE_BENCH_QUICK").is_ok_and(|value| value == "1");
    exit(run(Effort { quick }, &arguments))
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

fn run(effort: Effort, arguments: &[String]) -> Result<(), Error> {
    let parts = picked(arguments)?;
    if !require::met() {
        return Ok(());
    }
    let machine = Machine::read(effort.quick);
    machine.print();
    let mut report = Report::default();
    for part in &parts {
        let _core = part.one_core.then(OneCore::pin).transpose()?;
        (part.measure)(effort, &mut report)?;
    }
    report.conclude();
    if parts.len() < PARTS.len() {
        println!("not written to a file, because only parts were measured");
        return Ok(());
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../bench.json");
    report.write(&machine, &target)?;
    println!("written to {}", target.canonicalize()?.display());
    Ok(())
}

/// The parts that arguments name; all where they name none. Options are cargo's.
fn picked(arguments: &[String]) -> Result<Vec<&'static Part>, Error> {
    let names = arguments.iter().filter(|name| !name.starts_with("--"));
    let names: Vec<_> = names.map(String::as_str).collect();
    if let Some(unknown) = names
        .iter()
        .find(|name| PARTS.iter().all(|part| part.name != **name))
    {
        let known = PARTS.iter().map(|part| part.name).collect::<Vec<_>>();
        return Err(format!("no part `{unknown}`; there are {}", known.join(", ")).into());
    }
    let wanted = |part: &&Part| names.is_empty() || names.contains(&part.name);
    Ok(PARTS.iter().filter(wanted).collect())
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
