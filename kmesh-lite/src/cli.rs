//! The command line: arguments in, text or JSON and an exit code out.

mod args;
mod ask;
mod check;
mod completions;
mod doctor;
mod dump;
mod error;
mod explain;
mod output;
mod plan;
mod reload;
mod run;
mod schema;
mod status;
mod table;
mod waypoint;

use args::{Args, Verb};
use clap::{CommandFactory, Parser};
pub use error::CliError;
pub use output::Output;
use std::process::ExitCode;

/// Parses, does and reports.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let json = args.verb.json();
    let mut output = Output::default();
    let outcome = match args.verb {
        Verb::Run(args) => run::run(args),
        Verb::Check(args) => check::run(args, &mut output),
        Verb::Plan(args) => plan::run(args, &mut output),
        Verb::Reload(args) => reload::run(args, &mut output),
        Verb::Status(args) => status::run(args, &mut output),
        Verb::Explain(args) => explain::run(args, &mut output),
        Verb::Dump(args) => dump::run(args, &mut output),
        Verb::Doctor(args) => doctor::run(args, &mut output),
        Verb::Waypoint(args) => waypoint::run(args),
        Verb::Schema => schema::run(&mut output),
        Verb::Completions(args) => completions::run(&args, &mut output),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => error.report(json, &mut output).into(),
    }
}

/// The definition of the command line, for what is generated from it: man pages and completions.
pub fn command() -> clap::Command {
    Args::command()
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Fine = 0,
    Failed = 1,
    // 2 is wrong usage, by clap.
    InvalidConfiguration = 3,
    /// `plan --exit-code`: something to do.
    Pending = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

type VerbResult = Result<Exit, CliError>;
