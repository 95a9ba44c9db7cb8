//! `simulate`: what would happen if something were down?

use super::output::{BOLD, ERROR, FAINT, GOOD, Output, WARN};
use super::table::Table;
use super::{Exit, VerbResult, args};
use crate::api::{SimulateRequest, SimulatedService, Simulation};
use crate::control::Client;
use std::fmt::Write;

pub fn run(args: args::Simulate, output: &mut Output) -> VerbResult {
    let request = SimulateRequest { down: args.down };
    let simulation: Simulation = Client::new(args.socket.path).post("simulate", Some(&request))?;
    if args.format.json {
        output.json(&simulation)?;
    } else {
        output.text(&text(&simulation))?;
    }
    Ok(Exit::Fine)
}

fn text(simulation: &Simulation) -> String {
    let changed: Vec<_> = simulation.services.iter().filter(|it| it.changes).collect();
    let refuse = changed.iter().filter(|it| it.refuses).count();
    let use_all = changed.iter().filter(|it| it.uses_all).count();
    let mut worst = Vec::new();
    if refuse > 0 {
        worst.push(format!("{} would refuse connections", services(refuse)));
    }
    if use_all > 0 {
        worst.push(format!(
            "{} would send connections to endpoints that are down",
            services(use_all)
        ));
    }
    let overloaded = match simulation.endpoints_overloaded {
        0 => String::new(),
        1 => format!("; {WARN}1 endpoint would get more than it is meant to bear{WARN:#}"),
        n => format!("; {WARN}{n} endpoints would get more than they are meant to bear{WARN:#}"),
    };
    let mut text = match (changed.len(), worst.join(", ")) {
        (0, _) => format!("{GOOD}no service would do anything else{GOOD:#}\n"),
        (n, worst) if worst.is_empty() => format!(
            "{BOLD}{} would share connections otherwise{BOLD:#}{overloaded}\n",
            services(n)
        ),
        (n, worst) => format!(
            "{ERROR}{worst}{ERROR:#}, of {} that would do something else{overloaded}\n",
            services(n)
        ),
    };
    for service in &changed {
        of_service(&mut text, service);
    }
    let others = simulation.services.len() - changed.len();
    if others > 0 && !changed.is_empty() {
        let _ = writeln!(
            text,
            "\n  {FAINT}{} would go on as now{FAINT:#}",
            services(others)
        );
    }
    text
}

fn services(count: usize) -> String {
    match count {
        1 => "1 service".to_owned(),
        n => format!("{n} services"),
    }
}

/// Writing to a String cannot fail, so no outcome is looked at.
fn of_service(text: &mut String, service: &SimulatedService) {
    let mut notes = Vec::new();
    if service.refuses {
        notes.push(format!(
            "{ERROR}connects are refused: no endpoint may be used{ERROR:#}"
        ));
    }
    if service.uses_all {
        notes.push(format!(
            "{ERROR}all endpoints are down, and used nevertheless{ERROR:#} (on_all_down = \"use-all\")"
        ));
    }
    if let Some(waypoint) = &service.waypoint_down {
        notes.push(format!(
            "{ERROR}connects fail: they go to the waypoint {waypoint}{ERROR:#}"
        ));
    }
    let notes = notes.join(", ");
    let colon = if notes.is_empty() { "" } else { ": " };
    let _ = writeln!(text, "\n{}{colon}{notes}", service.name);
    let has_clients = service.endpoints.iter().any(|it| it.clients.is_some());
    let mut columns = vec!["endpoint", "locality", ">now", ">then", ""];
    if has_clients {
        columns.insert(1, "clients");
    }
    let mut table = Table::new(&columns);
    for it in &service.endpoints {
        let mut row = vec![
            it.endpoint.clone(),
            it.locality.clone(),
            percent(it.share),
            percent(it.share_then),
            match (it.down, it.share_then > it.share) {
                (true, _) => format!("{ERROR}down{ERROR:#}"),
                _ if it.overloaded => format!(
                    "{ERROR}overloaded: meant to bear {}{ERROR:#}",
                    percent(it.bears)
                ),
                (_, true) if it.share > 0.0 => {
                    format!(
                        "{WARN}{:.1} times as much{WARN:#}",
                        it.share_then / it.share
                    )
                }
                (_, true) => format!("{WARN}none before{WARN:#}"),
                _ => String::new(),
            },
        ];
        if has_clients {
            row.insert(1, it.clients.clone().unwrap_or_default());
        }
        table.rows(row);
    }
    table.write(text);
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
