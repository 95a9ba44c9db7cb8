use super::super::fake::{self, Broken, FakeDatapath, FakeSource, FakeSupervisor, Kernel};
use super::*;
use crate::api::{Failure, FailureKind, FileText, Reloaded, State as Kind, Status};
use crate::config::{Fragments, Origin};
use crate::control::{Caller, Reply};
use crate::daemon::LastGood;
use crate::model::{CgroupRef, Membership};
use crate::sources::Completion;
use std::fs;
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
    folder: tempfile::TempDir,
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
        let folder = tempfile::tempdir().unwrap();
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
        let caller = Caller { uid: 0, pid: None };
        self.ask(|reply| Request::Reload { caller, reply })
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

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.events.send(Event::Signal(Signal::Stop));
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

#[test]
fn a_good_file_is_applied_and_systemd_told() {
    let fixture = Fixture::start(Some("a\nb"));
    assert_eq!(fixture.kernel.services(), ["a", "b"]);
    let told = fixture.supervisor.heard().join("\n");
    assert!(told.contains("Ready(\"routing 2 services"), "{told}");
    assert_eq!(fixture.status().state, Kind::Routing);
}

#[test]
fn cgroups_of_the_command_line_go_before_those_of_the_file() {
    let fixture = Fixture::start(Some("a"));
    let inside = fixture.kernel.inside();
    let capture = &inside.held.as_ref().unwrap().capture;
    assert_eq!(capture.cgroups, [CgroupRef::from("/only")]);
}

#[test]
fn without_a_file_it_is_ready_and_waits() {
    let fixture = Fixture::start(None);
    let told = fixture.supervisor.heard().join("\n");
    assert!(told.contains("Ready(\"routing nothing yet"), "{told}");
    let status = fixture.status();
    assert_eq!(status.state, Kind::Waiting);
    assert!(!status.config.unwrap().present);
    fixture.write("a");
    fixture.until("the file is applied", |it| it.kernel.services() == ["a"]);
}

#[test]
fn a_bad_file_changes_nothing_until_it_is_mended() {
    let fixture = Fixture::start(Some("a"));
    fixture.write("b\nbad");
    fixture.until("the file is found bad", |it| {
        it.status().state == Kind::Keeping
    });
    let status = fixture.status();
    assert_eq!(status.config.unwrap().problems.unwrap().errors, 1);
    assert!(status.verdict.contains("1 error"), "{}", status.verdict);
    assert_eq!(fixture.kernel.services(), ["a"]);
    fixture.write("b");
    fixture.until("the file is applied", |it| it.kernel.services() == ["b"]);
    assert_eq!(fixture.status().state, Kind::Routing);
}

#[test]
fn a_daemon_that_starts_with_a_bad_file_waits_for_a_better_one() {
    let fixture = Fixture::start(Some("bad"));
    assert_eq!(fixture.status().state, Kind::Waiting);
    let failure = fixture.reload().unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidConfiguration);
    assert_eq!(failure.problems.unwrap().list[0]["line"], 1);
    fixture.write("a");
    fixture.until("the file is applied", |it| it.kernel.services() == ["a"]);
}

#[test]
fn a_deleted_file_keeps_the_state() {
    let fixture = Fixture::start(Some("a"));
    fixture.source.remove();
    fixture.until("the file is missed", |it| {
        !it.status().config.unwrap().present
    });
    assert_eq!(fixture.status().state, Kind::Keeping);
    assert_eq!(fixture.kernel.services(), ["a"]);
}

#[test]
fn a_change_that_takes_every_service_away_must_say_that_it_is_meant() {
    let fixture = Fixture::start(Some("a"));
    for empty in ["", "proxy.service"] {
        fixture.write(empty);
        let failure = fixture.reload().unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidConfiguration);
        assert!(failure.error.contains("allow_empty"), "{}", failure.error);
        let planned = fixture.ask(|reply| Request::Plan { texts: None, reply });
        assert_eq!(planned.unwrap_err().kind, FailureKind::InvalidConfiguration);
        let status = fixture.status();
        assert_eq!(status.state, Kind::Keeping);
        assert!(
            status.verdict.contains("every service"),
            "{}",
            status.verdict
        );
        assert_eq!(fixture.kernel.services(), ["a"]);
    }
    fixture.write("allow_empty");
    fixture.reload().unwrap();
    assert_eq!(fixture.status().state, Kind::Empty);
    assert_eq!(fixture.kernel.services(), [""; 0]);
}

#[test]
fn a_host_may_begin_without_services() {
    let fixture = Fixture::start(Some(""));
    assert_eq!(fixture.status().state, Kind::Empty);
    fixture.write("a");
    fixture.until("the file is applied", |it| it.kernel.services() == ["a"]);
}

#[test]
fn a_file_that_cannot_be_used_keeps_what_the_process_before_had_applied() {
    for unusable in [None, Some("bad"), Some("")] {
        let fixture = Fixture::start_after(Some("a"), unusable, Kernel::default()).unwrap();
        assert_eq!(fixture.status().state, Kind::Keeping, "{unusable:?}");
        assert_eq!(fixture.kernel.services(), ["a"]);
        fixture.kernel.inside().drift = vec!["service a was gone".to_owned()];
        fixture.events.send(Event::Timer(Timer::Resync)).unwrap();
        let pass = fixture.status().last_pass.unwrap();
        assert_eq!(pass.drift, ["service a was gone"]);
    }
    let fixture = Fixture::start_after(Some("a"), Some("b"), Kernel::default()).unwrap();
    assert_eq!(fixture.kernel.services(), ["b"]);
}

#[test]
fn a_captured_cgroup_that_is_not_there_is_waited_for() {
    let fixture = Fixture::start(Some("a"));
    let only = fixture.folder.path().join("cgroup/only");
    fs::remove_dir(&only).unwrap();
    fixture.until("it is missed", |it| it.status().state == Kind::Uncaptured);
    assert_eq!(fixture.status().datapath.absent, ["/only"]);
    assert_eq!(fixture.reload().unwrap().operations, 0);
    fs::create_dir(&only).unwrap();
    fixture.until("it is found", |it| it.status().state == Kind::Routing);
    assert!(fixture.status().datapath.absent.is_empty());
}

#[test]
fn links_that_were_detached_are_back_before_anybody_is_told_how_it_goes() {
    let fixture = Fixture::start(Some("a"));
    let passes = fixture.kernel.inside().passes;
    fixture.kernel.inside().detached = true;
    assert_eq!(fixture.status().state, Kind::Routing);
    assert_eq!(fixture.kernel.inside().passes, passes + 1);
    assert!(!fixture.kernel.inside().detached);
    fixture.status();
    assert_eq!(fixture.kernel.inside().passes, passes + 1);
}

#[test]
fn a_reload_carries_its_outcome() {
    let fixture = Fixture::start(Some("a"));
    assert_eq!(fixture.reload().unwrap().operations, 0);
    fixture.write("b");
    fixture.kernel.inside().drift = vec!["service a was gone".to_owned()];
    // Either the watch or the request is first; both end in the same state.
    fixture.reload().unwrap();
    assert_eq!(fixture.kernel.services(), ["b"]);
    fixture.write("bad");
    let failure = fixture.reload().unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidConfiguration);
    assert_eq!(failure.problems.unwrap().list[0]["line"], 1);
    fixture.source.remove();
    let failure = fixture.reload().unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidConfiguration);
    assert!(failure.problems.is_none());
}

#[test]
fn a_reload_is_announced_to_systemd() {
    let fixture = Fixture::start(Some("a"));
    fixture.supervisor.heard();
    fixture.reload().unwrap();
    let told = fixture.supervisor.heard();
    assert_eq!(told[0], "Reloading");
    assert!(told[told.len() - 1].starts_with("Ready("), "{told:?}");
}

#[test]
fn facts_about_endpoints_are_passed_on_until_they_are_taken_back() {
    let fixture = Fixture::start(Some("a"));
    let learn = |usable: &[bool]| {
        let endpoint = Membership {
            address: [10, 0, 0, 1].into(),
            ports: Vec::new(),
        };
        let facts = usable.iter().map(|usable| EndpointFact {
            service: "a".parse().unwrap(),
            endpoint: endpoint.clone(),
            usable: *usable,
        });
        let facts = Event::EndpointFacts(facts.collect());
        fixture.events.send(facts).unwrap();
        fixture.status();
        let inside = fixture.kernel.inside();
        (inside.passes, inside.facts.unusable.len())
    };
    let passes = fixture.kernel.inside().passes;
    assert_eq!(learn(&[true]), (passes, 0), "it was usable before");
    assert_eq!(learn(&[false]), (passes + 1, 1));
    assert_eq!(fixture.kernel.inside().extent, Some(Extent::Changes));
    assert_eq!(learn(&[true, false]), (passes + 1, 1), "nothing new");
    fixture.reload().unwrap();
    assert_eq!(learn(&[]), (passes + 2, 1), "a reload knows it");
    assert_eq!(learn(&[true]), (passes + 3, 0));
}

#[test]
fn whoever_asks_for_it_gets_everything_looked_at() {
    let fixture = Fixture::start(Some("a"));
    let extent = || fixture.kernel.inside().extent.take();
    assert_eq!(extent(), Some(Extent::Everything));
    fixture.write("b");
    fixture.until("the file is applied", |it| it.kernel.services() == ["b"]);
    assert_eq!(extent(), Some(Extent::Changes));
    fixture.reload().unwrap();
    assert_eq!(extent(), Some(Extent::Everything));
    fixture.events.send(Event::Timer(Timer::Resync)).unwrap();
    fixture.status();
    assert_eq!(extent(), Some(Extent::Everything));
}

#[test]
fn a_signal_reloads_and_repairs_drift() {
    let fixture = Fixture::start(Some("a"));
    fixture.kernel.inside().drift = vec!["service a was gone".to_owned()];
    fixture.events.send(Event::Signal(Signal::Reload)).unwrap();
    let pass = fixture.status().last_pass.unwrap();
    assert_eq!(pass.drift, ["service a was gone"]);
}

#[test]
fn a_signal_repairs_drift_even_if_the_file_is_bad() {
    let fixture = Fixture::start(Some("a"));
    fixture.write("bad");
    fixture.until("the file is found bad", |it| {
        it.status().state == Kind::Keeping
    });
    fixture.kernel.inside().drift = vec!["service a was gone".to_owned()];
    fixture.events.send(Event::Signal(Signal::Reload)).unwrap();
    let status = fixture.status();
    assert_eq!(status.state, Kind::Keeping);
    assert_eq!(status.last_pass.unwrap().drift, ["service a was gone"]);
}

#[test]
fn the_timer_compares_with_the_kernel() {
    let fixture = Fixture::start(Some("a"));
    let passes = fixture.kernel.inside().passes;
    fixture.kernel.inside().drift = vec!["service a was gone".to_owned()];
    fixture.events.send(Event::Timer(Timer::Resync)).unwrap();
    assert_eq!(
        fixture.status().last_pass.unwrap().drift,
        ["service a was gone"]
    );
    assert_eq!(fixture.kernel.inside().passes, passes + 1);
}

#[test]
fn a_unit_that_gets_another_cgroup_is_a_pass_at_once() {
    let fixture = Fixture::start(Some("a\nproxy.service"));
    let slice = fixture.folder.path().join("cgroup/system.slice");
    fs::create_dir_all(slice.join("proxy.service")).unwrap();
    fixture.until("it is found", |it| {
        !it.status().datapath.callers[0].cgroups.is_empty()
    });
    let greetings = fixture.kernel.inside().greetings;
    let mut passes = fixture.kernel.inside().passes;
    let mut passes_more = |what: &str| {
        fixture.until(what, |it| it.kernel.inside().passes > passes);
        passes = fixture.kernel.inside().passes;
    };
    for _ in 0..3 {
        fs::remove_dir(slice.join("proxy.service")).unwrap();
        passes_more("it stops");
        fs::create_dir(slice.join("proxy.service")).unwrap();
        passes_more("it starts");
    }
    fs::create_dir(slice.join("other.service")).unwrap();
    fs::create_dir(slice.join("other.slice")).unwrap();
    // What comes last is noticed last.
    fs::remove_dir(slice.join("proxy.service")).unwrap();
    passes_more("it stops");
    fixture.status();
    assert_eq!(fixture.kernel.inside().passes, passes);
    assert_eq!(fixture.kernel.inside().greetings, greetings + 7);
}

#[test]
fn a_failed_pass_is_told_and_tried_again_by_the_timer() {
    let fixture = Fixture::start(Some("a"));
    fixture.kernel.inside().fail = Some(Broken::Hook);
    fixture.write("b");
    let failure = fixture.reload().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Failed);
    assert_eq!(failure.error, "another program holds the hook");
    let status = fixture.status();
    assert_eq!(status.state, Kind::Failing);
    assert_eq!(fixture.kernel.services(), ["a"]);
    fixture.kernel.inside().fail = None;
    fixture.events.send(Event::Timer(Timer::Resync)).unwrap();
    assert_eq!(fixture.status().state, Kind::Routing);
    assert_eq!(fixture.kernel.services(), ["b"]);
}

#[test]
fn while_a_new_mesh_fails_the_old_one_is_kept_in_repair() {
    let fixture = Fixture::start(Some("a"));
    fixture.kernel.inside().refused = Some("b");
    fixture.write("b");
    // From here on no event of the source is under way that would be a pass of its own.
    fixture.until("the new mesh fails", |it| {
        it.status().state == Kind::Failing
    });
    let failure = fixture.reload().unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidConfiguration);
    for drift in ["service a was gone", "it was gone again"] {
        fixture.kernel.inside().drift = vec![drift.to_owned()];
        fixture.events.send(Event::Timer(Timer::Resync)).unwrap();
        let status = fixture.status();
        assert_eq!(status.state, Kind::Failing);
        assert!(status.failure.unwrap().contains("too small"));
        assert_eq!(status.last_pass.unwrap().drift, [drift]);
        // What is held, not what is wanted.
        assert_eq!(status.datapath.services[0].name, "a");
        assert_eq!(fixture.kernel.services(), ["a"]);
    }
    fixture.kernel.inside().refused = None;
    fixture.events.send(Event::Timer(Timer::Resync)).unwrap();
    assert_eq!(fixture.status().state, Kind::Routing);
    assert_eq!(fixture.kernel.services(), ["b"]);
}

#[test]
fn a_file_that_asks_for_too_much_is_its_own_fault() {
    let kernel = Kernel::default();
    kernel.inside().fail = Some(Broken::Limit);
    let fixture = Fixture::try_start(Some("a"), kernel).unwrap();
    assert_eq!(fixture.status().state, Kind::Failing);
    assert_eq!(
        fixture.reload().unwrap_err().kind,
        FailureKind::InvalidConfiguration
    );
}

#[test]
fn a_host_that_refuses_the_first_pass_ends_the_daemon() {
    let kernel = Kernel::default();
    kernel.inside().fail = Some(Broken::Hook);
    let refused = Fixture::try_start(Some("a"), kernel.clone());
    assert!(matches!(refused, Err(DaemonError::FirstPass { .. })));
    assert!(kernel.inside().dropped);
}

#[test]
fn a_plan_changes_nothing() {
    let fixture = Fixture::start(Some("a"));
    let plan = |text: Option<&str>| {
        let texts = text.map(|text| {
            vec![FileText {
                path: "other.toml".to_owned(),
                text: fake::toml(text),
            }]
        });
        fixture.ask(|reply| Request::Plan { texts, reply })
    };
    let operations = plan(Some("b")).unwrap().operations;
    assert_eq!(operations.last().unwrap(), "free service #1 a");
    assert_eq!(fixture.kernel.services(), ["a"]);
    assert!(plan(None).unwrap().operations.is_empty());
    let failure = plan(Some("bad")).unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidConfiguration);
    assert_eq!(failure.error, "other.toml has 1 error");
    assert_eq!(fixture.status().state, Kind::Routing);
}

#[test]
fn a_burst_of_changes_is_fewer_passes_and_the_last_change_counts() {
    const CHANGES: usize = 1000;
    let fixture = Fixture::start(Some("start"));
    let before = fixture.kernel.inside().passes;
    for n in 1..=CHANGES {
        fixture.write(&format!("s{n}"));
        // What the watch tells as well, but not for each write.
        let event = Event::SourceChanged(Completion::Complete);
        fixture.events.send(event).unwrap();
    }
    fixture.until("the last write is applied", |it| {
        it.kernel.services() == [format!("s{CHANGES}")]
    });
    let passes = fixture.kernel.inside().passes - before;
    assert!(passes < CHANGES, "{passes} passes");
}

#[test]
fn stopping_lets_go_of_the_kernel() {
    let fixture = Fixture::start(Some("a"));
    let kernel = fixture.kernel.clone();
    let supervisor = fixture.supervisor.clone();
    drop(fixture);
    assert!(kernel.inside().dropped);
    assert_eq!(supervisor.heard().last().unwrap(), "Stopping");
}
