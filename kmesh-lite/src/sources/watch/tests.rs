use super::*;
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Only reached if the test fails.
const TOO_LONG: Duration = Duration::from_secs(20);

struct Fixture {
    root: PathBuf,
    watch: RefCell<Watch>,
    events: Receiver<Completion>,
    barriers: Cell<u32>,
    /// Watched beside what is tested, and foreign to it.
    barrier: tempfile::TempDir,
    _folder: tempfile::TempDir,
}

impl Fixture {
    /// Prepares a folder, then watches `etc/mesh.toml` and `etc/mesh.d` in it.
    fn new(prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        prepare(&root);
        let (sender, events) = mpsc::channel();
        let etc = root.join("etc");
        let changed = move |completion| sender.send(completion).unwrap();
        let mut watch = Watch::new(&etc.join("mesh.toml"), &etc.join("mesh.d"), changed).unwrap();
        let barrier = tempfile::tempdir().unwrap();
        watch
            .watcher
            .watch(barrier.path(), RecursiveMode::NonRecursive)
            .unwrap();
        let fixture = Self {
            root,
            watch: RefCell::new(watch),
            events,
            barriers: Cell::new(0),
            barrier,
            _folder: folder,
        };
        fixture.settle();
        fixture
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Does something and waits until it has been noticed.
    #[track_caller]
    fn notices(&self, change: impl FnOnce(&Path)) {
        change(&self.root);
        match self.events.recv_timeout(TOO_LONG) {
            Ok(_) => self.settle(),
            other => panic!("expected a change to be noticed, got {other:?}"),
        }
    }

    /// Does something and sees that it means nothing.
    #[track_caller]
    fn overlooks(&self, change: impl FnOnce(&Path)) {
        change(&self.root);
        self.catch_up();
        assert!(self.events.try_recv().is_err());
    }

    /// Looks again until nothing moves, as the loop does, and forgets what was noticed meanwhile.
    fn settle(&self) {
        loop {
            let moved = self.watch.borrow_mut().refresh().moved;
            self.catch_up();
            if self.events.try_iter().count() == 0 && !moved {
                break;
            }
        }
    }

    /// Waits until the thread has dealt with everything up to now: inotify keeps the order.
    fn catch_up(&self) {
        let count = self.barriers.get();
        self.barriers.set(count + 1);
        let path = self.barrier.path().join(count.to_string());
        fs::write(&path, "").unwrap();
        let shared = Arc::clone(&self.watch.borrow().shared);
        let deadline = Instant::now() + TOO_LONG;
        while !shared.seen.lock().unwrap().contains(&path) {
            assert!(Instant::now() < deadline, "the thread does not read");
            std::thread::yield_now();
        }
    }
}

fn with_file(root: &Path) {
    fs::create_dir(root.join("etc")).unwrap();
    fs::write(root.join("etc/mesh.toml"), "one").unwrap();
}

#[test]
fn a_write_in_place_is_noticed_when_the_writer_closes_the_file() {
    let fixture = Fixture::new(with_file);
    fixture.notices(|root| fs::write(root.join("etc/mesh.toml"), "two").unwrap());
    let open = fs::File::create(fixture.path("etc/mesh.toml")).unwrap();
    (&open).write_all(b"half").unwrap();
    fixture.overlooks(|_| {});
    fixture.notices(|_| drop(open));
}

#[test]
fn reading_and_foreign_files_are_overlooked() {
    let fixture = Fixture::new(with_file);
    fixture.overlooks(|root| {
        fs::read(root.join("etc/mesh.toml")).unwrap();
        fs::write(root.join("etc/mesh.toml.swp"), "x").unwrap();
        fs::write(root.join("other"), "x").unwrap();
    });
}

#[test]
fn a_rename_over_is_noticed_again_and_again() {
    let fixture = Fixture::new(with_file);
    for _ in 0..3 {
        fixture.notices(|root| {
            fs::write(root.join("etc/.new"), "two").unwrap();
            fs::rename(root.join("etc/.new"), root.join("etc/mesh.toml")).unwrap();
        });
        fixture.notices(|root| fs::write(root.join("etc/mesh.toml"), "three").unwrap());
    }
}

#[test]
fn a_swapped_link_and_a_change_behind_it_are_noticed() {
    let fixture = Fixture::new(|root| {
        fs::create_dir(root.join("etc")).unwrap();
        fs::create_dir(root.join("srv")).unwrap();
        fs::write(root.join("srv/a.toml"), "a").unwrap();
        fs::write(root.join("srv/b.toml"), "b").unwrap();
        symlink("../srv/a.toml", root.join("etc/mesh.toml")).unwrap();
    });
    fixture.notices(|root| fs::write(root.join("srv/a.toml"), "a2").unwrap());
    fixture.notices(|root| {
        symlink(root.join("srv/b.toml"), root.join("etc/.new")).unwrap();
        fs::rename(root.join("etc/.new"), root.join("etc/mesh.toml")).unwrap();
    });
    fixture.notices(|root| fs::write(root.join("srv/b.toml"), "b2").unwrap());
    fixture.overlooks(|root| fs::write(root.join("srv/a.toml"), "a3").unwrap());
}

#[test]
fn a_kubernetes_volume_swapping_its_data_is_noticed() {
    let fixture = Fixture::new(|root| {
        fs::create_dir_all(root.join("etc/..v1")).unwrap();
        fs::write(root.join("etc/..v1/mesh.toml"), "1").unwrap();
        symlink("..v1", root.join("etc/..data")).unwrap();
        symlink("..data/mesh.toml", root.join("etc/mesh.toml")).unwrap();
    });
    for n in 2..5 {
        let version = format!("etc/..v{n}");
        fs::create_dir(fixture.path(&version)).unwrap();
        fs::write(fixture.path(&version).join("mesh.toml"), "n").unwrap();
        fixture.notices(|root| {
            symlink(format!("..v{n}"), root.join("etc/..data_tmp")).unwrap();
            fs::rename(root.join("etc/..data_tmp"), root.join("etc/..data")).unwrap();
        });
        fs::remove_dir_all(fixture.path(&format!("etc/..v{}", n - 1))).unwrap();
        fixture.settle();
    }
}

#[test]
fn a_file_and_its_directories_may_appear_later() {
    let fixture = Fixture::new(|_| {});
    fixture.notices(|root| fs::create_dir(root.join("etc")).unwrap());
    fixture.notices(|root| fs::write(root.join("etc/mesh.toml"), "one").unwrap());
}

#[test]
fn deletion_and_return_are_noticed() {
    let fixture = Fixture::new(with_file);
    fixture.notices(|root| fs::remove_file(root.join("etc/mesh.toml")).unwrap());
    fixture.notices(|root| fs::write(root.join("etc/mesh.toml"), "two").unwrap());
    fixture.notices(|root| fs::remove_dir_all(root.join("etc")).unwrap());
    fixture.notices(with_file);
}

#[test]
fn a_replaced_directory_is_noticed_and_the_new_one_watched() {
    let fixture = Fixture::new(with_file);
    fixture.notices(|root| {
        fs::create_dir(root.join("new")).unwrap();
        fs::write(root.join("new/mesh.toml"), "two").unwrap();
        fs::rename(root.join("etc"), root.join("old")).unwrap();
        fs::rename(root.join("new"), root.join("etc")).unwrap();
    });
    fixture.notices(|root| fs::write(root.join("etc/mesh.toml"), "three").unwrap());
    fixture.overlooks(|root| fs::write(root.join("old/mesh.toml"), "x").unwrap());
}

#[test]
fn drop_ins_come_change_and_go() {
    let fixture = Fixture::new(with_file);
    fixture.notices(|root| fs::create_dir(root.join("etc/mesh.d")).unwrap());
    fixture.notices(|root| fs::write(root.join("etc/mesh.d/a.toml"), "a").unwrap());
    fixture.overlooks(|root| fs::write(root.join("etc/mesh.d/README"), "a").unwrap());
    fixture.notices(|root| {
        fs::write(root.join("b.toml"), "b").unwrap();
        symlink(root.join("b.toml"), root.join("etc/mesh.d/b.toml")).unwrap();
    });
    fixture.notices(|root| fs::write(root.join("b.toml"), "b2").unwrap());
    fixture.notices(|root| fs::remove_file(root.join("etc/mesh.d/a.toml")).unwrap());
    fixture.notices(|root| fs::remove_dir_all(root.join("etc/mesh.d")).unwrap());
}

#[test]
fn a_file_that_is_deleted_and_made_again_is_not_read_before_it_is_closed() {
    let fixture = Fixture::new(with_file);
    // Not refreshed in between: what is watched is still the file that is gone.
    fs::remove_file(fixture.path("etc/mesh.toml")).unwrap();
    fixture.catch_up();
    assert!(fixture.events.try_iter().count() > 0);
    let mut open = fs::File::create(fixture.path("etc/mesh.toml")).unwrap();
    fixture.overlooks(|_| {});
    open.write_all(b"half").unwrap();
    fixture.overlooks(|_| {});
    fixture.notices(|_| drop(open));
}

#[test]
fn permissions_matter() {
    let fixture = Fixture::new(with_file);
    fixture.notices(|root| {
        let nobody = fs::Permissions::from_mode(0o000);
        fs::set_permissions(root.join("etc/mesh.toml"), nobody).unwrap();
    });
}

#[test]
fn what_is_behind_another_name_of_the_file_matters() {
    let fixture = Fixture::new(|root| {
        with_file(root);
        fs::hard_link(root.join("etc/mesh.toml"), root.join("other")).unwrap();
    });
    fixture.notices(|root| fs::write(root.join("other"), "two").unwrap());
}

#[test]
fn directories_on_the_way_are_watched_while_something_is_missing_only() {
    let fixture = Fixture::new(|_| {});
    let watched = || {
        let watch = fixture.watch.borrow();
        let watched = watch.shared.watched();
        watched.keys().cloned().collect::<Vec<_>>()
    };
    let root = &fixture.root;
    assert_eq!(watched(), std::slice::from_ref(root));
    fixture.notices(with_file);
    assert_eq!(watched(), [root.join("etc"), root.join("etc/mesh.toml")]);
    fixture.overlooks(|root| fs::create_dir(root.join("foreign")).unwrap());
    fixture.notices(|root| fs::rename(root.join("etc"), root.join("old")).unwrap());
    assert_eq!(watched(), std::slice::from_ref(root));
    fixture.overlooks(|root| fs::write(root.join("old/mesh.toml"), "x").unwrap());
    fixture.notices(|root| fs::rename(root.join("old"), root.join("etc")).unwrap());
    fixture.notices(|root| fs::write(root.join("etc/mesh.toml"), "two").unwrap());
}

#[test]
fn a_directory_made_again_is_watched_again_however_often() {
    let fixture = Fixture::new(with_file);
    for _ in 0..20 {
        // The new one often gets the number of the old one.
        fs::remove_dir_all(fixture.path("etc")).unwrap();
        with_file(&fixture.root);
        fixture.settle();
        fixture.notices(|root| fs::write(root.join("etc/mesh.toml"), "two").unwrap());
    }
}

#[test]
fn a_link_in_place_of_a_directory_on_the_way_is_followed() {
    let fixture = Fixture::new(|root| {
        with_file(root);
        fs::create_dir(root.join("real")).unwrap();
        fs::write(root.join("real/mesh.toml"), "real").unwrap();
    });
    fixture.notices(|root| {
        fs::rename(root.join("etc"), root.join("old")).unwrap();
        symlink("real", root.join("etc")).unwrap();
    });
    fixture.notices(|root| fs::write(root.join("real/mesh.toml"), "two").unwrap());
    fixture.notices(|root| {
        symlink("old", root.join("new")).unwrap();
        fs::rename(root.join("new"), root.join("etc")).unwrap();
    });
    fixture.notices(|root| fs::write(root.join("old/mesh.toml"), "three").unwrap());
}

#[test]
fn a_renamed_directory_farther_up_is_found_by_looking_again() {
    let fixture = Fixture::new(|root| {
        fs::create_dir(root.join("srv")).unwrap();
        with_file(&root.join("srv"));
        symlink("srv/etc", root.join("etc")).unwrap();
    });
    fs::rename(fixture.path("srv"), fixture.path("old")).unwrap();
    assert!(fixture.watch.borrow_mut().refresh().moved);
    assert!(!fixture.watch.borrow_mut().refresh().moved);
}

#[test]
fn lost_events_and_errors_count_as_a_change() {
    let fixture = Fixture::new(with_file);
    let (events, noticed) = mpsc::channel();
    let shared = Arc::clone(&fixture.watch.borrow().shared);
    let changed = move |_| events.send(()).unwrap();
    let mut handler = Handler {
        shared,
        changed,
        replaced: None,
    };
    let event = |kind| notify::Event::new(kind);
    let rescan = event(EventKind::Other).set_flag(notify::event::Flag::Rescan);
    notify::EventHandler::handle_event(&mut handler, Ok(rescan));
    assert_eq!(noticed.try_iter().count(), 1);
    let error = notify::Error::generic("broken");
    notify::EventHandler::handle_event(&mut handler, Err(error));
    assert_eq!(noticed.try_iter().count(), 1);
    notify::EventHandler::handle_event(&mut handler, Ok(event(EventKind::Other)));
    assert_eq!(noticed.try_iter().count(), 0);
}

/// What is told of a change.
fn told(fixture: &Fixture, change: impl FnOnce(&Path)) -> Vec<Completion> {
    change(&fixture.root);
    fixture.catch_up();
    let told = fixture.events.try_iter().collect();
    fixture.settle();
    told
}

#[test]
fn a_change_that_is_complete_is_told_from_one_that_was_begun() {
    use Completion::{Begun, Complete};
    let fixture = Fixture::new(|root| {
        with_file(root);
        fs::create_dir(root.join("etc/mesh.d")).unwrap();
    });
    let is_complete = |told: &[Completion]| !told.is_empty() && !told.contains(&Begun);
    for path in ["etc/mesh.toml", "etc/mesh.d/a.toml"] {
        for _ in 0..2 {
            // Also the end of the file that was there before is no sign of more to come.
            let put = told(&fixture, |root| {
                fs::write(root.join("new"), "two").unwrap();
                fs::rename(root.join("new"), root.join(path)).unwrap();
            });
            assert!(is_complete(&put), "{path}: {put:?}");
        }
        let written = told(&fixture, |root| {
            fs::write(root.join(path), "three").unwrap()
        });
        assert!(is_complete(&written), "{path}: {written:?}");
        // As an editor does that keeps a copy, before it writes the file anew.
        let moved = told(&fixture, |root| {
            fs::rename(root.join(path), root.join(format!("{path}~"))).unwrap();
        });
        assert_eq!(moved.last(), Some(&Begun), "{path}: {moved:?}");
        let anew = told(&fixture, |root| fs::write(root.join(path), "four").unwrap());
        assert_eq!(anew.last(), Some(&Complete), "{path}: {anew:?}");
        let gone = told(&fixture, |root| fs::remove_file(root.join(path)).unwrap());
        assert_eq!(gone.last(), Some(&Begun), "{path}: {gone:?}");
    }
}

#[test]
fn drop_ins_that_changed_are_known_by_name_and_nothing_else_is() {
    let fixture = Fixture::new(|root| {
        with_file(root);
        fs::create_dir(root.join("etc/mesh.d")).unwrap();
        fs::write(root.join("a"), "").unwrap();
        symlink(root.join("a"), root.join("etc/mesh.d/link.toml")).unwrap();
    });
    let touched = |change: &dyn Fn(&Path)| {
        fixture.watch.borrow().touched();
        change(&fixture.root);
        fixture.catch_up();
        let touched = fixture.watch.borrow().touched();
        fixture.settle();
        touched
    };
    let some = touched(&|root| {
        fs::write(root.join("etc/mesh.d/a.toml"), "a").unwrap();
        fs::write(root.join("b"), "b").unwrap();
        fs::rename(root.join("b"), root.join("etc/mesh.d/b.toml")).unwrap();
        fs::remove_file(root.join("etc/mesh.d/a.toml")).unwrap();
    });
    let names = ["a.toml", "b.toml"].map(OsString::from);
    assert_eq!(some.drop_ins, names.into());
    assert!(!some.anything);
    let changes: [&dyn Fn(&Path); 4] = [
        &|root| fs::write(root.join("etc/mesh.toml"), "two").unwrap(),
        &|root| fs::write(root.join("a"), "two").unwrap(),
        &|root| fs::remove_file(root.join("etc/mesh.d/link.toml")).unwrap(),
        &|root| fs::rename(root.join("etc/mesh.d"), root.join("etc/old")).unwrap(),
    ];
    for change in changes {
        assert!(touched(change).anything);
    }
}

#[test]
fn dropping_the_watch_ends_its_thread() {
    let fixture = Fixture::new(with_file);
    let Fixture { watch, events, .. } = fixture;
    drop(watch);
    // The thread held the only sender.
    loop {
        match events.recv_timeout(TOO_LONG) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error, mpsc::RecvTimeoutError::Disconnected);
                break;
            }
        }
    }
}
