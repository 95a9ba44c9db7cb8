//! `dump`: the kernel's tables.

use super::ask::{ask, failed};
use super::explain::cell;
use super::output::{BOLD, Output};
use super::table::Table;
use super::{Exit, VerbResult, args};
use crate::api::{Dump, DumpTable};
use crate::report;
use std::fmt::Write;

pub fn run(args: args::Dump, output: &mut Output) -> VerbResult {
    let dump: Dump = ask(
        args.socket.path,
        |daemon| daemon.get("dump", &[]),
        |kernel| Ok(report::dump(&kernel.read().map_err(failed)?)),
    )?;
    if args.format.json {
        output.json(&dump)?;
        return Ok(Exit::Fine);
    }
    for (number, table) in dump.tables.iter().enumerate() {
        let gap = if number == 0 { "" } else { "\n" };
        output.text(&format!("{gap}{}", text(table)))?;
    }
    Ok(Exit::Fine)
}

fn text(table: &DumpTable) -> String {
    let mut text = String::new();
    let s = if table.rows.len() == 1 { "" } else { "s" };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{BOLD}{}{BOLD:#} {} row{s}",
        table.name,
        table.rows.len()
    );
    if table.rows.is_empty() {
        return text;
    }
    // Rows of a table may have different columns: in the order in which they first appear.
    let mut columns: Vec<&str> = Vec::new();
    for key in table.rows.iter().flat_map(|row| row.keys()) {
        if !columns.contains(&key.as_str()) {
            columns.push(key);
        }
    }
    let mut aligned = Table::new(&columns);
    for row in &table.rows {
        let cells = columns.iter().map(|column| row.get(*column));
        aligned.rows(
            cells
                .map(|value| value.map_or_else(String::new, cell))
                .collect(),
        );
    }
    aligned.write(&mut text);
    text
}
