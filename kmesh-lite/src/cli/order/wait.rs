//! `drain --wait`: until no connection is open.

use super::super::args::Drain;
use super::super::output::{ERROR, FAINT, GOOD, Output, WARN, complain};
use super::super::{CliError, Exit, VerbResult};
use super::name;
use crate::api::{FailureKind, KillRequest, Killed, Ordered, Status};
use crate::control::{Client, ClientError};
use serde::Serialize;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether connections have ended.
const PAUSE: Duration = Duration::from_millis(500);
/// For a daemon to come back, where nobody says how long the whole may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many connections are still open, as `drain --wait --json` tells it whenever that changes.
#[derive(Serialize)]
struct Progress {
    open_connections: u64,
    endpoints: BTreeMap<String, u64>,
}

/// Waits until no connection is open, and shows how many are whenever that changes. A daemon that is away, because it
/// is restarted, is waited for as well.
pub fn wait(args: Drain, ordered: &Ordered, output: &mut Output) -> VerbResult {
    let began = Instant::now();
    let is_after = |time: Option<u64>| {
        time.is_some_and(|seconds| began.elapsed() >= Duration::from_secs(seconds))
    };
    let mut waiting = Waiting {
        client: Client::new(args.socket.path),
        endpoint: args.endpoint,
        json: args.format.json,
        shown: None,
        connects: 0,
        was_away: false,
    };
    let mut away: Option<Instant> = None;
    loop {
        let error = match waiting.step(ordered, is_after(args.kill_after), output) {
            Ok(Some(exit)) => return Ok(exit),
            Ok(None) => {
                away = None;
                None
            }
            Err(error) if is_away(&error) => {
                waiting.was_away = true;
                Some(error)
            }
            Err(error) => return Err(error),
        };
        if is_after(args.timeout) {
            return match (error, waiting.shown) {
                (Some(error), _) => Err(error),
                (None, open) => {
                    complain(&format!(
                        "{ERROR}error{ERROR:#}: {} still open; {FAINT}no new ones come, and `kmesh-lite connections` lists them{FAINT:#}",
                        open.unwrap_or_default()
                    ));
                    Ok(Exit::Failed)
                }
            };
        }
        if let Some(error) = error {
            let since = away.get_or_insert_with(|| {
                complain(&format!(
                    "{WARN}warning{WARN:#}: {}; it is waited for",
                    crate::log::chain(&error)
                ));
                Instant::now()
            });
            if args.timeout.is_none() && since.elapsed() >= PATIENCE {
                return Err(error);
            }
        }
        thread::sleep(PAUSE);
    }
}

/// Whether the daemon may come back.
fn is_away(error: &CliError) -> bool {
    match error {
        CliError::Failure(failure) => failure.kind == FailureKind::Unavailable,
        CliError::Client(error) => matches!(
            error,
            ClientError::NotRunning(_)
                | ClientError::Connect { .. }
                | ClientError::Talk { .. }
                | ClientError::Silent { .. }
                | ClientError::Broken { .. }
        ),
        _ => false,
    }
}

struct Waiting {
    client: Client,
    endpoint: String,
    json: bool,
    /// How many connections were open when that was shown last.
    shown: Option<u64>,
    /// How many connects the tables had counted. A daemon whose tables are new begins anew with it.
    connects: u64,
    /// Whether the daemon did not answer since then.
    was_away: bool,
}

impl Waiting {
    /// Looks once. Gives how the waiting ends, if it does.
    fn step(
        &mut self,
        ordered: &Ordered,
        is_over: bool,
        output: &mut Output,
    ) -> Result<Option<Exit>, CliError> {
        let status: Status = self.client.get("status", &[])?;
        let connects = status.datapath.outcomes.iter().map(|it| it.count).sum();
        let open = open(&status, ordered);
        let total = open.values().sum();
        let is_new = self.was_away && connects < self.connects;
        if is_new && self.shown.is_some_and(|shown| total < shown) {
            complain(&format!(
                "{ERROR}error{ERROR:#}: the daemon has begun anew, and does not know what was open before"
            ));
            return Ok(Some(Exit::Failed));
        }
        (self.connects, self.was_away) = (connects, false);
        if self.shown != Some(total) {
            self.shown = Some(total);
            if self.json {
                output.json_line(&Progress {
                    open_connections: total,
                    endpoints: open,
                })?;
            } else {
                output.text(&match total {
                    0 => format!("{GOOD}no connection is open{GOOD:#}"),
                    1 => "1 connection is open".to_owned(),
                    n => format!("{n} connections are open"),
                })?;
            }
        }
        if total == 0 {
            return Ok(Some(Exit::Fine));
        }
        // Again each time: a connect that had chosen before may be late.
        let is_stuck = is_over && kill(&self.client, &self.endpoint, self.json, output)? > 0;
        Ok(is_stuck.then_some(Exit::Failed))
    }
}

/// Ends what is open. Gives how many connections cannot be ended.
fn kill(client: &Client, endpoint: &str, json: bool, output: &mut Output) -> Result<u64, CliError> {
    let kill = KillRequest {
        endpoint: endpoint.to_owned(),
    };
    let killed: Killed = client.post("kill", Some(&kill))?;
    if json {
        output.json_line(&killed)?;
    } else {
        let count: u64 = killed.endpoints.iter().map(|it| it.killed).sum();
        output.text(&match count {
            1 => "1 connection was ended".to_owned(),
            n => format!("{n} connections were ended"),
        })?;
    }
    let out_of_reach = killed.endpoints.iter().map(|it| it.out_of_reach).sum();
    if out_of_reach > 0 {
        complain(&format!(
            "{ERROR}error{ERROR:#}: {out_of_reach} cannot be ended and go on: not in the network namespace of the \
             daemon, which has no CAP_SYS_PTRACE"
        ));
    }
    Ok(out_of_reach)
}

/// Connections of each endpoint that are open now.
fn open(status: &Status, ordered: &Ordered) -> BTreeMap<String, u64> {
    let mut open: BTreeMap<_, _> = ordered.endpoints.iter().map(|it| (name(it), 0)).collect();
    for service in &status.datapath.services {
        for endpoint in service.priorities.iter().flat_map(|it| &it.endpoints) {
            let name = format!("{}/{}", service.name, endpoint.endpoint);
            if let Some(open) = open.get_mut(&name) {
                *open = endpoint.open_connections;
            }
        }
    }
    open
}
