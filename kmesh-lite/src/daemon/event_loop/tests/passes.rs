//! When there is a pass, how much it looks at, and what a failed one leads to.

use super::*;

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
fn a_host_that_refuses_the_first_pass_ends_the_daemon() {
    let kernel = Kernel::default();
    kernel.inside().fail = Some(Broken::Hook);
    let refused = Fixture::try_start(Some("a"), kernel.clone());
    assert!(matches!(refused, Err(DaemonError::FirstPass { .. })));
    assert!(kernel.inside().dropped);
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
