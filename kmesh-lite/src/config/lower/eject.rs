//! Where `eject_after` can do nothing: without accounting, and for one endpoint.

use super::super::health::{HealthField, HealthText};
use super::super::piece::Anchor;
use super::super::span::Span;
use super::merge::Merged;
use super::service::LoweredService;
use super::{Diagnostics, Spot};

/// Warns wherever it is said while connections are not accounted.
pub fn check(
    merged: &Merged<'_>,
    services: &[LoweredService<'_>],
    accounting: bool,
    report: &mut Diagnostics,
) {
    if accounting {
        return;
    }
    let mut warn = |spot: Spot<'_>| {
        let problem = spot.warning("`eject_after` does nothing: connections are not accounted");
        report.push(problem.help("remove `enabled = false` under `[accounting]`"));
    };
    if let Some((anchor, text)) = merged.health
        && let Some(written) = &text.eject_after
    {
        warn(Spot::new(anchor, written.span));
    }
    let ejecting = services.iter().filter(|it| it.model.eject.is_some());
    for service in ejecting {
        let text = service.entry.text();
        let health = text.and_then(|text| table(text.health.as_ref()?));
        if let Some(written) = health.and_then(|health| health.eject_after.as_ref()) {
            warn(service.spot(written.span));
        }
    }
}

/// Warns where an endpoint says it, or its entry: connects that fail are judged by what the service says.
pub fn of_endpoint(anchor: Anchor<'_>, field: Option<&HealthField>, report: &mut Diagnostics) {
    let Some(health) = field.and_then(table) else {
        return;
    };
    for (span, key) in keys(health) {
        let problem = Spot::new(anchor, span).warning(format!("`{key}` does nothing here"));
        report.push(problem.help("it is of a service, or of `[health]`"));
    }
}

fn table(field: &HealthField) -> Option<&HealthText> {
    match field {
        HealthField::Kind(_) => None,
        HealthField::Table(table) => Some(table),
    }
}

fn keys(text: &HealthText) -> impl Iterator<Item = (Span, &'static str)> {
    let after = text.eject_after.as_ref().map(|it| (it.span, "eject_after"));
    let time = text.eject_for.as_ref().map(|it| (it.span, "eject_for"));
    let share = text.eject_at_most.as_ref();
    let share = share.map(|it| (it.span, "eject_at_most"));
    [after, time, share].into_iter().flatten()
}
