//! `plan`: what would change?

use super::check::{read, warn_or_fail};
use super::output::{BOLD, FAINT, Output};
use super::{CliError, Exit, VerbResult, args};
use crate::api::{FileText, PlanRequest, PlanText};
use crate::control::Client;
use std::fmt::Write;
use std::path::Path;

pub fn run(args: args::Plan, output: &mut Output) -> VerbResult {
    let json = args.format.json;
    let request = args.path.as_deref().map(|path| request(path, json));
    let request = request.transpose()?;
    let plan: PlanText = Client::new(args.socket.path).post("plan", request.as_ref())?;
    if args.format.json {
        output.json(&plan)?;
    } else {
        output.text(&text(&plan))?;
    }
    let pending = args.exit_code && !plan.operations.is_empty();
    Ok(if pending { Exit::Pending } else { Exit::Fine })
}

/// What a file and its drop-ins say. They are read here, because the daemon may not be allowed to.
fn request(path: &Path, json: bool) -> Result<PlanRequest, CliError> {
    let (fragments, loaded) = read(path)?;
    warn_or_fail(path, &loaded.problems, json)?;
    let texts = fragments.iter().map(|fragment| FileText {
        path: fragment.origin().to_string(),
        text: fragment.text().to_owned(),
    });
    Ok(PlanRequest {
        files: Some(texts.collect()),
    })
}

fn text(plan: &PlanText) -> String {
    let count = plan.operations.len();
    if count == 0 {
        return format!("{BOLD}nothing to do: the kernel holds what the file says{BOLD:#}\n");
    }
    let s = if count == 1 { "" } else { "s" };
    let mut text = format!("{BOLD}{count} operation{s} to do{BOLD:#}\n");
    for line in &plan.summary {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {line}");
    }
    text.push('\n');
    for (number, operation) in plan.operations.iter().enumerate() {
        let _ = writeln!(text, "  {FAINT}{:>4}{FAINT:#}  {operation}", number + 1);
    }
    text
}
