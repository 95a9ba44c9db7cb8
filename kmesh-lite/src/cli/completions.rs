//! `completions`: what a shell needs to complete our arguments.

use super::args::Args;
use super::output::Output;
use super::{Exit, VerbResult, args};
use clap::CommandFactory;

pub fn run(args: &args::Completions, output: &mut Output) -> VerbResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "kmesh-lite", &mut script);
    output.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Fine)
}
