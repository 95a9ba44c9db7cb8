//! `status`: how the mesh is.

mod unused;

use super::ask::{ask, failed};
use super::order::{wanted, words};
use super::output::{ERROR, FAINT, GOOD, Output, WARN};
use super::reload::pending;
use super::table::Table;
use super::watch::watch;
use super::{CliError, Exit, Severity, VerbResult, args};
use crate::api::{
    AgentStatus, CallerStatus, DatapathStatus, Departed, DnsStatus, EndpointOrder, NameStatus,
    PolicyStatus, QueryOutcome, ServiceStatus, State, Status,
};
use crate::control::ClientError;
use crate::log::chain;
use crate::model::Mode;
use crate::report::{self, FEW};
use std::fmt::Write;
use std::thread;
use std::time::Duration;

/// More endpoints than this are shown a service at a time.
const MOST_ENDPOINTS: usize = 60;
/// More DNS names than this are not shown one by one.
const MOST_NAMES: usize = 30;

pub fn run(args: args::Status, output: &mut Output) -> VerbResult {
    let (monitored, json) = (args.exit_code, args.format.json);
    if let Some(seconds) = args.watch {
        return watch_on(&args, Duration::from_secs_f64(seconds), output);
    }
    match show(&args, output) {
        Ok(status) if monitored => Ok(Exit::Monitored(severity(&status))),
        Ok(status) if status.state == State::Unattended => Ok(Exit::Failed),
        Ok(_) => Ok(Exit::Fine),
        Err(error) if monitored => {
            error.report(json, output);
            let is_gone = matches!(
                error,
                CliError::Client(ClientError::NotRunning(_) | ClientError::Silent { .. })
            );
            Ok(Exit::Monitored(if is_gone {
                Severity::Critical
            } else {
                Severity::Unknown
            }))
        }
        Err(error) => Err(error),
    }
}

/// Shows it until the user ends it. That there is no daemon is shown as well: somebody who watches a restart
/// waits for the next one.
fn watch_on(args: &args::Status, pause: Duration, output: &mut Output) -> VerbResult {
    // A name that is not there, or a socket that may not be read, is told at once.
    let first = status(args)?;
    if args.format.json {
        let mut next: Result<Status, CliError> = Ok(first);
        loop {
            match next {
                Ok(status) => output.json_line(&status)?,
                Err(error) => output.json_line(&error.failure())?,
            }
            thread::sleep(pause);
            next = status(args);
        }
    }
    watch(pause, output, || match status(args) {
        Ok(status) => text(&status, args.name.is_some()),
        Err(error) => format!("{ERROR}error{ERROR:#}: {}", chain(&error)),
    })?;
    Ok(Exit::Fine)
}

/// That of the state, or of a service that does its work worse than that.
fn severity(status: &Status) -> Severity {
    let of_state = match status.state {
        State::Routing => Severity::Ok,
        State::Waiting | State::Keeping | State::Empty => Severity::Warning,
        State::Failing | State::Uncaptured | State::Unattended => Severity::Critical,
    };
    let services = status.datapath.services.iter().map(severity_of);
    let names = unresolved(status).map(|(_, refuses)| match refuses {
        true => Severity::Critical,
        false => Severity::Warning,
    });
    services
        .chain(names)
        .chain([of_state])
        .max()
        .unwrap_or(of_state)
}

/// DNS names that have never resolved, each with whether a service of its refuses.
fn unresolved(status: &Status) -> impl Iterator<Item = (&NameStatus, bool)> {
    let names = status.names.iter();
    // One that was asked for a moment ago has no error yet.
    let names = names.filter(|it| it.addresses.is_empty() && it.error.is_some());
    names.map(|name| {
        let mut services = status.datapath.services.iter();
        let is_of_it = |it: &ServiceStatus| name.services.contains(&it.name);
        (name, services.any(|it| is_of_it(it) && it.refuses))
    })
}

/// A service that refuses as the file says, because it has no endpoint where the policy looks, is as it should be.
fn severity_of(service: &ServiceStatus) -> Severity {
    let endpoints = service.priorities.iter().flat_map(|it| &it.endpoints);
    let severities = endpoints.map(|it| match &it.health {
        _ if unused::is_meant(it) => Severity::Warning,
        Some(health) if !health.usable => Severity::Critical,
        _ => Severity::Ok,
    });
    match service.refuses {
        true => severities.max().unwrap_or(Severity::Ok),
        false if service.uses_all => Severity::Warning,
        false => Severity::Ok,
    }
}

/// What monitoring is to say of services and names, in a few words.
fn down(status: &Status) -> String {
    let services = status.datapath.services.iter();
    let down: Vec<_> = services
        .filter(|it| severity_of(it) > Severity::Ok)
        .collect();
    let services = match *down {
        [] => String::new(),
        [one] => format!("; {}", none_of(one)),
        [one, ref more @ ..] => {
            let others = report::count(more.len(), "other service");
            let are = if more.len() == 1 { "is" } else { "are" };
            format!("; {}, and {others} {are} no better", none_of(one))
        }
    };
    let unresolved: Vec<_> = unresolved(status).map(|(name, _)| &name.name).collect();
    let names = match *unresolved {
        [] => String::new(),
        [one] => format!("; {one} has not resolved"),
        [one, ref more @ ..] => format!("; {one} and {} more have not resolved", more.len()),
    };
    services + &names
}

/// Why a service has no endpoint that is as it should be.
fn none_of(service: &ServiceStatus) -> String {
    unused::told(service, &format!(" of {}", service.name))
}

/// Prints the status, and gives it.
fn show(args: &args::Status, output: &mut Output) -> Result<Status, CliError> {
    let status = status(args)?;
    if args.format.json {
        output.json(&status)?;
    } else {
        output.text(&text(&status, args.name.is_some()))?;
    }
    Ok(status)
}

/// The status of the moment, from the daemon or from the kernel.
fn status(args: &args::Status) -> Result<Status, CliError> {
    let query: Vec<_> = args
        .name
        .iter()
        .map(|name| ("name", name.as_str()))
        .collect();
    ask(
        args.socket.path.clone(),
        |daemon| daemon.get("status", &query),
        |kernel, why| {
            let snapshot = kernel.snapshot().map_err(failed)?;
            report::unattended(&snapshot, why, args.name.as_deref())
        },
    )
}

/// The verdict, then what it rests on. Writing to a String cannot fail, so no outcome is looked at.
fn text(status: &Status, one: bool) -> String {
    let style = match severity(status) {
        Severity::Ok => GOOD,
        Severity::Warning => WARN,
        Severity::Critical | Severity::Unknown => ERROR,
    };
    let config = status.config.as_ref();
    let problems = config.and_then(|config| config.problems.as_ref());
    let below = problems
        .filter(|_| status.state != State::Routing)
        .map_or("", |_| " (below)");
    let problems = problems.map_or_else(String::new, |problems| {
        format!("\n{}\n", problems.text.trim_end())
    });
    let down = down(status);
    let mut text = format!("{style}{}{down}{style:#}{below}\n", status.verdict);
    if let Some(pending) = status.trial.as_ref().and_then(pending) {
        let _ = writeln!(text, "{pending}");
    }
    if !one {
        text += &problems;
    }
    let datapath = &status.datapath;
    if !status.orders.is_empty() {
        heading(&mut text, "what the operator wants");
        orders(&status.orders).write(&mut text);
    }
    if !status.departed.is_empty() {
        heading(&mut text, "removed endpoints with open connections");
        departed(&status.departed).write(&mut text);
    }
    if !datapath.services.is_empty() {
        heading(&mut text, "services");
        services(&datapath.services).write(&mut text);
        let count = datapath.endpoints();
        if count == 0 {
            // Said by the table above.
        } else if one || count <= MOST_ENDPOINTS {
            heading(&mut text, "endpoints");
            endpoints(&datapath.services).write(&mut text);
        } else {
            let _ = writeln!(
                text,
                "\n  {FAINT}{count} endpoints; `kmesh-lite status NAME` shows those of one service{FAINT:#}"
            );
        }
    }
    if !one && !datapath.policies.is_empty() {
        heading(
            &mut text,
            "policies: refused on the way out, and on the way in",
        );
        policies(&datapath.policies).write(&mut text);
    }
    if !status.names.is_empty() {
        heading(&mut text, "DNS names of endpoints");
        let all = one || status.names.len() <= MOST_NAMES;
        let shown: Vec<_> = status
            .names
            .iter()
            .filter(|it| all || is_noted(it))
            .collect();
        names(&shown).write(&mut text);
        if !all {
            let _ = writeln!(
                text,
                "\n  {FAINT}{} names, of which those are shown that something is wrong with{FAINT:#}",
                status.names.len()
            );
        }
    }
    if one {
        text += &problems;
    } else {
        callers(&mut text, &datapath.callers);
        facts(&mut text, status);
        totals(&mut text, datapath);
    }
    text
}

fn heading(text: &mut String, heading: &str) {
    let _ = writeln!(text, "\n{heading}");
}

/// One that the file does not have is nowhere else.
fn orders(orders: &[EndpointOrder]) -> Table {
    let mut table = Table::new(&["service", "endpoint", "wanted", ""]);
    for it in orders {
        let absent = format!("{WARN}not in the file{WARN:#}");
        table.row([
            it.service.clone(),
            it.endpoint.clone(),
            wanted(&it.order),
            if it.present { String::new() } else { absent },
        ]);
    }
    table
}

fn departed(departed: &[Departed]) -> Table {
    let mut table = Table::new(&["service", "endpoint", "since", ">open", ">ended", ""]);
    for it in departed {
        table.row([
            it.service.clone(),
            it.endpoint.clone(),
            it.since.clone(),
            it.open_connections.to_string(),
            it.killed.to_string(),
            match (it.out_of_reach, it.on_remove.as_str()) {
                (0, "drain") => "draining".to_owned(),
                (0, _) => String::new(),
                (count, _) => format!("{ERROR}{count} cannot be ended from here{ERROR:#}"),
            },
        ]);
    }
    table
}

fn policies(policies: &[PolicyStatus]) -> Table {
    let mut table = Table::new(&["name", "action", ">out", ">in", "last seen (UTC)", ""]);
    for it in policies {
        let audits = it.mode == Mode::Audit.as_str();
        // Whole seconds: it is looked every half minute.
        let last = it
            .last
            .as_deref()
            .map(|last| last.split('.').next().unwrap_or(last));
        table.row([
            it.name.clone(),
            it.action.clone(),
            it.connects.to_string(),
            it.arrivals.to_string(),
            or_dash(&last.unwrap_or_default().replace('T', " ")),
            match audits {
                true => format!("{WARN}in audit mode: it would have refused these{WARN:#}"),
                false => String::new(),
            },
        ]);
    }
    table
}

fn services(services: &[ServiceStatus]) -> Table {
    let columns = [
        "name",
        "frontends",
        "policy",
        ">endpoints",
        ">connects",
        ">failed",
        ">open",
        "",
    ];
    let mut table = Table::new(&columns);
    for service in services {
        let endpoints: usize = service.priorities.iter().map(|p| p.endpoints.len()).sum();
        let mut policy = service.policy.clone();
        if !service.prefer.is_empty() {
            let _ = write!(policy, " by {}", service.prefer.join(", "));
        }
        if let Some(waypoint) = &service.waypoint {
            let _ = write!(policy, " via {waypoint}");
        }
        table.row([
            service.name.clone(),
            service.frontends.join(" "),
            policy,
            endpoints.to_string(),
            service.connects.to_string(),
            service.traffic.failures().to_string(),
            service.open_connections.to_string(),
            if service.refuses {
                format!("{ERROR}refuses: {}{ERROR:#}", unused::told(service, ""))
            } else if service.uses_all {
                let told = unused::told(service, "");
                format!("{WARN}{told}{WARN:#}")
            } else {
                String::new()
            },
        ]);
    }
    table
}

fn endpoints(services: &[ServiceStatus]) -> Table {
    let mut table = Table::new(&[
        "service",
        ">priority",
        "endpoint",
        "locality",
        ">weight",
        ">connects",
        ">failed",
        ">open",
        "",
    ]);
    for service in services {
        for priority in &service.priorities {
            for endpoint in &priority.endpoints {
                let mut notes = Vec::new();
                let health = endpoint.health.as_ref();
                let usable =
                    health.is_none_or(|it| it.usable || (service.uses_all && !it.is_meant()));
                if priority.in_use && endpoint.weight > 0 && usable {
                    notes.push("in use".to_owned());
                }
                if let Some(dns) = &endpoint.dns {
                    notes.push(format!("of {dns}"));
                }
                if let Some(waypoint) = &endpoint.waypoint {
                    notes.push(format!("via {waypoint}"));
                }
                if let Some(health) = &endpoint.health {
                    notes.push(words(health));
                }
                table.row([
                    service.name.clone(),
                    priority.priority.to_string(),
                    endpoint.endpoint.clone(),
                    or_dash(&endpoint.locality),
                    endpoint.weight.to_string(),
                    endpoint.connects.to_string(),
                    endpoint.traffic.failures().to_string(),
                    endpoint.open_connections.to_string(),
                    notes.join(", "),
                ]);
            }
        }
    }
    table
}

/// Whether there is something to say of a name.
fn is_noted(name: &NameStatus) -> bool {
    name.error.is_some() || !name.refused.is_empty() || name.left_out > 0
}

fn names(names: &[&NameStatus]) -> Table {
    let mut table = Table::new(&["name", "service", "addresses", "since", ""]);
    for name in names {
        let mut notes = Vec::new();
        if let (Some(error), Some(since)) = (&name.error, &name.failing_since) {
            notes.push(match name.addresses.is_empty() {
                false if name.in_part => format!(
                    "{WARN}not answered in full since {since}: {error}; what it had before stays{WARN:#}"
                ),
                true => format!("{ERROR}has not resolved: {error}, since {since}{ERROR:#}"),
                false => format!(
                    "{WARN}not answered since {since}: {error}; the last answer stays{WARN:#}"
                ),
            });
        }
        for refused in report::first_few(&refused(name)) {
            notes.push(format!("{WARN}{refused}{WARN:#}"));
        }
        if name.left_out > 0 {
            notes.push(format!("{WARN}{} more are left out{WARN:#}", name.left_out));
        }
        let kind = if name.srv { " (SRV)" } else { "" };
        table.row([
            format!("{}{kind}", name.name),
            name.services.join(" "),
            or_dash(&report::first_few(&name.addresses).join(" ")),
            or_dash(name.since.as_deref().unwrap_or_default()),
            notes.join(", "),
        ]);
    }
    table
}

fn refused(name: &NameStatus) -> Vec<String> {
    let refused = name.refused.iter();
    let refused = refused.map(|it| format!("{} is no endpoint: {}", it.address, it.why));
    refused.collect()
}

/// A unit that does not run is worth a line: whose connections they are is told by its cgroup.
fn callers(text: &mut String, callers: &[CallerStatus]) {
    if callers.is_empty() {
        return;
    }
    heading(text, "special callers");
    let mut table = Table::new(&["unit or cgroup", "treatment", "runs in"]);
    for caller in callers {
        let place = match caller.cgroups.as_slice() {
            [] => "no cgroup: it is not running, or not by this name".to_owned(),
            cgroups => cgroups.join(" "),
        };
        table.row([caller.name.clone(), caller.treatment.clone(), place]);
    }
    table.write(text);
}

fn facts(text: &mut String, status: &Status) {
    heading(text, "daemon");
    let mut table = Table::bare(2);
    let mut fact = |what: &str, is: String| table.row([what.to_owned(), is]);
    if let Some(config) = &status.config {
        let more = match config.files.len().saturating_sub(1) {
            0 => String::new(),
            1 => " and 1 drop-in".to_owned(),
            n => format!(" and {n} drop-ins"),
        };
        fact("file", format!("{}{more}", config.path.display()));
    }
    if let Some(events) = &status.events
        && let Some(to) = &events.to
    {
        let lost = match events.lost {
            0 => String::new(),
            lost => format!(", {lost} lost"),
        };
        let failure = events.failure.as_deref();
        let failure = failure.map_or_else(String::new, |why| format!("; cannot be written: {why}"));
        fact(
            "access log",
            format!("{to}, {} lines{lost}{failure}", events.written),
        );
    }
    if let Some(reload) = &status.last_reload {
        let outcome = if reload.applied {
            "applied"
        } else {
            "not applied"
        };
        fact(
            "last reload",
            format!("{} ({}), {outcome}", reload.at, reload.trigger),
        );
    }
    if let Some(pass) = &status.last_pass {
        let drift = match pass.drift.len() {
            0 => String::new(),
            // Of more there are the first few, and a line that says so.
            n if n > FEW => format!(", more than {FEW} things drifted"),
            n => format!(", {n} drifted"),
        };
        fact(
            "last compared",
            format!("{} in {:.1} ms{drift}", pass.at, pass.took_ms),
        );
    }
    fact("attached to", or_dash(&status.datapath.attached.join(" ")));
    if !status.datapath.absent.is_empty() {
        fact("waiting for", status.datapath.absent.join(" "));
    }
    if let Some(agent) = &status.agent {
        metrics(agent, &mut fact);
        probes(agent, &mut fact);
    }
    if let Some(dns) = &status.dns {
        names_served(dns, status.agent.as_ref(), &mut fact);
    }
    if let Some(about) = &status.daemon {
        fact(
            "version",
            format!(
                "{} ({}), pid {}, since {}",
                about.version, about.commit, about.pid, about.started
            ),
        );
    }
    table.write(text);
}

/// Where metrics are served over TCP.
fn metrics(agent: &AgentStatus, fact: &mut impl FnMut(&str, String)) {
    if agent.metrics.is_empty() {
        return;
    }
    let mut places = Vec::new();
    for listener in &agent.metrics {
        let place = &listener.listen;
        places.push(match &listener.error {
            None if listener.serving || agent.away => place.clone(),
            None => format!("{WARN}{place}: not yet{WARN:#}"),
            Some(error) => format!("{WARN}{place}: {error}; it is tried again{WARN:#}"),
        });
    }
    let mut places = places.join(", ");
    if agent.away {
        let since = agent.heard.as_ref();
        let since = since.map_or_else(String::new, |heard| format!(" since {heard}"));
        let _ = write!(places, ": {WARN}no agent answers{since}{WARN:#}");
    }
    fact("metrics", places);
}

/// Where names of the mesh are served, and who is asked for others.
fn names_served(dns: &DnsStatus, agent: Option<&AgentStatus>, fact: &mut impl FnMut(&str, String)) {
    let away = agent.is_none_or(|agent| agent.away);
    let mut places = Vec::new();
    for listener in &dns.listeners {
        let place = &listener.listen;
        places.push(match &listener.error {
            None if listener.serving || away => place.clone(),
            None => format!("{WARN}{place}: not yet{WARN:#}"),
            Some(error) => format!("{WARN}{place}: {error}; it is tried again{WARN:#}"),
        });
    }
    let names = report::count(dns.names, "name");
    let behind = match (away, dns.behind) {
        (true, _) => format!(": {WARN}no agent answers{WARN:#}"),
        (false, true) => {
            format!(", {WARN}and the agent has not taken over the last change{WARN:#}")
        }
        (false, false) => String::new(),
    };
    fact(
        "dns",
        format!(
            "{names} of `{}` at {}{behind}",
            dns.domain,
            places.join(", ")
        ),
    );
    if let Some(capture) = &dns.capture {
        let whose = match capture.cgroups.as_slice() {
            [] => "all questions to DNS servers".to_owned(),
            cgroups => format!("questions of {}", cgroups.join(", ")),
        };
        fact(
            "dns capture",
            match &capture.skipped {
                None => whose,
                Some(why) => format!("{WARN}none of {whose}: {why}{WARN:#}"),
            },
        );
    }
    let failing = dns.upstreams.iter().filter_map(|it| {
        let (error, address) = (it.error.as_ref()?, &it.address);
        let since = it.since.as_ref();
        let since = since.map_or_else(String::new, |since| format!(" since {since}"));
        Some(format!("{WARN}{address}: {error}{since}{WARN:#}"))
    });
    let well = dns.upstreams.iter().filter(|it| it.error.is_none());
    let upstreams: Vec<_> = well.map(|it| it.address.clone()).chain(failing).collect();
    if !upstreams.is_empty() {
        fact("dns upstreams", upstreams.join(", "));
    }
    let total: u64 = dns.queries.iter().map(|it| it.count).sum();
    if total > 0 {
        let of = |outcomes: &[QueryOutcome]| -> u64 {
            let queries = dns.queries.iter();
            let queries = queries.filter(|it| outcomes.contains(&it.outcome));
            queries.map(|it| it.count).sum()
        };
        let own = of(&[
            QueryOutcome::Answered,
            QueryOutcome::Nodata,
            QueryOutcome::Nxdomain,
        ]);
        let others = of(&[QueryOutcome::Forwarded, QueryOutcome::Cached]);
        let failed = of(&[QueryOutcome::Failed]);
        let failed = match failed {
            0 => String::new(),
            failed => format!(", {failed} without an answer"),
        };
        fact(
            "dns questions",
            format!("{total}: {own} out of the mesh, {others} by upstreams{failed}"),
        );
    }
}

/// How much is probed and looked up, and whether anybody does it.
fn probes(agent: &AgentStatus, fact: &mut impl FnMut(&str, String)) {
    let mut duties = Vec::new();
    match agent.targets {
        0 => {}
        1 => duties.push("1 address".to_owned()),
        n => duties.push(format!("{n} addresses")),
    }
    let what = if duties.is_empty() {
        "look-ups"
    } else {
        "probes"
    };
    match agent.names {
        0 => {}
        1 => duties.push("1 DNS name".to_owned()),
        n => duties.push(format!("{n} DNS names")),
    }
    if duties.is_empty() {
        return;
    }
    let targets = duties.join(" and ");
    let since = agent.heard.as_ref();
    let since = since.map_or_else(String::new, |heard| format!(" since {heard}"));
    let away = format!(
        "{WARN}no agent answers{since}: endpoints are what they were found to be until then{WARN:#}"
    );
    fact(
        what,
        match agent.away {
            true => format!("of {targets}: {away}"),
            false => format!("of {targets}"),
        },
    );
}

fn totals(text: &mut String, datapath: &DatapathStatus) {
    if datapath.outcomes.iter().any(|counter| counter.count > 0) {
        heading(text, "connects");
        let mut table = Table::new(&["outcome", ">count"]);
        for counter in datapath.outcomes.iter().filter(|counter| counter.count > 0) {
            table.row([counter.name.replace('_', " "), counter.count.to_string()]);
        }
        table.write(text);
    }
    if !datapath.capacity.is_empty() {
        heading(text, "capacity");
        let mut table = Table::new(&["table", ">used", ">room now", ">limit"]);
        for usage in &datapath.capacity {
            table.row([
                usage.table.clone(),
                usage.used.to_string(),
                usage.room.to_string(),
                usage
                    .limit
                    .map_or_else(|| "-".to_owned(), |limit| limit.to_string()),
            ]);
        }
        table.write(text);
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

#[cfg(test)]
mod tests;
