use super::*;
use crate::config::LARGEST;
use crate::report::problems::render;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Instant;

/// Only reached if a test fails.
const TOO_LONG: std::time::Duration = std::time::Duration::from_secs(20);

const SERVICE: &str =
    "[services.a]\nvips = ['10.96.0.1']\nports = [80]\nendpoints = ['10.0.0.1']\n";

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("mesh.toml");
    (folder, main)
}

fn load(main: &Path) -> Loaded {
    Files::new(main).load(&Host::default())
}

#[track_caller]
fn only_error(main: &Path) -> Problem {
    let loaded = load(main);
    assert!(loaded.present && loaded.mesh.is_none());
    let said = render(&loaded.problems, false);
    assert_eq!(loaded.problems.count(Severity::Error), 1, "{said}");
    let mut problems = loaded.problems.iter();
    let error = problems.find(|problem| problem.severity == Severity::Error);
    error.unwrap().clone()
}

#[test]
fn nothing_there_is_no_problem_and_no_mesh() {
    let (_folder, main) = folder();
    let loaded = load(&main);
    assert!(!loaded.present && loaded.mesh.is_none() && loaded.problems.is_empty());
}

#[test]
fn an_empty_file_is_an_empty_mesh() {
    let (_folder, main) = folder();
    fs::write(&main, "").unwrap();
    let loaded = load(&main);
    assert!(loaded.problems.is_empty() && loaded.mesh.unwrap().services.is_empty());
}

#[test]
fn what_is_no_readable_file_is_one_clear_error() {
    let (_folder, main) = folder();
    fs::create_dir(&main).unwrap();
    assert_eq!(only_error(&main).message, "this is a directory");
    fs::remove_dir(&main).unwrap();

    symlink(&main, &main).unwrap();
    assert!(
        only_error(&main).message.contains("symbolic links"),
        "{}",
        only_error(&main)
    );
    fs::remove_file(&main).unwrap();

    symlink("gone", &main).unwrap();
    assert!(only_error(&main).message.contains("does not exist"));
    fs::remove_file(&main).unwrap();

    // A folder that is not mounted must not take the services of its drop-ins away.
    let drop_ins = main.with_file_name("mesh.d");
    fs::write(&main, "").unwrap();
    symlink("gone", &drop_ins).unwrap();
    let error = only_error(&main);
    assert!(
        error.message.contains("a folder that does not exist"),
        "{error}"
    );
    fs::remove_file(&drop_ins).unwrap();
    fs::remove_file(&main).unwrap();

    nix::unistd::mkfifo(&main, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(
        only_error(&main).message,
        "this is a device, pipe or socket"
    );
    fs::remove_file(&main).unwrap();

    fs::File::create(&main).unwrap().set_len(100 << 20).unwrap();
    assert!(
        only_error(&main)
            .message
            .starts_with("this file has 100 MiB")
    );

    fs::write(&main, [b"# text\n".as_slice(), &[0; 1000]].concat()).unwrap();
    assert_eq!(only_error(&main).line(), Some(2));

    fs::write(&main, [0xff, 0xfe, b'x'].repeat(100)).unwrap();
    assert_eq!(only_error(&main).column(), Some(1));

    fs::remove_file(&main).unwrap();
    fs::write(main.with_file_name("mesh.d"), "").unwrap();
    fs::write(&main, "").unwrap();
    let loaded = load(&main);
    assert!(loaded.problems.has_errors() && loaded.present);
}

#[test]
fn bytes_that_are_not_utf8_do_not_hide_other_problems() {
    let (_folder, main) = folder();
    fs::write(&main, b"# caf\xe9\n[node]\nnaem = 'x'\n").unwrap();
    let loaded = load(&main);
    let lines: Vec<_> = loaded
        .problems
        .iter()
        .map(|p| (p.line(), p.column()))
        .collect();
    assert_eq!(lines, [(Some(1), Some(6)), (Some(3), Some(1))]);
}

#[test]
fn drop_ins_are_files_that_end_in_toml_and_do_not_begin_with_a_dot() {
    let (_folder, main) = folder();
    let folder = main.with_file_name("mesh.d");
    fs::create_dir_all(folder.join("sub")).unwrap();
    for ignored in [".a.toml", "a.toml~", "a.conf", "sub/a.toml"] {
        fs::write(folder.join(ignored), "rubbish").unwrap();
    }
    fs::write(folder.join("sub/real"), SERVICE).unwrap();
    symlink("sub/real", folder.join("b.toml")).unwrap();
    fs::write(
        folder.join("a.toml"),
        SERVICE
            .replace("[services.a]", "[services.b]")
            .replace("96", "97"),
    )
    .unwrap();
    let loaded = load(&main);
    // That there is no main file may be meant, and is worth a note.
    let said = render(&loaded.problems, false);
    assert_eq!(loaded.problems.count(Severity::Note), 1, "{said}");
    assert_eq!(loaded.problems.iter().count(), 1, "{said}");
    let read = ["a.toml", "b.toml"].map(|name| Origin::new(folder.join(name)));
    assert_eq!(loaded.origins, read);
    assert_eq!(loaded.mesh.unwrap().services.len(), 2);

    // systemd's way to mask a file.
    symlink("/dev/null", folder.join("c.toml")).unwrap();
    let loaded = load(&main);
    assert_eq!(loaded.problems.count(Severity::Warning), 1);
    assert!(loaded.mesh.is_some());
}

#[test]
fn a_reload_sees_every_kind_of_change() {
    let (_folder, main) = folder();
    let mut files = Files::new(&main);
    let mut loader = Loader::default();
    let host = Host::default();
    let mut address = |files: &mut Files| {
        let mesh = loader.load(&files.read(), &host).mesh.unwrap();
        mesh.backends.keys().next().copied().unwrap().to_string()
    };
    // As fast as possible and of the same size, so that the times may be the same.
    for last in 1..=9 {
        let ip = format!("10.0.0.{last}");
        fs::write(&main, SERVICE.replace("10.0.0.1", &ip)).unwrap();
        assert_eq!(address(&mut files), ip);
    }
    let other = main.with_file_name("other");
    fs::write(&other, SERVICE).unwrap();
    fs::rename(&other, &main).unwrap();
    assert_eq!(address(&mut files), "10.0.0.1");
    fs::remove_file(&main).unwrap();
    assert!(!files.load(&host).present);
    fs::write(&main, SERVICE).unwrap();
    assert_eq!(address(&mut files), "10.0.0.1");
}

#[test]
fn texts_mean_what_the_files_mean() {
    let (_folder, main) = folder();
    fs::write(&main, SERVICE).unwrap();
    let drop_in = main.with_file_name("mesh.d").join("a.toml");
    fs::create_dir(drop_in.parent().unwrap()).unwrap();
    fs::write(&drop_in, "[localities]\nx = 'r/z'\n").unwrap();
    let host = Host::default();
    let mut loader = Loader::default();
    let fragments = Files::new(&main).read();
    let loaded = loader.load(&fragments, &host);
    let texts = fragments.iter();
    let texts = texts.map(|it| (it.origin().clone(), it.text().to_owned()));
    let mut texts: Vec<_> = texts.collect();
    fs::remove_file(&main).unwrap();
    let load = |texts: &[(Origin, String)]| {
        Loader::default().load(&texts.iter().cloned().collect(), &host)
    };
    let again = load(&texts);
    assert_eq!(again.origins, [Origin::new(main), Origin::new(drop_in)]);
    assert_eq!(again.mesh.unwrap(), loaded.mesh.unwrap());

    texts[1].1 = "naem = 1".to_owned();
    let bad = load(&texts);
    assert!(bad.mesh.is_none() && bad.problems.has_errors());
    texts[1].1 = " ".repeat(LARGEST as usize + 1);
    let large = load(&texts);
    let problem = large.problems.iter().next().unwrap();
    assert!(problem.message.contains("32 MiB"), "{problem}");
    assert!(load(&[]).mesh.is_none());
}

#[test]
fn what_did_not_change_is_the_same_fragment() {
    let (_folder, main) = folder();
    let drop_ins = main.with_file_name("mesh.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(&main, SERVICE).unwrap();
    fs::write(drop_ins.join("a.toml"), "").unwrap();
    let mut files = Files::new(&main);
    let first = files.read();
    // Written again, with the same text and with another one.
    fs::write(&main, SERVICE).unwrap();
    fs::write(drop_ins.join("a.toml"), "# another").unwrap();
    let second = files.read();
    let same: Vec<_> = first
        .iter()
        .zip(second.iter())
        .map(|(a, b)| Arc::ptr_eq(a, b))
        .collect();
    assert_eq!(same, [true, false]);
    let revisions: Vec<_> = second.iter().map(|it| it.revision()).collect();
    assert_eq!(revisions, [1, 3]);
}

#[test]
fn drop_ins_alone_do_not_replace_what_the_main_file_said() {
    let (_folder, main) = folder();
    let drop_in = main.with_file_name("mesh.d").join("a.toml");
    fs::create_dir(drop_in.parent().unwrap()).unwrap();
    fs::write(&drop_in, SERVICE).unwrap();
    let mut files = Files::new(&main);
    let host = Host::default();
    assert!(
        files.load(&host).mesh.is_some(),
        "there was no main file ever"
    );
    fs::write(&main, "").unwrap();
    assert!(files.load(&host).mesh.is_some());
    fs::remove_file(&main).unwrap();
    let gone = files.load(&host);
    assert!(!gone.present && gone.mesh.is_none());
    fs::write(&drop_in, "rubbish").unwrap();
    assert!(files.load(&host).present, "errors are told nevertheless");
}

#[test]
fn a_change_of_a_watched_file_is_one_call_away() {
    let (_folder, main) = folder();
    fs::write(&main, "").unwrap();
    let (sender, changed) = std::sync::mpsc::channel();
    let mut files = Files::new(&main);
    files.watch(move |_| sender.send(()).unwrap()).unwrap();
    assert!(files.read().iter().next().unwrap().text().is_empty());
    assert!(files.blind().is_empty() && !files.may_have_changed());
    fs::write(&main, SERVICE).unwrap();
    changed.recv().unwrap();
    assert_eq!(files.read().iter().next().unwrap().text(), SERVICE);
}

#[test]
fn only_drop_ins_that_changed_are_looked_at() {
    let (_folder, main) = folder();
    let drop_ins = main.with_file_name("mesh.d");
    fs::create_dir(&drop_ins).unwrap();
    let path = |name: &str| drop_ins.join(name);
    fs::write(&main, "# main").unwrap();
    for name in ["a.toml", "b.toml", "c.toml"] {
        fs::write(path(name), "# one").unwrap();
    }
    let (sender, changed) = std::sync::mpsc::channel();
    let mut files = Files::new(&main);
    files.watch(move |_| sender.send(()).unwrap()).unwrap();
    let texts = |fragments: Fragments| -> Vec<String> {
        fragments.iter().map(|it| it.text().to_owned()).collect()
    };
    assert_eq!(texts(files.read()), ["# main", "# one", "# one", "# one"]);
    // A writer that has not come to its end tells nothing.
    let mut open = fs::File::create(path("b.toml")).unwrap();
    std::io::Write::write_all(&mut open, b"# ha").unwrap();
    fs::remove_file(path("c.toml")).unwrap();
    fs::write(path("d.toml"), "# new").unwrap();
    fs::write(path("a.toml"), "# two").unwrap();
    let mut read = Vec::new();
    while read != ["# main", "# two", "# one", "# new"] {
        changed.recv_timeout(TOO_LONG).unwrap();
        read = texts(files.read_changed());
        assert_eq!(read[2], "# one");
    }
    drop(open);
    while texts(files.read_changed())[2] != "# ha" {
        changed.recv_timeout(TOO_LONG).unwrap();
    }
    // A link is something else to watch.
    let behind = main.with_file_name("behind");
    fs::write(&behind, "# linked").unwrap();
    fs::remove_file(path("d.toml")).unwrap();
    symlink("../behind", path("d.toml")).unwrap();
    for text in ["# linked", "# changed"] {
        while texts(files.read_changed())
            .get(3)
            .is_none_or(|it| it != text)
        {
            changed.recv_timeout(TOO_LONG).unwrap();
        }
        fs::write(&behind, "# changed").unwrap();
    }
}

#[test]
fn the_order_of_entries_and_files_does_not_matter() {
    let (_folder, main) = folder();
    let entries = [
        "[localities]\nx = 'r/z'\n",
        "[endpoints.db]\naddress = '10.0.0.9'\nlocality = 'x'\n",
        "[services.a]\nvips = ['fd00::1', '10.96.0.1']\nports = ['80', '81']\nhostnames = ['b.x', 'a.x']\nendpoints = ['db', '10.0.0.1', { address = 'fd00::9', weight = 3 }]\n",
        "[capture]\ncgroups = ['/b', '/a']\nbypass = ['z.service', '/q']\n",
    ];
    fs::write(&main, entries.concat()).unwrap();
    let forward = load(&main).mesh.unwrap();
    let turned = entries[2]
        .replace("'fd00::1', '10.96.0.1'", "'10.96.0.1', 'fd00::1'")
        .replace("'80', '81'", "81, 80")
        .replace("'b.x', 'a.x'", "'a.x', 'b.x'")
        .replace(
            "'db', '10.0.0.1', { address = 'fd00::9', weight = 3 }",
            "{ weight = 3, address = 'fd00::9' }, '10.0.0.1', 'db'",
        );
    let capture = "[capture]\nbypass = ['/q', 'z.service']\ncgroups = ['/a', '/b']\n";
    fs::write(&main, [turned.as_str(), capture].concat()).unwrap();
    let drop_ins = main.with_file_name("mesh.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(drop_ins.join("x.toml"), [entries[1], entries[0]].concat()).unwrap();
    assert_eq!(load(&main).mesh.unwrap(), forward);
}

/// A thousand services with a hundred endpoints each.
fn large() -> Vec<String> {
    (0..1000)
        .map(|service| {
            let mut text = format!(
                "[services.service-{service}]\nvips = [\"10.{}.{}.1\"]\nports = [\"80:8080\"]\npolicy = \"failover\"\nendpoints = [\n",
                100 + service / 250,
                service % 250
            );
            for endpoint in 0..100 {
                let zone = endpoint % 3;
                let (high, low) = (service / 250, service % 250);
                writeln!(text, "  {{ address = \"10.{high}.{low}.{endpoint}\", locality = \"eu/zone-{zone}\", weight = 3 }},").unwrap();
            }
            text + "]\n"
        })
        .collect()
}

/// Time on a processor: other work on the machine does not count.
fn on_cpu(work: impl FnOnce() -> Loaded) -> (Loaded, f64) {
    let now = || {
        let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
    };
    let start = now();
    let loaded = work();
    (loaded, now() - start)
}

#[test]
#[ignore = "measures; run in release with --nocapture"]
fn measure() {
    let host = Host::default();
    let services = large();
    let (_one, main) = folder();
    fs::write(&main, services.concat()).unwrap();
    for _ in 0..5 {
        let start = Instant::now();
        let (loaded, cpu) = on_cpu(|| load(&main));
        println!("one file: {:?}, {cpu:.0} ms of processor", start.elapsed());
        assert_eq!(loaded.mesh.unwrap().backends.len(), 100_000);
    }

    let (_many, main) = folder();
    let drop_ins = main.with_file_name("mesh.d");
    fs::create_dir(&drop_ins).unwrap();
    for (index, text) in services.iter().enumerate() {
        fs::write(drop_ins.join(format!("{index:04}.toml")), text).unwrap();
    }
    let mut files = Files::new(&main);
    let mut loader = Loader::default();
    for (round, pause) in [0, 0, 100, 100, 100].into_iter().enumerate() {
        std::thread::sleep(std::time::Duration::from_millis(pause));
        let changed = services[500].replace("weight = 3", &format!("weight = {round}"));
        fs::write(drop_ins.join("0500.toml"), changed).unwrap();
        let start = Instant::now();
        let (loaded, cpu) = on_cpu(|| loader.load(&files.read(), &host));
        println!(
            "drop-ins, round {round}: {:?}, {cpu:.0} ms of processor",
            start.elapsed()
        );
        assert!(loaded.mesh.is_some());
    }
}
