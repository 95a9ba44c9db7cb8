//! What is applied until somebody confirms it.

use super::*;
use crate::daemon::trial::Trial;

/// A trial that no test sees the end of, unless it makes the clock go.
const LONG: u64 = 3_600;
const SHORT: u64 = 1;

impl Fixture {
    fn try_out(&self, seconds: u64) -> Result<Reloaded, Failure> {
        self.reload_with(ReloadRequest {
            confirm_s: Some(seconds),
            session: None,
        })
    }

    fn confirm(&self) -> Result<Confirmed, Failure> {
        let caller = Caller { uid: 0, pid: None };
        self.ask(|reply| Request::Confirm { caller, reply })
    }

    fn trial(&self) -> Option<TrialState> {
        self.status().trial.map(|trial| trial.state)
    }

    fn is_taken_back(&self) -> bool {
        self.trial() == Some(TrialState::TakenBack)
    }
}

/// A daemon that has `b` on trial, after `a`. Whether the watch or the request sees the file first makes no difference.
fn on_trial(seconds: u64) -> Fixture {
    let fixture = Fixture::start(Some("a"));
    fixture.write("b");
    let trial = fixture.try_out(seconds).unwrap().trial.unwrap();
    assert_eq!(trial.state, TrialState::Pending);
    assert!(trial.left_s.unwrap() <= seconds);
    fixture
}

#[test]
fn what_is_confirmed_in_time_stays() {
    let fixture = on_trial(LONG);
    assert_eq!(fixture.trial(), Some(TrialState::Pending));
    let verdict = fixture.status().verdict;
    assert!(verdict.contains("on trial until"), "{verdict}");
    assert!(fixture.confirm().unwrap().left_s > LONG - 60);
    assert_eq!(fixture.trial(), None);
    assert_eq!(fixture.kernel.services(), ["b"]);
    let failure = fixture.confirm().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Conflict);
    // The next trial goes back to what was confirmed.
    fixture.try_out(SHORT).unwrap();
    fixture.until("it is over", |it| it.trial() != Some(TrialState::Pending));
    assert_eq!(fixture.kernel.services(), ["b"]);
    assert_eq!(fixture.status().state, Kind::Routing);
}

#[test]
fn what_nobody_confirms_is_taken_back_until_the_file_changes() {
    let fixture = on_trial(SHORT);
    fixture.until("it is taken back", Fixture::is_taken_back);
    assert_eq!(fixture.kernel.services(), ["a"]);
    let status = fixture.status();
    assert_eq!(status.state, Kind::Keeping);
    let verdict = &status.verdict;
    assert!(
        verdict.contains("nobody confirmed it within 1 s"),
        "{verdict}"
    );
    let reload = status.last_reload.unwrap();
    assert_eq!(
        (reload.trigger.as_str(), reload.applied),
        ("unconfirmed", false)
    );
    let failure = fixture.confirm().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Conflict);
    assert!(failure.error.contains("nobody confirmed"), "{failure}");
    // What is the same as before, or not valid, is no change that counts; nor is a signal that logrotate sends.
    fixture.write("b");
    fixture.events.send(Event::Signal(Signal::Reload)).unwrap();
    fixture.write("bad");
    fixture.until("the file is found bad", |it| {
        it.status().verdict.contains("1 error")
    });
    fixture.write("b");
    fixture.until("it is seen", |it| it.status().verdict.contains("confirmed"));
    assert_eq!(fixture.kernel.services(), ["a"]);
    fixture.write("c");
    fixture.until("the file is applied", |it| it.kernel.services() == ["c"]);
    assert_eq!(fixture.trial(), None);
}

#[test]
fn what_the_watch_applied_a_moment_before_is_on_trial_too() {
    let fixture = Fixture::start(Some("a"));
    for text in ["b", "c"] {
        fixture.write(text);
        fixture.until("the file is applied", |it| it.kernel.services() == [text]);
    }
    fixture.try_out(SHORT).unwrap();
    fixture.until("it is taken back", Fixture::is_taken_back);
    assert_eq!(fixture.kernel.services(), ["a"]);
}

#[test]
fn a_reload_applies_what_was_taken_back() {
    let fixture = on_trial(SHORT);
    fixture.until("it is taken back", Fixture::is_taken_back);
    fixture.reload().unwrap();
    assert_eq!(fixture.kernel.services(), ["b"]);
    assert_eq!(fixture.trial(), None);
}

#[test]
fn changes_while_a_trial_is_pending_belong_to_it_and_more_time_goes_back_to_its_beginning() {
    let fixture = on_trial(LONG);
    fixture.write("c");
    fixture.until("the file is applied", |it| it.kernel.services() == ["c"]);
    assert_eq!(fixture.trial(), Some(TrialState::Pending));
    // A reload alone confirms nothing.
    fixture.write("d");
    let trial = fixture.reload().unwrap().trial.unwrap();
    assert_eq!(trial.state, TrialState::Pending);
    fixture.try_out(SHORT).unwrap();
    fixture.until("it is taken back", Fixture::is_taken_back);
    assert_eq!(fixture.kernel.services(), ["a"]);
}

#[test]
fn a_file_that_cannot_be_applied_begins_no_trial() {
    let fixture = Fixture::start(Some("a"));
    fixture.write("bad");
    let failure = fixture.try_out(SHORT).unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidConfiguration);
    assert_eq!(fixture.trial(), None);
    // One that is pending goes on as it was.
    fixture.write("b");
    fixture.try_out(LONG).unwrap();
    fixture.write("bad");
    fixture.try_out(SHORT).unwrap_err();
    assert!(fixture.status().trial.unwrap().left_s.unwrap() > LONG - 60);
}

#[test]
fn a_trial_has_a_length_and_something_to_go_back_to() {
    let fixture = Fixture::start(Some("a"));
    for seconds in [0, 3_601] {
        let failure = fixture.try_out(seconds).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BadRequest);
    }
    let fixture = Fixture::start(None);
    fixture.write("bad");
    let failure = fixture.try_out(LONG).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Conflict);
    assert_eq!(fixture.trial(), None);
}

#[test]
fn what_the_host_refuses_is_on_trial_too() {
    let fixture = Fixture::start(Some("a"));
    fixture.write("b");
    fixture.kernel.inside().fail = Some(Broken::Hook);
    assert_eq!(
        fixture.try_out(SHORT).unwrap_err().kind,
        FailureKind::Failed
    );
    fixture.until("it is over", |it| it.trial() != Some(TrialState::Pending));
    assert_eq!(fixture.status().state, Kind::Failing);
    // Otherwise the timer would apply what nobody confirmed.
    fixture.kernel.inside().fail = None;
    fixture.events.send(Event::Timer(Timer::Resync)).unwrap();
    assert_eq!(fixture.status().state, Kind::Keeping);
    assert_eq!(fixture.kernel.services(), ["a"]);
}

#[test]
fn a_trial_goes_on_after_a_restart() {
    let folder = on_trial(LONG).stop();
    let start = |folder, text| {
        let kernel = Kernel::default();
        Fixture::start_in(folder, Some("b"), Some(text), kernel).unwrap()
    };
    let fixture = start(folder, "b");
    assert_eq!(fixture.trial(), Some(TrialState::Pending));
    assert_eq!(fixture.kernel.services(), ["b"]);
    fixture.try_out(SHORT).unwrap();
    fixture.until("it is taken back", Fixture::is_taken_back);
    assert_eq!(fixture.kernel.services(), ["a"]);
    // What was taken back stays so, also where no process left anything.
    let kernel = Kernel::default();
    let fixture = Fixture::start_in(fixture.stop(), None, Some("b"), kernel).unwrap();
    assert!(fixture.is_taken_back());
    assert_eq!(fixture.status().state, Kind::Keeping);
    assert_eq!(fixture.kernel.services(), ["a"]);
    // Another file is applied.
    let fixture = start(fixture.stop(), "c");
    assert_eq!(fixture.trial(), None);
    assert_eq!(fixture.kernel.services(), ["c"]);
}

#[test]
fn a_trial_that_ended_while_nobody_looked_is_taken_back_at_the_start() {
    // Whatever the file says by now, and where the process before had to leave what was on trial, or nothing.
    for (before, file) in [(Some("b"), "b"), (Some("b"), "bad"), (None, "b")] {
        let folder = on_trial(LONG).stop();
        let book = TrialBook::new(folder.path());
        let trial = book.read().unwrap();
        // As if the host had begun anew.
        let begun = monotonic() + 1_000_000_000_000;
        book.write(&Trial {
            begun,
            until: begun + 1_000_000_000,
            ..trial
        })
        .unwrap();
        let kernel = Kernel::default();
        let fixture = Fixture::start_in(folder, before, Some(file), kernel).unwrap();
        assert!(fixture.is_taken_back());
        assert_eq!(fixture.kernel.services(), ["a"], "{before:?} {file}");
        assert_eq!(fixture.kernel.inside().passes, 1, "one pass");
        assert_eq!(fixture.status().state, Kind::Keeping);
    }
}

#[test]
fn a_trial_that_cannot_be_written_down_is_none() {
    let fixture = Fixture::start(Some("a"));
    fixture.write("b");
    // A folder in the place of the file.
    let path = fixture.folder.path().join("trial.json");
    std::fs::create_dir_all(path.join("x")).unwrap();
    assert_eq!(
        fixture.try_out(SHORT).unwrap_err().kind,
        FailureKind::Failed
    );
    assert_eq!(fixture.trial(), None);
}
