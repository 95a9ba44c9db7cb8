//! `plan`: what would change?

use super::client::Client;
use super::output::{BOLD, FAINT, Output};
use super::run::absolute;
use super::{Exit, Outcome, args};
use crate::daemon::api::PlanText;
use serde_json::json;
use std::fmt::Write;

pub fn run(args: args::Plan, output: &mut Output) -> Outcome {
    let path = args.path.as_deref().map(absolute).transpose()?;
    let body = path.map(|path| json!({ "path": path }));
    let plan: PlanText = Client::new(args.socket.path).post("plan", body.as_ref())?;
    if args.format.json {
        output.json(&plan)?;
    } else {
        output.text(&text(&plan))?;
    }
    let pending = args.exit_code && !plan.operations.is_empty();
    Ok(if pending { Exit::Pending } else { Exit::Fine })
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
