//! How endpoints are checked: `[health]`, and `health` of services and endpoints.
//!
//! What is said in one place is laid over what is said further out, key by key, and the outcome is a check.

use super::super::health::{CheckKind, HealthField, HealthText, Initial};
use super::super::piece::Anchor;
use super::super::read::At;
use super::super::span::Span;
use super::merge::Merged;
use super::{Diagnostics, Spot};
use crate::model::{
    AccessLog, Check, CommandProbe, Eject, GrpcProbe, HttpProbe, Probe, TlsOptions,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(5);
/// Unless intervals are shorter.
const FAST_INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(1);
const JITTER: u32 = 10;
const RISE: u32 = 2;
const FALL: u32 = 3;
/// Of HTTP: redirects are an answer, too.
const STATUS: (u16, u16) = (200, 399);
const EJECT_FOR: Duration = Duration::from_secs(30);
/// In millionths.
const EJECT_AT_MOST: u32 = 500_000;
/// More often than that nobody is probed.
const SHORTEST: Duration = Duration::from_millis(100);

/// What is said of checks, as far as it is said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    kind: Option<CheckKind>,
    interval: Option<Duration>,
    fast_interval: Option<Duration>,
    timeout: Option<Duration>,
    jitter: Option<u32>,
    rise: Option<u32>,
    fall: Option<u32>,
    initial: Option<Initial>,
    port: Option<u16>,
    source: Option<IpAddr>,
    method: Option<String>,
    path: Option<String>,
    host: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    status: Option<Vec<(u16, u16)>>,
    body: Option<String>,
    tls: Option<bool>,
    verify: Option<bool>,
    server_name: Option<String>,
    authorities: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    grpc_service: Option<String>,
    command: Option<Vec<String>>,
    eject_after: Option<u32>,
    eject_for: Option<Duration>,
    eject_at_most: Option<u32>,
}

impl From<&HealthField> for Said {
    fn from(field: &HealthField) -> Self {
        match field {
            HealthField::Kind(kind) => Self {
                kind: Some(kind.0),
                ..Self::default()
            },
            HealthField::Table(table) => Self::from(&**table),
        }
    }
}

impl From<&HealthText> for Said {
    fn from(text: &HealthText) -> Self {
        fn value<T, U>(written: &Option<At<T>>, inner: impl Fn(&T) -> U) -> Option<U> {
            written.as_ref().map(|it| inner(&it.value))
        }
        let status = text.status.as_ref();
        let command = text.command.as_ref();
        Self {
            kind: value(&text.check, |it| it.0),
            interval: value(&text.interval, |it| it.0),
            fast_interval: value(&text.fast_interval, |it| it.0),
            timeout: value(&text.timeout, |it| it.0),
            jitter: value(&text.jitter, |it| it.0),
            rise: value(&text.rise, |it| it.0),
            fall: value(&text.fall, |it| it.0),
            initial: value(&text.initial, |it| it.0),
            port: value(&text.port, |it| it.0 as u16),
            source: value(&text.source, |it| it.0),
            method: value(&text.method, |it| it.0.clone()),
            path: value(&text.path, |it| it.0.clone()),
            host: value(&text.host, |it| it.0.clone()),
            headers: value(&text.headers, |it| it.0.clone()),
            status: status.map(|list| list.items.iter().map(|it| it.value.0).collect()),
            body: value(&text.body, |it| it.0.clone()),
            tls: value(&text.tls, |it| it.0),
            verify: value(&text.verify, |it| it.0),
            server_name: value(&text.server_name, |it| it.0.to_string()),
            authorities: value(&text.authorities, |it| it.0.clone()),
            certificate: value(&text.certificate, |it| it.0.clone()),
            key: value(&text.key, |it| it.0.clone()),
            grpc_service: value(&text.grpc_service, |it| it.0.clone()),
            command: command.map(|list| list.items.iter().map(|it| it.value.0.clone()).collect()),
            eject_after: value(&text.eject_after, |it| it.0),
            eject_for: value(&text.eject_for, |it| it.0),
            eject_at_most: value(&text.eject_at_most, |it| it.0),
        }
    }
}

impl Said {
    /// What is said here, and else what is said further out.
    pub fn over(&self, outer: &Self) -> Self {
        macro_rules! laid {
            ($($key:ident)+) => {
                Self { $($key: self.$key.clone().or_else(|| outer.$key.clone()),)+ }
            };
        }
        laid! {
            kind interval fast_interval timeout jitter rise fall initial port source method path host
            headers status body tls verify server_name authorities certificate key grpc_service command
            eject_after eject_for eject_at_most
        }
    }

    fn interval(&self) -> Duration {
        self.interval.unwrap_or(INTERVAL)
    }

    /// None where nothing is probed.
    fn check(&self) -> Option<Check> {
        let probe = match self.kind? {
            CheckKind::None => return None,
            CheckKind::Tcp => Probe::Tcp,
            CheckKind::Http => Probe::Http(self.http(None)),
            CheckKind::Https => Probe::Http(self.http(Some(self.tls_options()))),
            CheckKind::Grpc => Probe::Grpc(GrpcProbe {
                tls: (self.tls == Some(true)).then(|| self.tls_options()),
                service: self.grpc_service.clone().unwrap_or_default(),
                authority: self.host.clone(),
            }),
            CheckKind::Command => {
                let (program, arguments) = self.command.as_deref()?.split_first()?;
                Probe::Command(CommandProbe {
                    program: program.into(),
                    arguments: arguments.to_vec(),
                })
            }
        };
        let interval = self.interval();
        Some(Check {
            probe,
            interval,
            fast_interval: self.fast_interval.unwrap_or(FAST_INTERVAL).min(interval),
            timeout: self.timeout.unwrap_or(TIMEOUT).min(interval),
            jitter: self.jitter.unwrap_or(JITTER) as u8,
            rise: self.rise.unwrap_or(RISE),
            fall: self.fall.unwrap_or(FALL),
            port: self.port,
            source: self.source,
            initially_usable: self.initial != Some(Initial::Unhealthy),
        })
    }

    /// None where connections that fail change nothing.
    pub fn eject(&self) -> Option<Eject> {
        const WHOLE: u32 = AccessLog::WHOLE / 100;
        Some(Eject {
            after: self.eject_after?,
            base: self.eject_for.unwrap_or(EJECT_FOR),
            at_most: (self.eject_at_most.unwrap_or(EJECT_AT_MOST) / WHOLE) as u8,
        })
    }

    fn http(&self, tls: Option<TlsOptions>) -> HttpProbe {
        HttpProbe {
            tls,
            method: self.method.clone().unwrap_or_else(|| "GET".to_owned()),
            path: self.path.clone().unwrap_or_else(|| "/".to_owned()),
            host: self.host.clone(),
            headers: self.headers.clone().unwrap_or_default(),
            status: self.status.clone().unwrap_or_else(|| vec![STATUS]),
            body: self.body.clone(),
        }
    }

    fn tls_options(&self) -> TlsOptions {
        TlsOptions {
            verify: self.verify.unwrap_or(true),
            server_name: self.server_name.clone(),
            authorities: self.authorities.clone(),
            identity: self.certificate.clone().zip(self.key.clone()),
        }
    }
}

/// What `[health]` says, with all that there is to say about it alone.
pub fn defaults(merged: &Merged<'_>, report: &mut Diagnostics) -> Said {
    let Some((anchor, text)) = merged.health else {
        return Said::default();
    };
    let said = Said::from(text);
    check_table(anchor, text, &said, &said, report);
    said
}

/// The checks of a service: each once, however many endpoints have it.
#[derive(Default)]
pub struct Checks {
    known: BTreeMap<Check, Arc<Check>>,
}

impl Checks {
    /// The check of whoever says `said`.
    pub fn of(&mut self, said: &Said) -> Option<Arc<Check>> {
        let check = said.check()?;
        if let Some(known) = self.known.get(&check) {
            return Some(Arc::clone(known));
        }
        let shared = Arc::new(check.clone());
        self.known.insert(check, Arc::clone(&shared));
        Some(shared)
    }
}

/// What a service or an endpoint says, laid over what is said further out.
pub fn laid_over(
    anchor: Anchor<'_>,
    field: Option<&HealthField>,
    outer: &Said,
    report: &mut Diagnostics,
) -> Said {
    let Some(field) = field else {
        return outer.clone();
    };
    let said = Said::from(field);
    let whole = said.over(outer);
    match field {
        HealthField::Kind(_) => {}
        HealthField::Table(table) => check_table(anchor, table, &said, &whole, report),
    }
    whole
}

/// Says what is wrong with a table. `whole` is what it comes to with what is said further out.
fn check_table(
    anchor: Anchor<'_>,
    text: &HealthText,
    said: &Said,
    whole: &Said,
    report: &mut Diagnostics,
) {
    let spot = |span: Span| Spot::new(anchor, span);
    let times = [
        (&text.interval, SHORTEST),
        (&text.fast_interval, SHORTEST),
        (&text.timeout, Duration::from_millis(1)),
        (&text.eject_for, Duration::from_secs(1)),
    ];
    let mut are_long = true;
    for (written, shortest) in times {
        let Some(written) = written else { continue };
        if written.value.0 < shortest {
            let message = format!("this is shorter than {}", words(shortest));
            let expected = format!("{} or more", words(shortest));
            report.push(spot(written.span).error(message).expected(expected));
            are_long = false;
        }
    }
    if are_long {
        let interval = whole.interval();
        let pairs = [
            ("timeout", &text.timeout),
            ("fast_interval", &text.fast_interval),
        ];
        let mut is_said = false;
        for (name, written) in pairs {
            if let Some(written) = written
                && written.value.0 > interval
            {
                let message = format!("`{name}` is longer than `interval`, {}", words(interval));
                report.push(spot(written.span).error(message).expected(format!(
                    "{} or less, or a longer `interval`",
                    words(interval)
                )));
                is_said = true;
            }
        }
        // What is said further out is as long as it is there: an interval that is shorter shortens both.
        if let Some(written) = &text.interval
            && !is_said
            && let Some(timeout) = whole.timeout.filter(|_| said.timeout.is_none())
            && timeout > interval
        {
            let message = format!("this is shorter than the `timeout` of {}", words(timeout));
            let problem = spot(written.span).error(message);
            report.push(problem.help("give a `timeout` here as well"));
        }
    }
    let kind = whole.kind.unwrap_or(CheckKind::None);
    // Further out, a key may be for those who say the kind.
    if said.kind.is_some() {
        for (span, key, kinds) in text.particular() {
            if !kinds.contains(&kind) {
                let word = word(kind);
                let message = format!("`{key}` does nothing for the check `{word}`");
                let of: Vec<_> = kinds
                    .iter()
                    .map(|it| format!("`{}`", self::word(*it)))
                    .collect();
                let help = format!("it is of {}", of.join(" and "));
                report.push(spot(span).warning(message).help(help));
            }
        }
    }
    match (&text.certificate, &text.key) {
        (Some(one), None) if whole.key.is_none() => {
            let problem = spot(one.span).error("a certificate is of no use without its key");
            report.push(problem.help("add `key`, the file of the key"));
        }
        (None, Some(one)) if whole.certificate.is_none() => {
            let problem = spot(one.span).error("a key is of no use without its certificate");
            report.push(problem.help("add `certificate`, the file of the certificate"));
        }
        _ => {}
    }
    if let Some(check) = &text.check
        && check.value.0 == CheckKind::Command
        && whole.command.is_none()
    {
        let problem = spot(check.span).error("no command is given");
        report.push(problem.help("add `command = [\"/path/of/a/program\", \"argument\"]`"));
    }
    if let Some(list) = text.command.as_ref().filter(|list| list.whole) {
        match list.items.first() {
            None => report.push(spot(list.span).error("this is empty").expected("a program")),
            Some(program) if !program.value.0.starts_with('/') => {
                let message = format!("`{}` is not the path of a program", program.value.0);
                let problem = spot(program.span).error(message);
                report.push(problem.expected("a path that begins with `/`"));
            }
            Some(_) => {}
        }
    }
}

fn word(kind: CheckKind) -> &'static str {
    use super::super::choice::Choices;
    let words = CheckKind::ALL.iter().find(|(it, _, _)| *it == kind);
    words.map_or("none", |(_, word, _)| word)
}

/// A time as the file has it.
pub fn words(time: Duration) -> String {
    match time.as_millis() {
        ms if ms % 1_000 != 0 => format!("{ms}ms"),
        ms => format!("{}s", ms / 1_000),
    }
}
