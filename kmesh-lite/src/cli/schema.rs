//! `schema`: the JSON Schema of the file.

use super::output::Output;
use super::{Exit, Outcome, parts};

pub fn run(output: &mut Output) -> Outcome {
    output.json(&parts::schema()?)?;
    Ok(Exit::Fine)
}
