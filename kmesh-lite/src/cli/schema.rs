//! `schema`: the JSON Schema of the file.

use super::output::Output;
use super::{Exit, Outcome};
use crate::config;

pub fn run(output: &mut Output) -> Outcome {
    output.json(&config::schema())?;
    Ok(Exit::Fine)
}
