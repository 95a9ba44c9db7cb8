//! `schema`: the JSON Schema of the file.

use super::output::Output;
use super::{Exit, VerbResult};
use crate::config;

pub fn run(output: &mut Output) -> VerbResult {
    output.json(&config::schema())?;
    Ok(Exit::Fine)
}
