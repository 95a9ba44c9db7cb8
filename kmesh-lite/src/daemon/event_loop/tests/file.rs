//! What becomes of the file: when it is applied, planned and refused.

use super::*;
use crate::api::FileText;
use crate::sources::Completion;

#[test]
fn a_good_file_is_applied_and_systemd_told() {
    let fixture = Fixture::start(Some("a\nb"));
    assert_eq!(fixture.kernel.services(), ["a", "b"]);
    let told = fixture.supervisor.heard().join("\n");
    assert!(told.contains("Ready(\"routing 2 services"), "{told}");
    assert_eq!(fixture.status().state, Kind::Routing);
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
        let planned = fixture.ask(|reply| Request::Plan {
            texts: None,
            session: None,
            reply,
        });
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
fn a_plan_changes_nothing() {
    let fixture = Fixture::start(Some("a"));
    let plan = |text: Option<&str>| {
        let texts = text.map(|text| {
            vec![FileText {
                path: "other.toml".to_owned(),
                text: fake::toml(text),
            }]
        });
        fixture.ask(|reply| Request::Plan {
            texts,
            session: None,
            reply,
        })
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
