//! DNS names of services, over the whole mesh: each leads to one service.

use super::super::read::At;
use super::super::scalar::ServiceHostname;
use super::service::LoweredService;
use super::{Diagnostics, Spot};
use crate::zone::{NoName, service_name};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

/// `is_served`: whether anybody answers questions, if that is known. `domain` is that of the mesh.
pub fn check(
    services: &[LoweredService<'_>],
    domain: &str,
    is_served: Option<bool>,
    report: &mut Diagnostics,
) {
    if is_served == Some(false) {
        unserved(services, report);
    }
    let mut owners: BTreeMap<&str, &LoweredService<'_>> = BTreeMap::new();
    for service in services.iter().filter(|service| service.is_named) {
        for name in &service.model.hostnames {
            match owners.entry(name) {
                Entry::Vacant(vacant) => drop(vacant.insert(service)),
                Entry::Occupied(first) => collision(name, first.get(), service, report),
            }
        }
        covered(service, report);
    }
    // Of names in small letters no two are the same.
    let is_capital = |name: &str| name.bytes().any(|byte| byte.is_ascii_uppercase());
    let has_capitals = services.iter().any(|it| is_capital(it.name().as_str()));
    let mut own: HashMap<String, &LoweredService<'_>> = HashMap::new();
    for service in services {
        let name = match service_name(service.name().as_str(), domain) {
            Ok(name) => name,
            Err(why) => {
                if is_served == Some(true) {
                    nameless(service, why, report);
                }
                continue;
            }
        };
        if let Some(other) = owners.get(&*name)
            && other.name() != service.name()
        {
            taken(service, other, &name, report);
        }
        if has_capitals && let Some(other) = own.insert(name, service) {
            same_name(service, other, report);
        }
    }
}

/// Says once that nobody answers.
fn unserved(services: &[LoweredService<'_>], report: &mut Diagnostics) {
    let named = services.iter().find(|service| service.is_named);
    let list = named.and_then(|service| service.entry.text()?.hostnames.as_ref());
    if let (Some(service), Some(list)) = (named, list) {
        let message = "`hostnames` have no effect: no names are served";
        let problem = service.spot(list.span).note(message);
        report.push(problem.help(LISTEN));
    }
    let headless = services.iter().find(|service| service.model.headless);
    let flag = headless.and_then(|service| service.entry.text()?.headless.as_ref());
    if let (Some(service), Some(flag)) = (headless, flag) {
        let message = "`headless` has no effect: no names are served";
        let problem = service.spot(flag.span).note(message);
        report.push(problem.help(LISTEN));
    }
}

const LISTEN: &str = "say where with `listen` under `[dns]`: `listen = \"127.0.0.1:53\"`";

/// A name of a service beside `*.` of the same that has it as well.
fn covered(service: &LoweredService<'_>, report: &mut Diagnostics) {
    let names = &service.model.hostnames;
    for name in names.iter().filter(|name| !name.starts_with("*.")) {
        let wider = names.iter().find(|it| {
            let below = it.strip_prefix('*');
            below.is_some_and(|below| name.ends_with(below))
        });
        let Some(wider) = wider else { continue };
        let (Some(written), Some(covering)) = (written(service, name), written(service, wider))
        else {
            continue;
        };
        let message = format!("`{name}` is covered by `{wider}`");
        let problem = service.spot(written.span).warning(message);
        report.push(problem.related(service.spot(covering.span).place(), "this one"));
    }
}

/// Where a service has a name.
fn written<'a>(service: &LoweredService<'a>, name: &str) -> Option<&'a At<ServiceHostname>> {
    let list = service.entry.text()?.hostnames.as_ref()?;
    list.items.iter().find(|item| &*item.value.0 == name)
}

fn hostname_spot<'a>(service: &LoweredService<'a>, name: &str) -> Spot<'a> {
    match written(service, name) {
        Some(written) => service.spot(written.span),
        None => service.entry.spot(),
    }
}

fn collision(name: &str, a: &LoweredService<'_>, b: &LoweredService<'_>, report: &mut Diagnostics) {
    let (mut first, mut second) = (hostname_spot(a, name), hostname_spot(b, name));
    let (mut one, mut other) = (a.name(), b.name());
    if !report.is_before(first, second) {
        std::mem::swap(&mut first, &mut second);
        std::mem::swap(&mut one, &mut other);
    }
    let message = format!("the services `{one}` and `{other}` have the same hostname `{name}`");
    let problem = second.error(message);
    report.push(problem.related(first.place(), format!("that of `{one}`")));
}

fn same_name(a: &LoweredService<'_>, b: &LoweredService<'_>, report: &mut Diagnostics) {
    let (mut first, mut second) = (a.entry.spot(), b.entry.spot());
    let (mut one, mut other) = (a.name(), b.name());
    if !report.is_before(first, second) {
        std::mem::swap(&mut first, &mut second);
        std::mem::swap(&mut one, &mut other);
    }
    let message = format!("the services `{one}` and `{other}` have the same name in DNS");
    let problem = second.error(message);
    report.push(
        problem
            .related(first.place(), "the first one")
            .help("DNS does not tell capital letters from small ones: rename one"),
    );
}

/// `other` has the name of a service among its hostnames.
fn taken(
    service: &LoweredService<'_>,
    other: &LoweredService<'_>,
    name: &str,
    report: &mut Diagnostics,
) {
    let message = format!(
        "`{name}` is the name of the service `{}`, and a hostname of `{}`",
        service.name(),
        other.name()
    );
    let problem = hostname_spot(other, name).error(message);
    report.push(problem.related(service.entry.spot().place(), "the service of that name"));
}

fn nameless(service: &LoweredService<'_>, why: NoName, report: &mut Diagnostics) {
    let message = format!("`{}` is no name in DNS: {why}", service.name());
    let problem = service.entry.spot().warning(message);
    let problem = match service.is_named {
        true => problem.help("only its `hostnames` lead to it"),
        false => problem.help("give it `hostnames`, or another name"),
    };
    report.push(problem);
}
