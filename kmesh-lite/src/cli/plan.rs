//! `plan`: what would change?

use super::check::{read, warn_or_fail};
use super::connections::or_dash;
use super::order::wanted;
use super::output::{BOLD, ERROR, FAINT, Output};
use super::session::session;
use super::{CliError, Exit, VerbResult, args};
use crate::api::{Denying, FileText, PlanRequest, PlanText};
use crate::control::Client;
use crate::model::Mode;
use crate::report::FEW;
use std::fmt::Write;
use std::path::Path;

pub fn run(args: args::Plan, output: &mut Output) -> VerbResult {
    let json = args.format.json;
    let files = args.path.as_deref().map(|path| files(path, json));
    let request = PlanRequest {
        files: files.transpose()?,
        session: session(),
    };
    let plan: PlanText = Client::new(args.socket.path).post("plan", Some(&request))?;
    if args.format.json {
        output.json(&plan)?;
    } else {
        output.text(&text(&plan))?;
    }
    let pending = args.exit_code && !plan.operations.is_empty();
    Ok(if pending { Exit::Pending } else { Exit::Fine })
}

/// What a file and its drop-ins say. They are read here, because the daemon may not be allowed to.
fn files(path: &Path, json: bool) -> Result<Vec<FileText>, CliError> {
    let (fragments, loaded) = read(path)?;
    warn_or_fail(&path.display().to_string(), &loaded.problems, json)?;
    let texts = fragments.iter().map(|fragment| FileText {
        path: fragment.origin().as_path().to_string_lossy().into_owned(),
        text: fragment.text().to_owned(),
    });
    Ok(texts.collect())
}

fn text(plan: &PlanText) -> String {
    let count = plan.operations.len();
    let mut text = match count {
        0 => format!("{BOLD}nothing to do: the kernel holds what the file says{BOLD:#}\n"),
        1 => format!("{BOLD}1 operation to do{BOLD:#}\n"),
        _ => format!("{BOLD}{count} operations to do{BOLD:#}\n"),
    };
    // Writing to a String cannot fail.
    for lockout in &plan.lockouts {
        let _ = writeln!(
            text,
            "  {ERROR}a reload would refuse this{ERROR:#}: {}",
            lockout.text
        );
    }
    for line in &plan.summary {
        let _ = writeln!(text, "  {line}");
    }
    for name in &plan.absent {
        let _ = writeln!(
            text,
            "  captured cgroup {name}: waiting, it is not there now"
        );
    }
    for leaving in &plan.leaving {
        let (s, goes, is) = match leaving.open_connections {
            1 => ("", "goes", "is"),
            _ => ("s", "go", "are"),
        };
        let becomes = match leaving.on_remove.as_deref() {
            Some("kill") => format!("{is} ended, because it is removed (on_remove = \"kill\")"),
            Some("drain") => format!(
                "{goes} on, and `status` shows {} until closed",
                match leaving.open_connections {
                    1 => "it",
                    _ => "them",
                }
            ),
            _ => format!("{goes} on, and no new ones come"),
        };
        let _ = writeln!(
            text,
            "  service {}: {} open connection{s} of endpoint {} {becomes}",
            leaving.service, leaving.open_connections, leaving.endpoint
        );
    }
    for denying in &plan.denied {
        denied(&mut text, denying);
    }
    for it in &plan.orders {
        let absent = match it.present {
            true => "",
            false => ", which the file does not have",
        };
        let _ = writeln!(
            text,
            "  service {}: the operator wants of endpoint {}{absent}: {}",
            it.service,
            it.endpoint,
            wanted(&it.order)
        );
    }
    if count > 0 {
        text.push('\n');
    }
    for (number, operation) in plan.operations.iter().enumerate() {
        let _ = writeln!(text, "  {FAINT}{:>4}{FAINT:#}  {operation}", number + 1);
    }
    text
}

/// What a policy would have against connections that are open, with the first of them.
fn denied(text: &mut String, denying: &Denying) {
    let (is, they, go) = match denying.open_connections {
        1 => ("connection", "it", "goes"),
        _ => ("connections", "they", "go"),
    };
    let becomes = match (denying.mode == Mode::Audit.as_str(), denying.ends) {
        (true, _) => format!("in audit mode: {they} would be counted"),
        (false, true) => match denying.open_connections {
            1 => "which is ended (enforce_existing)".to_owned(),
            _ => "which are ended (enforce_existing)".to_owned(),
        },
        (false, false) => format!("which {go} on: enforce_existing is not set"),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "  policy {} would refuse {} open {is} of now, {becomes}",
        denying.policy, denying.open_connections
    );
    for it in denying.connections.iter().take(FEW) {
        let pid = it
            .pid
            .map_or_else(String::new, |pid| format!(" (process {pid})"));
        let _ = writeln!(
            text,
            "    {}{pid} to {}",
            or_dash(it.from.as_deref()),
            it.to
        );
    }
    let more = denying.open_connections.saturating_sub(FEW as u64);
    if more > 0 && denying.connections.len() > FEW {
        let _ = writeln!(text, "    and {more} more");
    }
}
