//! The command line: arguments in, text or JSON and an exit code out.

mod agent;
mod args;
mod ask;
mod check;
mod completions;
mod confirm;
mod connections;
mod doctor;
mod dump;
mod error;
mod explain;
mod order;
mod output;
mod plan;
mod policies;
mod reload;
mod run;
mod schema;
mod session;
mod simulate;
mod status;
mod table;
mod top;
mod trace;
mod watch;
mod waypoint;

use crate::api::Change;
use args::{Args, Verb};
use clap::{CommandFactory, Parser};
pub use completions::script as completion_script;
pub use error::CliError;
pub use output::Output;
use std::process::ExitCode;

/// Parses, does and reports.
pub fn main() -> ExitCode {
    completions::answer();
    let args = Args::parse();
    let json = args.verb.json();
    let mut output = Output::default();
    let outcome = match args.verb {
        Verb::Run(args) => run::run(args),
        Verb::Agent(args) => agent::run(args),
        Verb::Check(args) => check::run(args, &mut output),
        Verb::Plan(args) => plan::run(args, &mut output),
        Verb::Reload(args) => reload::run(args, &mut output),
        Verb::Confirm(args) => confirm::run(args, &mut output),
        Verb::Status(args) => status::run(args, &mut output),
        Verb::Drain(args) => order::drain(args, &mut output),
        Verb::Maintenance(args) => order::change(args, Change::Maintenance, &mut output),
        Verb::Ready(args) => order::change(args, Change::Ready, &mut output),
        Verb::Weight(args) => order::weight(args, &mut output),
        Verb::Connections(args) => connections::run(args, &mut output),
        Verb::Top(args) => top::run(args, &mut output),
        Verb::Trace(args) => trace::run(args, &mut output),
        Verb::Explain(args) => explain::run(args, &mut output),
        Verb::Policies(args) => policies::run(args, &mut output),
        Verb::Simulate(args) => simulate::run(args, &mut output),
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
pub enum Exit {
    Fine,
    Failed,
    InvalidConfiguration,
    /// `plan --exit-code`: something to do.
    Pending,
    /// `status --exit-code`: one of the answers that Nagios knows.
    Monitored(Severity),
}

/// How bad it is, as plugins of Nagios tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        // 2 is wrong usage, by clap.
        Self::from(match exit {
            Exit::Fine | Exit::Monitored(Severity::Ok) => 0,
            Exit::Failed | Exit::Monitored(Severity::Warning) => 1,
            Exit::Monitored(Severity::Critical) => 2,
            Exit::InvalidConfiguration | Exit::Monitored(Severity::Unknown) => 3,
            Exit::Pending => 4,
        })
    }
}

type VerbResult = Result<Exit, CliError>;
