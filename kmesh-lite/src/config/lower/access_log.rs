//! `[access_log]`.

use super::merge::Merged;
use super::{Diagnostics, Spot};
use crate::model::AccessLog;

pub fn lower(merged: &Merged<'_>, accounting: bool, report: &mut Diagnostics) -> Option<AccessLog> {
    let (anchor, text) = merged.access_log?;
    let to = text.to.0.as_ref()?;
    if !accounting {
        let problem = Spot::new(anchor, text.span)
            .warning("nothing is logged but refusals: connections are not accounted");
        report.push(problem.help("remove `enabled = false` under `[accounting]`"));
    }
    if let Some(written) = &text.services {
        if written.items.is_empty() && written.whole {
            let spot = Spot::new(anchor, written.span);
            let problem = spot.warning("nothing is logged: `services` is empty");
            report.push(problem.help("leave `services` out to log connections to every service"));
        }
        let unknown = |name: &str| !merged.services.contains_key(name);
        for name in written
            .items
            .iter()
            .filter(|name| unknown(name.value.0.as_str()))
        {
            let spot = Spot::new(anchor, name.span);
            report.push(spot.error(format!("there is no service `{}`", name.value.0)));
        }
    }
    let services = text.services.as_ref();
    Some(AccessLog {
        to: to.value.0.clone(),
        services: services.map(|list| list.items.iter().map(|it| it.value.0.clone()).collect()),
        sample: text
            .sample
            .as_ref()
            .map_or(AccessLog::WHOLE, |share| share.value.0),
        rate_limit: text
            .rate_limit
            .as_ref()
            .map_or(AccessLog::RATE_LIMIT, |limit| limit.value.0),
    })
}
