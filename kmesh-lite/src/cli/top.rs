//! `top`: connections as they come and go, on a whole screen or as text.

mod keys;
mod rates;
mod screen;
mod view;

use super::ask::{ask, failed};
use super::output::Output;
use super::table::Table;
use super::{CliError, Exit, VerbResult, args};
use crate::api::TrafficSums;
use crate::host::{Cgroups, monotonic};
use crate::report;
use rates::{Rates, Row};
use std::io::IsTerminal;
use std::thread;
use std::time::Duration;
use view::View;

/// What every cell of a row is called; `>` aligns to the right.
const COLUMNS: [&str; 9] = [
    "name",
    ">connects/s",
    ">active",
    ">failed/s",
    ">failed %",
    ">p50",
    ">p99",
    ">sent/s",
    ">received/s",
];

pub fn run(args: args::Top, output: &mut Output) -> VerbResult {
    let pause = Duration::from_secs_f64(args.interval);
    if !args.once && !args.format.json && !std::io::stdout().is_terminal() {
        return Err(CliError::NoTerminal);
    }
    let first = sums(&args)?;
    if args.once || args.format.json {
        return print(&args, first, pause, output);
    }
    let view = View::new(&args);
    screen::show(view, Rates::new(first), pause, &|| sums(&args))?;
    Ok(Exit::Fine)
}

/// The sums of the moment, from the daemon or from the kernel.
fn sums(args: &args::Top) -> Result<TrafficSums, CliError> {
    let mut sums: TrafficSums = ask(
        args.socket.path.clone(),
        |daemon| daemon.get("traffic", &[]),
        |kernel, _| {
            let snapshot = kernel.snapshot().map_err(failed)?;
            let ids = snapshot.accounts.sums.keys().map(|key| key.cgroup);
            let cgroups = Cgroups::find().map_err(failed)?.paths(ids);
            Ok(report::traffic(&snapshot, &cgroups, monotonic()))
        },
    )?;
    if let Some(name) = &args.name {
        sums.services.retain(|service| service.name == *name);
        if sums.services.is_empty() {
            return Err(CliError::NoService(name.clone()));
        }
    }
    Ok(sums)
}

/// Without a screen: once, or JSON line after line.
fn print(args: &args::Top, first: TrafficSums, pause: Duration, output: &mut Output) -> VerbResult {
    let mut rates = Rates::new(first);
    loop {
        thread::sleep(pause);
        rates.add(sums(args)?);
        if args.format.json {
            output.json_line(&rates.services())?;
        } else {
            let mut view = View::new(args);
            output.text(&text(view.rows(&rates)))?;
        }
        if args.once {
            return Ok(Exit::Fine);
        }
    }
}

fn text(rows: Vec<Row>) -> String {
    let mut table = Table::new(&COLUMNS);
    for row in rows {
        table.row(row.cells());
    }
    let mut text = String::new();
    table.write(&mut text);
    text
}
