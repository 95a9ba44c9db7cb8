//! Loading a configuration, and again when it changed.

use super::files::{self, Failure, LARGEST, Outcome, Seen};
use super::lower::{Lowered, lower};
use super::parse::{Parsed, parse};
use super::problem::{Problem, Problems, Severity};
use super::source::{Place, Source};
use crate::model::Mesh;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What lowering needs to know of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The hostname: what this node is called unless the file says otherwise.
    pub name: String,
    /// Addresses of its interfaces.
    pub own_addresses: BTreeSet<IpAddr>,
}

/// Loads a main file and its drop-ins. Keeps what it parsed, so that a reload parses only files
/// that changed.
#[derive(Debug)]
pub struct Loader {
    path: PathBuf,
    cache: BTreeMap<PathBuf, (Seen, Arc<Parsed>)>,
}

/// What loading came to.
#[derive(Debug)]
pub struct Loaded {
    /// None if there is any error, or nothing to load.
    pub mesh: Option<Mesh>,
    pub problems: Problems,
    /// Errors about what is valid but cannot be run by this version: waypoints with a header.
    pub unsupported: Problems,
    /// The files that were read: the main file first, then drop-ins by name.
    pub files: Vec<PathBuf>,
    /// Whether there is a main file or any drop-in, good or bad.
    pub present: bool,
}

impl Loader {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            cache: BTreeMap::new(),
        }
    }

    /// The main file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of drop-ins, which need not exist.
    pub fn folder(&self) -> PathBuf {
        files::folder(&self.path)
    }

    pub fn load(&mut self, host: &Host) -> Loaded {
        let mut problems = Vec::new();
        let mut paths = vec![self.path.clone()];
        match files::drop_ins(&self.path) {
            Ok(found) => paths.extend(found),
            Err((folder, failure)) => problems.push(failed(&folder, failure)),
        }
        let mut parsed = Vec::with_capacity(paths.len());
        let mut present = Vec::with_capacity(paths.len());
        let mut cache = BTreeMap::new();
        for path in paths {
            let old = self.cache.remove(&path);
            match self.load_one(&path, old) {
                Ok(Some((seen, file))) => {
                    parsed.push(Arc::clone(&file));
                    cache.insert(path.clone(), (seen, file));
                }
                Ok(None) => continue,
                Err(problem) => problems.push(problem),
            }
            present.push(path);
        }
        self.cache = cache;

        // A file that could not be read may define what others refer to.
        let whole = problems.iter().all(|p| p.severity != Severity::Error)
            && parsed.iter().all(|file| file.whole);
        let Lowered {
            mesh,
            problems: lowered,
            unsupported,
        } = lower(&parsed, host, whole);
        problems.extend(parsed.iter().flat_map(|file| file.problems.iter().cloned()));
        problems.extend(lowered);
        let problems = Problems::in_order(problems, &present);
        Loaded {
            mesh: (!present.is_empty() && !problems.has_errors()).then_some(mesh),
            unsupported: Problems::in_order(unsupported, &present),
            present: !present.is_empty(),
            files: present,
            problems,
        }
    }

    /// A file, parsed now or before; none if it does not exist.
    fn load_one(
        &self,
        path: &Path,
        old: Option<(Seen, Arc<Parsed>)>,
    ) -> Result<Option<(Seen, Arc<Parsed>)>, Problem> {
        match files::read(path, old.as_ref().map(|(seen, _)| *seen)) {
            Outcome::Absent => Ok(None),
            Outcome::Same => Ok(old),
            Outcome::Read(seen, bytes) => {
                let parsed = match old {
                    Some((_, parsed)) if parsed.source.text().as_bytes() == bytes => parsed,
                    _ => Arc::new(parse_bytes(path, bytes)),
                };
                Ok(Some((seen, parsed)))
            }
            Outcome::NotAFile(what) if path == self.path => {
                Err(Problem::file(path, format!("this is {what}")).expected("a file"))
            }
            // systemd's way to mask a drop-in is a link to /dev/null.
            Outcome::NotAFile(what) => {
                let message = format!("ignored: this is {what} and not a file");
                Err(Problem::new(Severity::Warning, Place::whole(path), message))
            }
            Outcome::Failed(failure) => Err(failed(path, failure)),
        }
    }
}

fn failed(path: &Path, failure: Failure) -> Problem {
    Problem::file(path, failure.message).help_if(failure.help)
}

fn parse_bytes(path: &Path, bytes: Vec<u8>) -> Parsed {
    debug_assert!(bytes.len() as u64 <= LARGEST, "spans have 32 bits");
    // No text has one, and the parser is slow on large files that are no text.
    if let Some(zero) = bytes.iter().position(|byte| *byte == 0) {
        let source = Source::new(path, String::from_utf8_lossy(&bytes[..zero]));
        let end = source.text().len();
        let problem = Problem::error(
            &source,
            (end..end).into(),
            "this is not a text file: it has a zero byte",
        );
        return Parsed {
            source,
            text: None,
            problems: vec![problem],
            whole: false,
        };
    }
    match String::from_utf8(bytes) {
        Ok(text) => parse(&Source::new(path, text), Vec::new()),
        Err(error) => parse_invalid_utf8(path, error.as_bytes()),
    }
}

/// Says where the text is not UTF-8, and reads the rest, unless it is no text at all.
fn parse_invalid_utf8(path: &Path, bytes: &[u8]) -> Parsed {
    const A_FEW: usize = 20;
    let mut places = Vec::new();
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            let start = text.len();
            text.push(char::REPLACEMENT_CHARACTER);
            places.push((start..text.len(), chunk.invalid().to_vec()));
        }
        if places.len() > A_FEW {
            break;
        }
    }
    let source = Source::new(path, text);
    let no_text = places.len() > A_FEW;
    if no_text {
        places.truncate(1);
    }
    let damage = places.into_iter().map(|(range, invalid)| {
        let message = match invalid.as_slice() {
            [byte] => format!("the byte 0x{byte:02x} is not UTF-8"),
            _ => "these bytes are not UTF-8".to_owned(),
        };
        Problem::error(&source, range.into(), message)
            .expected("text in UTF-8")
            .help("save the file in UTF-8")
    });
    let damage = damage.collect();
    if no_text {
        return Parsed {
            source,
            text: None,
            problems: damage,
            whole: false,
        };
    }
    parse(&source, damage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Instant;

    const SERVICE: &str =
        "[services.a]\nvips = ['10.96.0.1']\nports = [80]\nendpoints = ['10.0.0.1']\n";

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("mesh.toml");
        (folder, main)
    }

    fn load(main: &Path) -> Loaded {
        Loader::new(main).load(&Host::default())
    }

    #[track_caller]
    fn only_error(main: &Path) -> Problem {
        let loaded = load(main);
        assert!(loaded.present && loaded.mesh.is_none());
        let errors = loaded.problems.only(Severity::Error);
        assert_eq!(errors.len(), 1, "{}", loaded.problems.render(false));
        errors.iter().next().unwrap().clone()
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
        assert!(
            loaded.problems.is_empty(),
            "{}",
            loaded.problems.render(false)
        );
        assert_eq!(loaded.files, [folder.join("a.toml"), folder.join("b.toml")]);
        assert_eq!(loaded.mesh.unwrap().services.len(), 2);

        // systemd's way to mask a file.
        symlink("/dev/null", folder.join("c.toml")).unwrap();
        let loaded = load(&main);
        assert_eq!(loaded.problems.summary(), "1 warning");
        assert!(loaded.mesh.is_some());
    }

    #[test]
    fn a_reload_sees_every_kind_of_change() {
        let (_folder, main) = folder();
        let mut loader = Loader::new(&main);
        let host = Host::default();
        let mut address = |loader: &mut Loader| {
            let mesh = loader.load(&host).mesh.unwrap();
            mesh.backends.keys().next().copied().unwrap().to_string()
        };
        // As fast as possible and of the same size, so that the times may be the same.
        for last in 1..=9 {
            let ip = format!("10.0.0.{last}");
            fs::write(&main, SERVICE.replace("10.0.0.1", &ip)).unwrap();
            assert_eq!(address(&mut loader), ip);
        }
        let other = main.with_file_name("other");
        fs::write(&other, SERVICE).unwrap();
        fs::rename(&other, &main).unwrap();
        assert_eq!(address(&mut loader), "10.0.0.1");
        fs::remove_file(&main).unwrap();
        assert!(!loader.load(&host).present);
        fs::write(&main, SERVICE).unwrap();
        assert_eq!(address(&mut loader), "10.0.0.1");
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

    #[test]
    #[ignore = "measures; run in release with --nocapture"]
    fn measure() {
        let host = Host::default();
        let services = large();
        let (_one, main) = folder();
        fs::write(&main, services.concat()).unwrap();
        for _ in 0..3 {
            let start = Instant::now();
            let loaded = load(&main);
            println!(
                "one file of {} bytes: {:?}",
                services.concat().len(),
                start.elapsed()
            );
            assert_eq!(loaded.mesh.unwrap().backends.len(), 100_000);
        }

        let (_many, main) = folder();
        let drop_ins = main.with_file_name("mesh.d");
        fs::create_dir(&drop_ins).unwrap();
        for (index, text) in services.iter().enumerate() {
            fs::write(drop_ins.join(format!("{index:04}.toml")), text).unwrap();
        }
        let mut loader = Loader::new(&main);
        for (round, pause) in [0, 0, 100, 100, 100].into_iter().enumerate() {
            std::thread::sleep(std::time::Duration::from_millis(pause));
            let changed = services[500].replace("weight = 3", &format!("weight = {round}"));
            fs::write(drop_ins.join("0500.toml"), changed).unwrap();
            let start = Instant::now();
            let loaded = loader.load(&host);
            println!("a thousand drop-ins, round {round}: {:?}", start.elapsed());
            assert!(loaded.mesh.is_some());
        }
    }
}
