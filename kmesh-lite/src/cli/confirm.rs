//! `confirm`: what a reload applied on trial stays.

use super::output::{GOOD, Output};
use super::{Exit, VerbResult, args};
use crate::api::Confirmed;
use crate::control::Client;
use crate::report::count;

pub fn run(args: args::Confirm, output: &mut Output) -> VerbResult {
    let confirmed: Confirmed = Client::new(args.socket.path).post("confirm", None::<&()>)?;
    if args.format.json {
        output.json(&confirmed)?;
        return Ok(Exit::Fine);
    }
    let left = count(
        usize::try_from(confirmed.left_s).unwrap_or(usize::MAX),
        "second",
    );
    output.text(&format!(
        "{GOOD}confirmed{GOOD:#}, with {left} left: what was applied since {} stays\n{}\n",
        confirmed.begun, confirmed.verdict
    ))?;
    Ok(Exit::Fine)
}
