use super::*;
use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Only reached if the test fails.
const TOO_LONG: Duration = Duration::from_secs(20);

/// A tree of folders in place of cgroups: what is made and removed there is told alike.
struct Fixture {
    tree: tempfile::TempDir,
    named: Vec<CgroupRef>,
    units: RefCell<Units>,
    events: Receiver<()>,
}

impl Fixture {
    fn new(named: &[&str], folders: &[&str]) -> Self {
        let tree = tempfile::tempdir().unwrap();
        let (sender, events) = mpsc::channel();
        let units = Units::new(Cgroups::at(tree.path()), move || sender.send(()).is_ok()).unwrap();
        let named = named.iter().map(|name| CgroupRef::from(*name));
        let fixture = Self {
            tree,
            named: named.collect(),
            units: RefCell::new(units),
            events,
        };
        for folder in folders {
            fixture.make(folder);
        }
        fixture.look();
        fixture
    }

    fn make(&self, folder: &str) {
        fs::create_dir_all(self.tree.path().join(folder)).unwrap();
    }

    fn remove(&self, folder: &str) {
        fs::remove_dir_all(self.tree.path().join(folder)).unwrap();
    }

    /// Looks as the loop does, and gives what was found of those that changed.
    fn look(&self) -> Vec<Vec<PathBuf>> {
        let looked = self.units.borrow_mut().look(self.named.clone());
        assert!(looked.blind.is_empty(), "{:?}", looked.blind);
        let paths = |change: Change| change.found.into_iter().map(|found| found.path).collect();
        looked.changed.into_iter().map(paths).collect()
    }

    /// Waits until what is found is this, looking at events only.
    #[track_caller]
    fn notices(&self, paths: &[&str]) {
        let until = Instant::now() + TOO_LONG;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(()) => {}
                other => panic!("expected a change to {paths:?} to be noticed, got {other:?}"),
            }
            let expected: Vec<_> = paths.iter().map(PathBuf::from).collect();
            if self.look().contains(&expected) {
                return;
            }
        }
    }

    /// Nothing that was done so far is an event, but what comes now is.
    #[track_caller]
    fn overlooked_until(&self, folder: &str, paths: &[&str]) {
        self.make(folder);
        self.notices(paths);
        assert!(self.events.try_recv().is_err());
    }
}

#[test]
fn a_unit_is_found_again_whenever_it_gets_another_cgroup() {
    let fixture = Fixture::new(&["proxy.service"], &["system.slice/other.service"]);
    for _ in 0..3 {
        fixture.make("system.slice/proxy.service");
        fixture.notices(&["/system.slice/proxy.service"]);
        fixture.remove("system.slice/proxy.service");
        fixture.notices(&[]);
    }
}

#[test]
fn a_unit_may_appear_in_slices_that_appear_themselves() {
    let fixture = Fixture::new(&["proxy.service"], &[]);
    fixture.make("a.slice/a-b.slice");
    fixture.make("a.slice/a-b.slice/proxy.service");
    fixture.notices(&["/a.slice/a-b.slice/proxy.service"]);
    fixture.remove("a.slice");
    fixture.notices(&[]);
    fixture.make("user.slice/user-1.slice/proxy.service");
    fixture.notices(&["/user.slice/user-1.slice/proxy.service"]);
}

#[test]
fn a_user_cannot_make_a_unit_of_the_host() {
    let own = "user.slice/user-1.slice/user@1.service/app.slice/proxy.service";
    let path = format!("/{own}");
    let fixture = Fixture::new(&["proxy.service", &path], &[own]);
    let units = fixture.units.borrow();
    let found = |name: &CgroupRef| units.seen[name].len();
    // By its path it is meant; by its name it is not.
    assert_eq!(found(&CgroupRef::from(path.as_str())), 1);
    assert_eq!(found(&CgroupRef::from("proxy.service")), 0);
}

#[test]
fn a_slice_that_is_made_anew_is_watched_anew() {
    let fixture = Fixture::new(&["proxy.service"], &["system.slice/proxy.service"]);
    for _ in 0..3 {
        fixture.remove("system.slice");
        fixture.notices(&[]);
        fixture.make("system.slice");
        fixture.make("system.slice/proxy.service");
        fixture.notices(&["/system.slice/proxy.service"]);
    }
}

#[test]
fn a_path_is_awaited_from_the_root_on() {
    let fixture = Fixture::new(&["/containers/proxy/inner"], &[]);
    fixture.make("containers");
    fixture.make("containers/proxy/inner");
    fixture.notices(&["/containers/proxy/inner"]);
    fixture.remove("containers");
    fixture.notices(&[]);
}

#[test]
fn what_has_another_name_or_is_inside_of_others_is_overlooked() {
    let fixture = Fixture::new(&["proxy.service"], &["system.slice/other.service"]);
    fixture.make("system.slice/another.service/proxy.service");
    fixture.make("system.slice/other.service/proxy.service");
    fixture.make("machine/proxy.service");
    fixture.remove("system.slice/other.service");
    fixture.overlooked_until(
        "system.slice/proxy.service",
        &["/system.slice/proxy.service"],
    );
}

#[test]
fn what_is_not_named_any_more_is_not_watched() {
    let fixture = Fixture::new(&["proxy.service", "/a/b"], &["system.slice", "a"]);
    let mut units = fixture.units.borrow_mut();
    assert_eq!(
        units.watched.len(),
        4,
        "the root twice, the slice, the path"
    );
    let looked = units.look([]);
    assert!(looked.changed.is_empty() && units.watched.is_empty());
}
