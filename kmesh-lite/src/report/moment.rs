//! Moments of connections, in words.

use super::connections::unit;
use super::explain::refusal;
use super::titles::{Titled, titles};
use super::traffic::word;
use crate::api::ConnectionEvent;
use crate::model::Table;
use crate::tables::Tables;
use jiff::{SignedDuration, Timestamp};
use kmesh_lite_common::{Ending, EndpointId, FrontendKey, Moment, MomentKind, Protocol, ServiceId};
use kmesh_lite_ebpf::{Outcome, Refuse};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

/// What ids stand for, by tables of a moment.
pub struct Names {
    tables: Tables,
    /// Endpoints of the services that were asked for.
    titles: BTreeMap<ServiceId, BTreeMap<EndpointId, Titled>>,
    frontends: Option<BTreeMap<FrontendKey, ServiceId>>,
    /// The names of guards by the destinations that lead to them.
    destinations: Option<BTreeMap<FrontendKey, String>>,
}

/// Where and when a moment was, beside what it says itself.
pub struct Told<'a> {
    pub moment: &'a Moment,
    /// The path of the client's cgroup, if it is still there.
    pub cgroup: Option<&'a Path>,
    /// What both clocks show now: the monotonic one in nanoseconds.
    pub monotonic: u64,
    pub now: Timestamp,
}

impl Names {
    pub fn new(tables: Tables) -> Self {
        Self {
            tables,
            titles: BTreeMap::new(),
            frontends: None,
            destinations: None,
        }
    }

    fn service(&mut self, moment: &Moment) -> Option<String> {
        let id = match moment.kind {
            MomentKind::Rejected => self.asked_for(moment),
            MomentKind::Denied => return self.guarded(moment),
            _ => moment.service,
        };
        self.tables.name(Table::Services, id?.index())
    }

    /// The service that declares what was asked for.
    fn asked_for(&mut self, moment: &Moment) -> Option<ServiceId> {
        let rows = &self.tables.rows.frontends;
        let frontends = self.frontends.get_or_insert_with(|| {
            let rows = rows.values();
            let pairs = rows.filter_map(|row| Some((row.key, row.service?)));
            pairs.collect()
        });
        let key = FrontendKey::new(moment.address, moment.port, moment.protocol);
        frontends.get(&key).copied()
    }

    /// The service that an endpoint of this host belongs to, where policies are about that alone.
    fn guarded(&mut self, moment: &Moment) -> Option<String> {
        let rows = &self.tables.rows;
        let names = self.destinations.get_or_insert_with(|| {
            let services: BTreeSet<_> = rows.services.values().map(|row| row.name).collect();
            let rows = rows.destinations.values().filter_map(|row| {
                let guard = rows.guards.get(&row.guard?)?;
                let name = services
                    .contains(&guard.name)
                    .then(|| guard.name.to_string());
                Some((row.key, name?))
            });
            rows.collect()
        });
        let key = FrontendKey::new(moment.address, moment.port, moment.protocol);
        names.get(&key).cloned()
    }

    fn endpoint(&mut self, moment: &Moment) -> Option<String> {
        if let (Some(service), Some(endpoint)) = (moment.service, moment.endpoint) {
            let tables = &self.tables;
            let of_service = self.titles.entry(service);
            let of_service = of_service.or_insert_with(|| titles(tables, |id| id == service));
            if let Some(titled) = of_service.get(&endpoint) {
                return Some(titled.endpoint.clone());
            }
        }
        // A backend whose own address was asked for.
        self.tables.name(Table::Backends, moment.backend?.index())
    }

    /// A moment in words.
    pub fn tell(&mut self, told: &Told<'_>) -> ConnectionEvent {
        let moment = told.moment;
        let at = |monotonic: u64| time_of(monotonic, (told.monotonic, told.now));
        let is_over = matches!(moment.kind, MomentKind::Failed | MomentKind::Closed);
        let stood = moment.kind == MomentKind::Closed;
        let began = moment.at.saturating_sub(moment.open);
        let endpoint = self.endpoint(moment);
        let waypoint = moment.waypoint;
        let waypoint = waypoint.and_then(|id| self.tables.name(Table::Waypoints, id.index()));
        let policy = moment.authorization;
        let policy = policy.and_then(|id| self.tables.name(Table::Authorizations, id.index()));
        let (outcome, mut text) = outcome(moment, endpoint.as_deref(), waypoint.as_deref());
        if let Some(policy) = &policy {
            text += &match moment.kind {
                MomentKind::Rejected => format!(" (policy {policy})"),
                MomentKind::Denied if moment.detail == 1 => format!(" (policy {policy})"),
                _ => format!("; policy {policy} would refuse it, and is in audit mode"),
            };
        }
        let asked = SocketAddr::new(moment.address.into(), moment.port.get());
        let own = SocketAddr::new(moment.source.into(), moment.source_port.get());
        ConnectionEvent {
            time: at(moment.at),
            event: moment.kind.as_str().into(),
            outcome,
            text,
            lost: None,
            cookie: (moment.cookie != 0).then_some(moment.cookie),
            protocol: Some(moment.protocol.as_str().into()),
            client: (own.port() != 0).then(|| own.to_string()),
            unit: told.cgroup.and_then(unit),
            cgroup: told.cgroup.map(|path| path.display().to_string()),
            uid: (moment.user != Moment::NOBODY).then_some(moment.user),
            pid: (moment.process != 0).then_some(moment.process),
            command: command(&moment.command),
            service: self.service(moment),
            original_destination: Some(asked.to_string()),
            endpoint,
            waypoint,
            policy,
            started: (is_over && moment.open != 0).then(|| at(began)),
            sent_bytes: is_over.then_some(moment.sent),
            received_bytes: is_over.then_some(moment.received),
            rtt_seconds: stood.then(|| f64::from(moment.rtt) / 1e6),
            retransmits: is_over.then_some(moment.retransmits),
            connect_seconds: (moment.connecting != 0).then(|| seconds(moment.connecting)),
            duration_seconds: is_over.then(|| seconds(moment.open)),
        }
    }
}

/// When it was `at` by the monotonic clock, to a microsecond. `clocks` are what that one and that of the host show now.
pub fn time_of(at: u64, (monotonic, now): (u64, Timestamp)) -> String {
    let ago = monotonic.saturating_sub(at);
    let ago = SignedDuration::from_nanos(i64::try_from(ago).unwrap_or(i64::MAX));
    let time = now.checked_sub(ago).unwrap_or(now);
    format!("{time:.6}")
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

type Words = Option<std::borrow::Cow<'static, str>>;

/// What became of it: the word for it, and words for people.
fn outcome(moment: &Moment, endpoint: Option<&str>, waypoint: Option<&str>) -> (Words, String) {
    let decided = Outcome::ALL
        .into_iter()
        .find(|outcome| *outcome as u32 == moment.detail);
    match moment.kind {
        MomentKind::Decided => {
            let text = match (endpoint, waypoint) {
                (Some(endpoint), Some(waypoint)) => {
                    format!("sent to {endpoint} via waypoint {waypoint}")
                }
                (None, Some(waypoint)) => format!("redirected to waypoint {waypoint}"),
                (Some(endpoint), None) => format!("sent to {endpoint}"),
                (None, None) => "sent to an endpoint that is gone".to_owned(),
            };
            (decided.map(|outcome| outcome.as_str().into()), text)
        }
        MomentKind::Rejected => {
            let mut reasons = Refuse::ALL.into_iter();
            let reason = reasons.find(|reason| Some(reason.outcome()) == decided);
            let text = reason.map_or("refused", refusal);
            (
                decided.map(|outcome| outcome.as_str().into()),
                text.to_owned(),
            )
        }
        MomentKind::Established => (None, "established".to_owned()),
        MomentKind::Denied => match moment.detail {
            1 => (
                Some("denied".into()),
                "denied where it arrived, before it stood".to_owned(),
            ),
            _ => (Some("audited".into()), "arrived".to_owned()),
        },
        kind => {
            let ending = Ending(moment.detail);
            let text = ended(ending, kind == MomentKind::Closed);
            (Some(word(ending).into()), text.to_owned())
        }
    }
}

fn ended(ending: Ending, stood: bool) -> &'static str {
    match ending {
        Ending::Closed => "closed",
        Ending::Refused => "refused by the host that it was sent to (ECONNREFUSED)",
        Ending::TimedOut => "no answer in time (ETIMEDOUT)",
        Ending::Unreachable => "there is no way to it (EHOSTUNREACH, ENETUNREACH)",
        Ending::Reset => "reset by the peer (ECONNRESET)",
        Ending::Killed => "ended by kmesh-lite for the operator",
        Ending::Aborted if stood => "cut off by the client, or aborted (ECONNABORTED)",
        Ending::Aborted => "given up by the client before it stood",
        Ending::NotSent => "no segment could leave: no route, or no local address or port",
        _ => "ended for another reason",
    }
}

/// The bytes before the first zero, if there are any.
fn command(bytes: &[u8]) -> Option<String> {
    let name = bytes.split(|byte| *byte == 0).next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

/// Whether the access log has a line for it: it is over, or was refused, or would have been by a policy in audit mode,
/// and is a connection.
pub fn is_logged(moment: &Moment) -> bool {
    let is_told = match moment.kind {
        MomentKind::Rejected | MomentKind::Failed | MomentKind::Closed | MomentKind::Denied => true,
        MomentKind::Decided => moment.authorization.is_some(),
        _ => false,
    };
    is_told && moment.protocol == Protocol::Tcp
}
