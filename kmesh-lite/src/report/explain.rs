//! The decision of one connect, step by step.

mod arrival;
mod step;

pub use arrival::explain_arrival;

use super::caller::Client;
use super::candidates::{Choice, WhyDown};
use super::rate::Rate;
use crate::api::{Candidate, Explanation, Row, Step, TimeBase, VerdictKind};
use crate::kernel::Snapshot;
use crate::tables::{LookedUp, Remembered, Tables, replay};
use kmesh_lite_common::{
    Address, ClientKey, ClientsBy, Family, PRIORITIES, Port, Protocol, Range, Service, WaypointId,
};
use kmesh_lite_ebpf::{Connect, PassReason, Redirect, Refuse, Verdict};
use std::net::SocketAddr;
use step::Steps;

/// A connect that is asked about.
pub struct Asked {
    pub client: Client,
    pub address: SocketAddr,
    pub protocol: Protocol,
}

impl Asked {
    fn connect(&self) -> Connect {
        Connect {
            address: Address::from(self.address.ip()).called(),
            port: Port::new(self.address.port()),
            protocol: self.protocol,
        }
    }

    fn replay(&self, snapshot: &Snapshot, remembered: &Remembered) -> (Verdict, Vec<LookedUp>) {
        let tables = &snapshot.tables;
        let whose = self.client.whose(tables);
        let open = &snapshot.counters.open;
        replay(tables, &self.connect(), whose, 0, open, remembered)
    }

    /// The clients of whom the decision wants to know what is remembered.
    pub fn clients(&self, snapshot: &Snapshot) -> Vec<ClientKey> {
        // At the end of time every connect is due: no rate keeps the decision from asking.
        let nothing = Remembered {
            now: u64::MAX,
            ..Remembered::default()
        };
        let (_, found) = self.replay(snapshot, &nothing);
        found.iter().filter_map(LookedUp::client).collect()
    }
}

/// Replays what the programs do with a connect, and says how often they did it. `remembered` is what they know of
/// [`Asked::clients`].
pub fn explain(
    snapshot: &Snapshot,
    asked: &Asked,
    remembered: &Remembered,
    base: TimeBase,
    why_down: WhyDown<'_>,
) -> Explanation {
    let (tables, attached) = (&snapshot.tables, &snapshot.attached[..]);
    let (connect, client) = (asked.connect(), &asked.client);
    let caller_step = client.step(tables, attached);
    if let Err(why) = client.captured(attached) {
        return Explanation {
            address: asked.address.to_string(),
            protocol: asked.protocol.to_string(),
            from: None,
            verdict: VerdictKind::Pass,
            outcome: None,
            outcome_count: None,
            text: format!("left alone: {why}"),
            steps: caller_step.into_iter().collect(),
            kept: None,
            candidates: Vec::new(),
            uses_all: false,
            left_out: Vec::new(),
        };
    }
    let (verdict, found) = asked.replay(snapshot, remembered);
    let whose = client.whose(tables);
    let choice = Choice::of(snapshot, &connect, whose, (&verdict, &found), remembered);
    let choice = choice.as_ref();
    let candidates = match choice {
        Some(choice) => choice.candidates(why_down),
        None => super::candidates::only(snapshot, &verdict),
    };
    let uses_all = candidates.iter().any(|it| it.down.is_some());
    let steps = Steps {
        snapshot,
        connect: &connect,
        verdict: &verdict,
        found: &found,
        choice,
        base,
    };
    let count = |outcome| snapshot.counters.outcomes.get(&outcome).copied();
    Explanation {
        address: asked.address.to_string(),
        protocol: asked.protocol.to_string(),
        from: None,
        verdict: match verdict {
            Verdict::Pass(_) => VerdictKind::Pass,
            Verdict::Redirect(_) => VerdictKind::Redirect,
            Verdict::Refuse(_) => VerdictKind::Refuse,
        },
        outcome: verdict.outcome().map(|outcome| outcome.as_str().to_owned()),
        outcome_count: verdict.outcome().and_then(count),
        text: text(tables, &verdict, choice, &candidates),
        steps: caller_step.into_iter().chain(steps.told()).collect(),
        kept: choice.and_then(|choice| choice.kept_endpoint(base)),
        candidates,
        uses_all,
        left_out: match verdict {
            // No endpoint has anything to do with it.
            Verdict::Refuse(Refuse::Denied) => Vec::new(),
            _ => choice.map_or_else(Vec::new, |choice| choice.left_out(why_down)),
        },
    }
}

fn text(
    tables: &Tables,
    verdict: &Verdict,
    choice: Option<&Choice<'_>>,
    candidates: &[Candidate],
) -> String {
    match verdict {
        Verdict::Pass(PassReason::NotOurs) => "left alone: the address is not ours".to_owned(),
        Verdict::Pass(PassReason::Bypass) => "left alone: the caller bypasses the mesh".to_owned(),
        Verdict::Pass(PassReason::UndeclaredPort) => {
            "left alone: no service declares the port, and a real host has the address".to_owned()
        }
        Verdict::Pass(PassReason::Direct) => "left alone: a backend without a waypoint".to_owned(),
        Verdict::Redirect(Redirect {
            waypoint: Some(waypoint),
            address,
            port,
            ..
        }) => {
            let to = SocketAddr::new((*address).into(), port.get());
            format!("redirected to waypoint {} at {to}", name(tables, *waypoint))
        }
        Verdict::Redirect(_) => sent(choice, candidates),
        Verdict::Refuse(reason) => {
            let wait = choice.and_then(|choice| choice.rate_of(*reason));
            let wait = wait.map_or_else(String::new, Rate::wait);
            format!("{}{wait}", refusal(*reason))
        }
    }
}

fn sent(choice: Option<&Choice<'_>>, candidates: &[Candidate]) -> String {
    let (by, is_kept) = match choice {
        Some(choice) => (choice.by_client(), choice.is_kept()),
        None => (None, false),
    };
    match candidates {
        [
            Candidate {
                endpoint,
                down: Some(_),
                ..
            },
        ] if !is_kept => format!("sent to {endpoint}, which is down: no endpoint is not"),
        [only] => match by.filter(|_| is_kept) {
            Some(by) => format!("sent to {}, which this {} keeps", only.endpoint, word(by)),
            None => format!("sent to {}", only.endpoint),
        },
        several if several.iter().any(|it| it.down.is_some()) => format!(
            "sent to one of {} endpoints, which are down: no endpoint is not",
            several.len()
        ),
        several => {
            let text = format!("sent to one of {} endpoints", several.len());
            match (by, choice.is_some_and(Choice::hashes)) {
                (Some(by), true) => format!("{text}, the same for each {}", client_word(by)),
                (Some(by), false) if choice.is_some_and(Choice::is_known) => {
                    format!("{text}, which this {} keeps then", word(by))
                }
                (Some(by), false) => {
                    format!("{text}, or to the one that the {} keeps", word(by))
                }
                (None, _) => text,
            }
        }
    }
}

/// What is one client.
pub fn client_word(by: ClientsBy) -> &'static str {
    match by {
        ClientsBy::Address => "address that clients are bound to",
        by => word(by),
    }
}

/// What one client is.
pub fn word(by: ClientsBy) -> &'static str {
    match by {
        ClientsBy::User => "user",
        ClientsBy::Address => "client address",
        ClientsBy::NetworkNamespace => "network namespace",
        _ => "unit",
    }
}

/// Why a connect is refused, in words.
pub const fn refusal(reason: Refuse) -> &'static str {
    match reason {
        Refuse::UndeclaredPort => "refused with ECONNREFUSED: no service declares the port",
        Refuse::UndeclaredUdpPort => "refused with ECONNREFUSED: no service declares the UDP port",
        Refuse::NoEndpoint => {
            "refused with EHOSTUNREACH: the service has no endpoint that its policy allows"
        }
        Refuse::Dangling => {
            "refused with EHOSTUNREACH: the tables contradict themselves; `kmesh-lite reload` repairs them"
        }
        Refuse::Family => "refused with EHOSTUNREACH: an IPv4 client cannot reach what was chosen",
        Refuse::NoMemory => "refused with ENOMEM",
        Refuse::Header => {
            "refused with EOPNOTSUPP: the waypoint has to learn the original destination, which only TCP can tell it"
        }
        Refuse::ServiceFull => {
            "refused with ECONNREFUSED: as many connections to the service are open as its `max_connections` allows"
        }
        Refuse::EndpointsFull => {
            "refused with ECONNREFUSED: every endpoint that the policy allows has as many connections as its `max_connections` allows"
        }
        Refuse::Denied => {
            "refused with EACCES: an authorization policy says that this client may not connect to the service"
        }
        Refuse::TooFast => {
            "refused with ECONNREFUSED: more connects a second than the `connects_per_second` of the service"
        }
        Refuse::ClientTooFast => {
            "refused with ECONNREFUSED: more connects a second of one unit than the `client_connects_per_second` of the service"
        }
    }
}

pub fn name(tables: &Tables, id: WaypointId) -> String {
    tables
        .rows
        .waypoints
        .get(&id)
        .map_or_else(|| id.to_string(), |row| row.name.to_string())
}

pub fn new(name: &str, text: String, fields: serde_json::Value) -> Step {
    let fields = match fields {
        serde_json::Value::Object(fields) => fields,
        _ => Row::new(),
    };
    Step {
        name: name.to_owned(),
        text,
        fields,
    }
}

pub fn ranges<'a>(row: &'a Service, connect: &Connect) -> &'a [Range; PRIORITIES] {
    match connect.address.family() {
        Family::V4 => &row.v4,
        Family::V6 => &row.v6,
    }
}
