//! The daemon: keeps the kernel equal to the file until it is told to stop.
//!
//! In: a [`Source`] of fragments and a [`Datapath`] to make their mesh real. One loop consumes one
//! closed [`event::Event`]; everything else here only produces events or answers.
//!
//! A daemon that starts without a usable file is ready nevertheless: it says so in its status and
//! applies the file when it appears. Only a valid file that the host refuses at the start ends it,
//! because then `systemctl start` should fail with the reason.

mod access_log;
mod book;
mod datapath;
mod departures;
mod event;
mod event_loop;
#[cfg(test)]
mod fake;
mod few_lines;
mod headers;
pub mod hearsay;
mod kept;
mod kernel;
mod last_answers;
mod last_findings;
mod last_good;
mod last_seen;
mod listeners;
mod order_book;
mod refusal;
mod remembered;
mod replace;
mod settle;
mod signals;
mod source;
mod split_zone;
mod supervisor;
#[cfg(test)]
mod tests;
mod trial;
mod trial_book;

pub use datapath::{Blame, Datapath};
pub use headers::Headers;
pub use remembered::Remembered;
pub use source::Source;
pub use supervisor::Systemd;
pub use trial::LONGEST;

use crate::config::Origin;
use crate::control::{Control, ControlError, Lock, LockError, Request, Requests, make_folder};
use crate::host::{CgroupError, Cgroups, Units, WatchError};
use crate::model::{CgroupRef, Limits, Mesh};
use crate::sources::Completion;
use crate::tables::room_for;
use event::{Event, Events, Found};
use event_loop::Daemon;
use order_book::OrderBook;
use refusal::RefusalBook;
use source::MeshSource;
use split_zone::SplitZone;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;
use trial_book::TrialBook;

/// Where the control socket is unless told otherwise.
pub const SOCKET: &str = "/run/kmesh-lite/control.sock";

/// What `run` was asked for, beside what the source and the datapath know.
#[derive(Clone, Debug)]
pub struct DaemonOptions {
    pub socket: PathBuf,
    /// The folder of what outlives every daemon of this host.
    pub state: PathBuf,
    /// The folder of what other units of the host read while the service runs, if this is one.
    pub runtime: Option<PathBuf>,
    /// Attach to these instead of what the file says; none: what the file says.
    pub cgroups: Vec<CgroupRef>,
    /// The unit of the agent, where it is none of our own.
    pub agent: Option<CgroupRef>,
    /// How often the kernel is compared with what it should hold.
    pub resync: Duration,
}

/// Why the daemon ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Watch(#[from] WatchError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Datapath(Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    #[error("cannot apply {name}")]
    FirstPass {
        name: Origin,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Refuses to be the second on a control socket. Held while the daemon runs; taken before the
/// datapath is made, so that a second daemon never touches the kernel. On a file system without room
/// for the lock the daemon runs nevertheless, and takes the lock when it can.
pub fn claim(socket: &Path) -> Result<Claim, DaemonError> {
    let lock = make_folder(socket).and_then(|()| Lock::acquire(socket));
    let lock = match lock {
        Err(error) if error.is_for_want_of_room() => {
            log::warn!("running without a lock: {}", crate::log::chain(&error));
            None
        }
        lock => Some(lock?),
    };
    let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("KMESH_LITE_COMMIT"));
    log::info!(
        "starting version {version} ({commit}) on {}",
        socket.display()
    );
    Ok(Claim { lock })
}

/// The right to run on a control socket.
#[derive(Debug)]
pub struct Claim {
    lock: Option<Lock>,
}

/// Runs until a signal says stop. `remembered` is what an earlier process kept. `datapath` is made after
/// the configuration has been read, with room for its mesh, so that its tables need not be replaced by larger
/// ones at once, and with its limits.
pub fn run<S: Source, D: Datapath>(
    options: DaemonOptions,
    claim: Claim,
    source: S,
    remembered: Remembered,
    datapath: impl FnOnce(Limits, Limits) -> Result<D, D::Error>,
) -> Result<(), DaemonError> {
    let (sender, queue) = mpsc::channel();
    let mut meshes = MeshSource::new(source, options.cgroups, remembered.last_good);
    meshes.agent = options.agent;
    meshes.source.watch(source_changed(sender.clone()))?;
    let (loaded, before) = meshes.load_after(remembered.fragments);
    let mesh = loaded.mesh.as_ref().or(before.as_ref());
    let empty = Mesh::default();
    let mesh = mesh.unwrap_or(&empty);
    let datapath = datapath(room_for(mesh), mesh.limits);
    let datapath = datapath.map_err(|error| DaemonError::Datapath(Box::new(error)))?;
    let units = Units::new(Cgroups::find()?, cgroups_changed(sender.clone()))?;
    let signals = signals::forward(sender.clone()).map_err(DaemonError::Signals)?;
    let control = Control::listen(&options.socket, claim.lock, requests(sender))?;
    let mut events = Events::new(queue, options.resync, Systemd::watchdog());
    let mut daemon = Daemon::new(meshes, datapath, units, Systemd);
    daemon.obey(OrderBook::new(&options.state));
    daemon.go_on_with(TrialBook::new(&options.state));
    daemon.still_refuse(RefusalBook::new(&options.state));
    if let Some(folder) = &options.runtime {
        daemon.tell_resolver(SplitZone::new(folder));
    }
    daemon.remember(remembered.last_findings, remembered.findings);
    daemon.remember_names(remembered.last_answers, remembered.answers);
    daemon.look_after(remembered.departures);
    daemon.remember_clients(remembered.last_seen, remembered.seen);
    let ended = daemon
        .start(loaded, before)
        .map(|()| daemon.run(&mut events));
    // Requests that still wait get to know, then the kernel is let go, then another may take over.
    drop(events);
    let lock = control.stop();
    drop(daemon);
    drop(signals);
    drop(lock);
    ended
}

// The drivers below know nothing of the loop: each gets a call that puts its event into the queue.
// Where nobody reads the queue any more, the daemon is stopping.

fn source_changed(queue: Sender<Event>) -> impl Fn(Completion) + Send {
    move |completion| drop(queue.send(Event::SourceChanged(completion)))
}

fn cgroups_changed(queue: Sender<Event>) -> impl Fn() -> bool + Send {
    move || queue.send(Event::CgroupsChanged).is_ok()
}

fn requests(queue: Sender<Event>) -> Requests {
    Arc::new(move |request| {
        let event = match request {
            Request::Health { report, reply } => Event::Findings(vec![Found { report, reply }]),
            request => Event::Request(request),
        };
        queue.send(event).is_ok()
    })
}
