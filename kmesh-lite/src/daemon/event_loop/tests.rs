mod belt;
mod cgroups;
mod departures;
mod file;
mod findings;
mod names;
mod passes;
mod trial;

use super::super::fake::{self, Broken, FakeDatapath, FakeSource, FakeSupervisor, Kernel};
use super::*;
use crate::api::{
    Confirmed, Failure, FailureKind, ReloadRequest, Reloaded, State as Kind, Status, TrialState,
};
use crate::config::{Fragments, Origin};
use crate::control::{Caller, Reply};
use crate::daemon::last_good::LastGood;
use crate::model::CgroupRef;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Only reached if the test fails.
const TOO_LONG: Duration = Duration::from_secs(20);

/// A daemon in a thread, with a source and a kernel of its own.
struct Fixture {
    source: FakeSource,
    kernel: Kernel,
    supervisor: FakeSupervisor,
    events: Sender<Event>,
    thread: Option<JoinHandle<()>>,
    folder: Arc<tempfile::TempDir>,
}

impl Fixture {
    /// Starts with a file, or without.
    fn start(text: Option<&str>) -> Self {
        Self::try_start(text, Kernel::default()).unwrap()
    }

    fn try_start(text: Option<&str>, kernel: Kernel) -> Result<Self, DaemonError> {
        Self::start_after(None, text, kernel)
    }

    /// Starts after a process that had applied another file.
    fn start_after(
        before: Option<&str>,
        text: Option<&str>,
        kernel: Kernel,
    ) -> Result<Self, DaemonError> {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), before, text, kernel)
    }

    /// The same, where earlier processes of this folder wrote something down.
    fn start_in(
        folder: Arc<tempfile::TempDir>,
        before: Option<&str>,
        text: Option<&str>,
        kernel: Kernel,
    ) -> Result<Self, DaemonError> {
        let (events, queue) = mpsc::channel();
        let source = FakeSource::default();
        if let Some(text) = text {
            source.write(text);
        }
        let mut meshes = MeshSource::new(
            source.clone(),
            vec![CgroupRef::from("/only")],
            LastGood::default(),
        );
        let changed = crate::daemon::source_changed(events.clone());
        meshes.source.watch(changed).unwrap();
        let before = before.map(|text| {
            let fragment = (Origin::new("memory:mesh"), fake::toml(text));
            Fragments::from_iter([fragment])
        });
        let (loaded, before) = meshes.load_after(before);
        let units = fake::units(folder.path(), &events);
        let supervisor = FakeSupervisor::default();
        let datapath = FakeDatapath(kernel.clone());
        let mut queue = Events::new(queue, Duration::from_secs(3600), None);
        let mut daemon = Daemon::new(meshes, datapath, units, supervisor.clone());
        daemon.go_on_with(TrialBook::new(folder.path()));
        daemon.still_refuse(RefusalBook::new(folder.path()));
        daemon.start(loaded, before)?;
        Ok(Self {
            source,
            kernel,
            supervisor,
            events,
            thread: Some(thread::spawn(move || daemon.run(&mut queue))),
            folder,
        })
    }

    fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        self.events.send(Event::Request(request(reply))).unwrap();
        answer.blocking_recv().expect("the loop answers")
    }

    fn status(&self) -> Status {
        let later = self.ask(|reply| Request::Status { name: None, reply });
        later.unwrap().make().unwrap()
    }

    fn reload(&self) -> Result<Reloaded, Failure> {
        self.reload_with(ReloadRequest::default())
    }

    fn reload_with(&self, request: ReloadRequest) -> Result<Reloaded, Failure> {
        let caller = Caller { uid: 0, pid: None };
        self.ask(|reply| Request::Reload {
            request,
            caller,
            reply,
        })
    }

    fn write(&self, text: &str) {
        self.source.write(text);
    }

    #[track_caller]
    fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + TOO_LONG;
        while !holds(self) {
            assert!(Instant::now() < deadline, "never came: {what}");
            thread::yield_now();
        }
    }
}

impl Fixture {
    /// Its folder, once it has stopped.
    fn stop(self) -> Arc<tempfile::TempDir> {
        Arc::clone(&self.folder)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.events.send(Event::Signal(Signal::Stop));
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}
