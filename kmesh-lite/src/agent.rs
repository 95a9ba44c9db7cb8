//! The agent: the process that talks to the network, and can change nothing in the kernel.
//!
//! In: what the daemon wants done, asked for on the control socket. Out: listeners on the network, and
//! reports of what could not be done. It holds no state that is worth keeping: when the daemon is away, it
//! goes on with what it was told last.

mod absence;
mod ask;
mod companion;
mod connections;
mod dice;
mod dns;
mod end;
mod health;
mod listeners;
mod names;
mod pages;
mod probe;
mod rights;

pub use companion::{Companion, CompanionOptions};

use crate::api::Duties;
use crate::control::Client;
use absence::Absence;
use listeners::Listeners;
use log::{debug, info, warn};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pages::Pages;
use probe::{Probes, Reaping};
use sd_notify::NotifyState;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

/// Before the daemon is asked again after it did not answer: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// Whom the host asks about names.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("cannot start the agent")]
    Start(#[source] io::Error),
    #[error("cannot become the user of the agent")]
    Rights(#[source] io::Error),
}

/// Begins as the child of a daemon, before anything else is done: it has all rights of that one.
pub fn begin_as_child() -> Result<(), AgentError> {
    rights::give_up().map_err(AgentError::Rights)
}

/// For what cannot be dropped at once when the agent ends.
const END: Duration = Duration::from_secs(1);

/// Follows the daemon on `socket` until a signal ends the process, or the daemon does whose child it is.
pub fn run(socket: PathBuf, is_child: bool) -> Result<(), AgentError> {
    rights::withhold_from_commands().map_err(AgentError::Rights)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AgentError::Start)?;
    info!("the agent follows the daemon on {}", socket.display());
    // Silence where nobody asks for it.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    runtime.block_on(async {
        tokio::select! {
            never = follow(Arc::new(Client::new(socket))) => match never {},
            () = end::end(is_child) => {}
        }
    });
    // Commands that are under way end with their tasks, and what they have started with them.
    runtime.shutdown_timeout(END);
    Ok(())
}

/// Does what the daemon says, for ever.
async fn follow(daemon: Arc<Client>) -> Infallible {
    let mut listeners = Listeners::new(Pages::new(Arc::clone(&daemon)));
    let due = Arc::new(Notify::new());
    let reports = listeners.states();
    tokio::spawn(ask::report(Arc::clone(&daemon), reports, Arc::clone(&due)));
    let (checked, duties) = watch::channel(Arc::new(Duties::default()));
    // The agent has no other children than commands.
    let probes = Probes::new(Reaping::begin());
    let (asked, served) = (duties.clone(), duties.clone());
    tokio::spawn(health::run(duties, probes, Arc::clone(&daemon), room()));
    tokio::spawn(names::run(asked, Arc::clone(&daemon), RESOLV_CONF.into()));
    tokio::spawn(dns::run(served, Arc::clone(&daemon), RESOLV_CONF.into()));
    let mut known = None;
    let mut pause = PAUSES.0;
    let mut absence = Absence::begun(Instant::now());
    loop {
        match ask::duties(&daemon, known).await {
            Ok(duties) => {
                if absence.is_over(Instant::now()) {
                    info!("the daemon answers again");
                }
                pause = PAUSES.0;
                known = Some(duties.revision);
                listeners.follow(&duties.metrics).await;
                // The same once more says that the daemon is there.
                checked.send_replace(Arc::new(duties));
                // A daemon that has just begun knows nothing of us.
                due.notify_one();
            }
            Err(error) => {
                // Another daemon may have other numbers.
                known = None;
                let why = crate::log::chain(&error);
                if absence.is_news(Instant::now(), &why) {
                    warn!("the daemon is away, and is asked again: {why}");
                } else {
                    debug!("the daemon does not answer: {why}");
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

/// How many probes descriptors are enough for, after we have asked for more of them. The unit gives them
/// at once and forbids to ask.
fn room() -> health::Room {
    let wanted = health::Room::DESCRIPTORS;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    let more = hard.min(wanted);
    let allowed = if soft >= more || setrlimit(Resource::RLIMIT_NOFILE, more, hard).is_err() {
        soft
    } else {
        more
    };
    health::Room::with(allowed)
}
