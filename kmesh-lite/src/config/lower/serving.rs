//! `[dns]`: where names of the mesh are served, and who is asked for others.

mod capture;
mod domain;

use super::super::Host;
use super::super::piece::Anchor;
use super::super::read::{At, OneOrMore};
use super::super::scalar::{DurationText, SocketText};
use super::super::schema::DnsText;
use super::address::{is_own, unusable};
use super::merge::Merged;
use super::metrics::{Written, contains, is_needed};
use super::{Diagnostics, Spot};
use crate::model::{Serving, UpstreamOrder};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Where every name is that no file says otherwise of.
const DOMAIN: &str = "mesh";
const TTL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 2;
const CACHE: u32 = 10_000;
/// More listeners than anybody needs.
const MOST_LISTENERS: usize = 16;
/// More upstreams than anybody needs.
const MOST_UPSTREAMS: usize = 8;
/// What is remembered for longer does not follow what happens.
const LONGEST_TTL: Duration = Duration::from_secs(24 * 3_600);
/// Programs have given up before.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(100);

/// Where the agent is to answer questions, as it is written.
pub fn written<'a>(merged: &Merged<'a>) -> Written<'a> {
    let Some((anchor, text)) = merged.dns else {
        return Vec::new();
    };
    addresses(anchor, text.listen.as_ref())
}

fn addresses<'a>(anchor: Anchor<'a>, list: Option<&'a OneOrMore<SocketText>>) -> Written<'a> {
    let items = list.into_iter().flat_map(|list| &list.items);
    items
        .map(|it| (it.value.0, Spot::new(anchor, it.span)))
        .collect()
}

/// `listen` and `metrics` are what the agent is to listen at.
pub fn lower(
    merged: &Merged<'_>,
    host: &Host,
    (listen, metrics): (&Written<'_>, &Written<'_>),
    report: &mut Diagnostics,
) -> Option<Serving> {
    let (anchor, text) = merged.dns?;
    let one = One { anchor, text };
    let listening = one.listeners(listen, metrics, report);
    let upstreams = one.upstreams(host, listen, report);
    if let Some(domain) = &text.domain {
        domain::check(one.at(domain), &domain.value.0, report);
    }
    let ttl = one.ttl(&text.ttl, report);
    let negative_ttl = one.ttl(&text.negative_ttl, report);
    let timeout = one.timeout(report);
    let reached = merged
        .capture
        .and_then(|(anchor, text)| Some((anchor, text.cgroups.as_ref()?)));
    let capture = capture::lower(anchor, text, host, reached, report);
    let listening = match &capture {
        Some(_) => capture::listeners(anchor, text, listening, host, metrics, report),
        None => listening,
    };
    if listening.is_empty() {
        one.in_vain(report);
        return None;
    }
    Some(Serving {
        listen: listening,
        domain: domain(merged).to_owned(),
        ttl,
        negative_ttl,
        upstreams,
        order: text
            .order
            .as_ref()
            .map_or(UpstreamOrder::default(), |it| it.value.0),
        timeout,
        attempts: text.attempts.as_ref().map_or(ATTEMPTS, |it| it.value.0),
        cache: text.cache.as_ref().map_or(CACHE, |it| it.value.0),
        capture,
    })
}

/// Whether names are to be served, if that is known: what could not be read may say so.
pub fn is_wanted(merged: &Merged<'_>, whole: bool) -> Option<bool> {
    match merged.dns {
        Some((_, text)) if text.listen.is_some() || text.capture.is_some() => Some(true),
        Some((_, text)) => (text.sound && whole).then_some(false),
        None => whole.then_some(false),
    }
}

/// What services are below.
pub fn domain<'a>(merged: &Merged<'a>) -> &'a str {
    let written = merged.dns.and_then(|(_, text)| text.domain.as_ref());
    written.map_or(DOMAIN, |written| &*written.value.0)
}

struct One<'a> {
    anchor: Anchor<'a>,
    text: &'a DnsText,
}

impl<'a> One<'a> {
    fn at<T>(&self, written: &At<T>) -> Spot<'a> {
        Spot::new(self.anchor, written.span)
    }

    fn listeners(
        &self,
        listen: &Written<'_>,
        metrics: &Written<'_>,
        report: &mut Diagnostics,
    ) -> Vec<SocketAddr> {
        if let Some((_, spot)) = listen.get(MOST_LISTENERS) {
            let problem = spot.error("too many addresses to listen at");
            report.push(problem.expected(format!("{MOST_LISTENERS} at most")));
        }
        let mut kept = Vec::new();
        for (place, (at, spot)) in listen.iter().enumerate() {
            if !at.ip().is_unspecified()
                && let Some(what) = unusable(at.ip())
            {
                let problem = spot.error(format!("`{}` is {what}", at.ip()));
                report.push(
                    problem.expected(
                        "an address of this host, or `0.0.0.0` or `[::]` for all of them",
                    ),
                );
            }
            let mut taken = metrics.iter();
            if let Some((_, first)) = taken.find(|(it, _)| meet(*it, *at)) {
                let problem = spot.error(format!("metrics are served at `{at}`"));
                report.push(
                    problem
                        .related(first.place(), "`listen` of `[metrics]`")
                        .help("take another port for one of them"),
                );
            }
            if is_needed(listen, place, report) {
                kept.push(*at);
            }
        }
        kept.sort();
        kept
    }

    fn upstreams(
        &self,
        host: &Host,
        listen: &Written<'_>,
        report: &mut Diagnostics,
    ) -> Vec<SocketAddr> {
        let mut seen = BTreeSet::new();
        let mut asked = Vec::new();
        for (at, spot) in addresses(self.anchor, self.text.upstreams.as_ref()) {
            if let Some(what) = unusable(at.ip()) {
                let problem = spot.error(format!("`{}` is {what}", at.ip()));
                report.push(problem.expected("the address of a server"));
            }
            if let Some((_, ours)) = listen.iter().find(|(it, _)| is_at(host, *it, at)) {
                let message = format!("`{at}` is where the agent itself listens");
                let problem = spot.error(message);
                report.push(
                    problem
                        .expected("the address of another server")
                        .related(ours.place(), "here"),
                );
            }
            if !seen.insert(at) {
                report.push(spot.warning(format!("`{at}` stands twice in `upstreams`")));
                continue;
            }
            asked.push(at);
            if asked.len() == MOST_UPSTREAMS + 1 {
                let problem = spot.error("too many servers to ask");
                report.push(problem.expected(format!("{MOST_UPSTREAMS} at most")));
            }
        }
        asked
    }

    fn ttl(&self, written: &Option<At<DurationText>>, report: &mut Diagnostics) -> Duration {
        let Some(written) = written else {
            return TTL;
        };
        let ttl = written.value.0;
        if ttl.subsec_nanos() != 0 {
            let problem = self.at(written).error("this is no whole number of seconds");
            report.push(problem.expected("whole seconds, as DNS has them"));
        } else if ttl > LONGEST_TTL {
            let problem = self.at(written).error("this is too long");
            report.push(problem.expected("24 hours at most"));
        }
        ttl
    }

    fn timeout(&self, report: &mut Diagnostics) -> Duration {
        let Some(written) = &self.text.timeout else {
            return TIMEOUT;
        };
        let timeout = written.value.0;
        if timeout < SHORTEST_TIMEOUT || timeout > LONGEST_TIMEOUT {
            let what = match timeout < SHORTEST_TIMEOUT {
                true => "this is too short",
                false => "this is too long",
            };
            let problem = self.at(written).error(what);
            report.push(problem.expected("100 ms at least, and 30 s at most"));
        }
        timeout
    }

    /// What has no effect because nobody listens.
    fn in_vain(&self, report: &mut Diagnostics) {
        let text = self.text;
        // One of `listen` could not be read.
        if text.listen.is_some() || text.capture.is_some() || !text.sound || !report.whole {
            return;
        }
        let upstreams = text.upstreams.as_ref().and_then(|list| list.items.first());
        let written = [
            ("domain", text.domain.as_ref().map(|it| it.span)),
            ("ttl", text.ttl.as_ref().map(|it| it.span)),
            ("negative_ttl", text.negative_ttl.as_ref().map(|it| it.span)),
            ("upstreams", upstreams.map(|it| it.span)),
            ("order", text.order.as_ref().map(|it| it.span)),
            ("timeout", text.timeout.as_ref().map(|it| it.span)),
            ("attempts", text.attempts.as_ref().map(|it| it.span)),
            ("cache", text.cache.as_ref().map(|it| it.span)),
            ("capture_bypass", capture::bypass(text).map(|it| it.span)),
        ];
        for (key, span) in written {
            let Some(span) = span else { continue };
            let spot = Spot::new(self.anchor, span);
            let problem = spot.warning(format!("`{key}` has no effect: no names are served"));
            report.push(problem.help("say where with `listen`: `listen = \"127.0.0.1:53\"`"));
        }
    }
}

/// Whether only one can be had.
pub(super) fn meet(a: SocketAddr, b: SocketAddr) -> bool {
    a == b || contains(a, b) || contains(b, a)
}

/// Whether a question to `at` comes to who listens at `listen`.
fn is_at(host: &Host, listen: SocketAddr, at: SocketAddr) -> bool {
    let every = |ip: IpAddr| ip.is_unspecified() && (ip.is_ipv6() || at.is_ipv4());
    listen == at || (listen.port() == at.port() && every(listen.ip()) && is_own(host, at.ip()))
}
