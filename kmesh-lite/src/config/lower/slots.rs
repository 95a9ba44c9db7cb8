//! Slots of services that are more rows than there may be.

use super::super::problem::Problem;
use super::Spot;
use super::service::LoweredService;
use crate::model::largest_slots;
use crate::tables::Shortage;

/// What there is to say where it is for its slots that endpoints have too little room: of the service with the most of
/// them, where the file says how many there are. `limit` is where the limit is written.
pub fn problem(
    services: &[LoweredService<'_>],
    shortage: &Shortage,
    limit: Option<Spot<'_>>,
) -> Option<Problem> {
    let Shortage::Rows {
        need, limit: most, ..
    } = shortage
    else {
        return None;
    };
    let rows = |it: &LoweredService<'_>| {
        let each = it.model.slot_sets() * it.model.columns().count();
        (each as u64, each as u64 * u64::from(it.model.slots()))
    };
    let all: u64 = services.iter().map(|it| rows(it).1).sum();
    if need.saturating_sub(all) > *most {
        // Without any slots it would be too much.
        return None;
    }
    let service = services.iter().rev().max_by_key(|it| rows(it).1)?;
    let (each, own) = rows(service);
    let text = service.entry.text()?;
    let written = text.hash_slots.as_ref().map(|it| it.span);
    let span = written.or_else(|| Some(text.balance.as_ref()?.span))?;
    let problem = service.spot(span).error(shortage.to_string());
    // What is left to it, shared by its tables of slots.
    let room = most.saturating_sub(need - own) / each.max(1);
    let fits = largest_slots(service.model.endpoints.len(), room);
    let (problem, instead) = match (fits, written) {
        (Some(fits), Some(_)) => (problem.expected(format!("{fits} at most")), String::new()),
        (Some(fits), None) => (problem, format!("write `hash_slots = {fits}`, or ")),
        (None, _) => (problem, String::new()),
    };
    let (sets, columns) = (service.model.slot_sets(), service.model.columns().count());
    let each = match (sets, columns) {
        (1, 1) => String::new(),
        (sets, 1) => format!(" for each of {sets} sets of endpoints that are equally near"),
        (sets, columns) => format!(
            " for each of {sets} sets of endpoints that are equally near, times {columns} because of their own ports"
        ),
    };
    let help = format!(
        "service `{}` lays out {} slots{each}; {instead}{}",
        service.name(),
        service.model.slots(),
        shortage.remedy()
    );
    let problem = problem.help(help);
    Some(match limit {
        Some(limit) => problem.related(limit.place(), "the limit is here"),
        None => problem,
    })
}
