//! What follows when cgroups and links come and go.

use super::*;
use std::fs;

#[test]
fn cgroups_of_the_command_line_go_before_those_of_the_file() {
    let fixture = Fixture::start(Some("a"));
    let inside = fixture.kernel.inside();
    let capture = &inside.held.as_ref().unwrap().capture;
    assert_eq!(capture.cgroups, [CgroupRef::from("/only")]);
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
fn a_unit_that_gets_another_cgroup_is_a_pass_and_one_that_stops_is_one_later() {
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
    assert_eq!(fixture.kernel.inside().greetings, greetings + 3);
}
