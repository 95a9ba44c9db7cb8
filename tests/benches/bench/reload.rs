//! From save to kernel: the daemon over 1,000 services of 100 endpoints, in one file and as 1,000
//! drop-ins.
//!
//! The end of a change is seen from outside, by the first connect that lands where the new file
//! says: one more service has a single endpoint, which moves between two addresses.

use crate::mesh::{self, LARGE};
use crate::process::{Finished, Process};
use crate::report::{Goal, Report, Row, Unit};
use crate::rounds::quantile;
use crate::{Effort, Error};
use kmesh_lite_tests::cgroup::Cgroup;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fmt::Write;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where the daemon's file has everything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    OneFile,
    DropIns,
}

const PATIENCE: Duration = Duration::from_secs(30);
/// Until everything that follows a change is done.
const AFTER: Duration = Duration::from_millis(500);
/// Between two looks at the kernel.
const PAUSE: Duration = Duration::from_micros(200);

pub fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    report.begin("1,000 x 100, from save to kernel");
    let Some(program) = program() else {
        report.skip("the daemon", "no kmesh-lite is built beside this program");
        return Ok(());
    };
    let changes = effort.pick(2, 7);
    for (layout, name, goal) in [
        (Layout::OneFile, "one file", 60.0),
        (Layout::DropIns, "1,000 drop-ins", 20.0),
    ] {
        match Run::new(&program, layout).and_then(|run| run.measure(changes)) {
            Ok(figures) => report.add(figures.rows(name, goal)),
            Err(error) => report.skip(name, error),
        }
    }
    match haproxy() {
        Ok(rows) => report.add(rows),
        Err(error) => report.skip("HAProxy", error),
    }
    Ok(())
}

/// The daemon of the same build: this program is in `deps/` beside it.
fn program() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let program = own.parent()?.parent()?.join("kmesh-lite");
    program.exists().then_some(program)
}

/// A daemon, and somebody who tells where its mesh leads.
struct Run {
    program: PathBuf,
    layout: Layout,
    folder: TempDir,
    cgroup: Cgroup,
    listener: TcpListener,
}

struct Figures {
    start: f64,
    start_peak: f64,
    change: f64,
    /// Of processors, for all that a change leads to.
    change_processor: f64,
    change_peak: f64,
}

/// Service of one endpoint. Its address is of loopback: before it is caught, a connect to it does
/// not leave the host.
const PROBE: &str = "probe";
const PROBE_VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 96, 0, 1), 5380);
const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

impl Run {
    fn new(program: &Path, layout: Layout) -> Result<Self, Error> {
        let run = Self {
            program: program.to_owned(),
            layout,
            folder: tempfile::tempdir()?,
            cgroup: Cgroup::new("reload")?,
            listener: TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?,
        };
        let target = run.target()?;
        // All rows, and one more.
        let mut head = "[limits]\nendpoints = 110000\nbackends = 110000\n\n".to_owned();
        if layout == Layout::DropIns {
            let folder = run.file().with_file_name("mesh.d");
            fs::create_dir(&folder)?;
            for number in 0..LARGE.services {
                let file = folder.join(format!("{}.toml", mesh::name(number)));
                fs::write(file, numbered(number, target))?;
            }
        } else {
            for number in 0..LARGE.services {
                head += &numbered(number, target);
            }
        }
        if layout == Layout::DropIns {
            fs::write(run.file(), &head)?;
        } else {
            fs::write(run.folder.path().join("head"), &head)?;
        }
        run.save(HERE)?;
        Ok(run)
    }

    fn target(&self) -> Result<u16, Error> {
        Ok(self.listener.local_addr()?.port())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("mesh.toml")
    }

    /// Writes a file with the endpoint elsewhere, and gives the moment before it takes the place of
    /// the old one.
    fn save(&self, endpoint: Ipv4Addr) -> Result<Instant, Error> {
        let probe = service(PROBE, PROBE_VIP, self.target()?, [endpoint]);
        let (text, file) = match self.layout {
            Layout::OneFile => {
                let head = fs::read_to_string(self.folder.path().join("head"))?;
                (head + &probe, self.file())
            }
            Layout::DropIns => {
                let folder = self.file().with_file_name("mesh.d");
                (probe, folder.join("probe.toml"))
            }
        };
        let new = self.folder.path().join("new");
        fs::write(&new, text)?;
        let begin = Instant::now();
        fs::rename(new, file)?;
        Ok(begin)
    }

    fn measure(&self, changes: usize) -> Result<Figures, Error> {
        let log = self.folder.path().join("log");
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--config").arg(self.file());
        command.arg("--cgroup").arg(self.cgroup.path());
        command
            .arg("--socket")
            .arg(self.folder.path().join("control.sock"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&log)?);
        let begin = Instant::now();
        let mut daemon = Process::start(&mut command)?;
        let say = |error: Error| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            format!("{error}; the daemon said: {}", log.trim())
        };
        let start = self.arrival(&mut daemon, HERE, begin).map_err(say)?;
        let start_peak = daemon.peak()?;
        let mut durations = Vec::new();
        daemon.forget_peak()?;
        let processor = daemon.processor_time()?;
        for change in 0..changes {
            // Whatever follows a change is over, and does not count for the next.
            std::thread::sleep(AFTER);
            let endpoint = if change % 2 == 0 { THERE } else { HERE };
            let begin = self.save(endpoint)?;
            durations.push(self.arrival(&mut daemon, endpoint, begin).map_err(say)?);
        }
        std::thread::sleep(AFTER);
        let processor = daemon.processor_time()? - processor;
        Ok(Figures {
            start,
            change_processor: processor / changes as f64,
            start_peak,
            change: quantile(&durations, 0.5),
            change_peak: daemon.peak()?,
        })
    }

    /// Milliseconds from `begin` until a connect ends up at `endpoint`.
    fn arrival(
        &self,
        daemon: &mut Process,
        endpoint: Ipv4Addr,
        begin: Instant,
    ) -> Result<f64, Error> {
        let _inside = self.cgroup.enter()?;
        loop {
            let landed = self.landed()?;
            let duration = begin.elapsed();
            if landed == Some(endpoint) {
                return Ok(duration.as_secs_f64() * 1e3);
            }
            if let Some(status) = daemon.child().try_wait()? {
                return Err(format!("it ended: {status}").into());
            }
            if duration > PATIENCE {
                return Err(format!("not there after {PATIENCE:?}").into());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Where a connect to the service ends up, if anywhere.
    fn landed(&self) -> Result<Option<Ipv4Addr>, Error> {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        client.set_linger(Some(Duration::ZERO))?;
        if client.connect(&SockAddr::from(PROBE_VIP)).is_err() {
            return Ok(None);
        }
        let (server, _) = self.listener.accept()?;
        match server.local_addr()?.ip() {
            std::net::IpAddr::V4(address) => Ok(Some(address)),
            std::net::IpAddr::V6(_) => Ok(None),
        }
    }
}

impl Figures {
    fn rows(&self, name: &str, goal: f64) -> Vec<Row> {
        let row = |what, unit, value, goal| Row::alone(name, what, unit, value, goal);
        vec![
            row("cold start", Unit::Milliseconds, self.start, Goal::None),
            row(
                "cold start, peak memory",
                Unit::Megabytes,
                self.start_peak,
                Goal::None,
            ),
            row(
                "one endpoint changes",
                Unit::Milliseconds,
                self.change,
                Goal::Value(goal),
            ),
            row(
                "one endpoint changes, processor time",
                Unit::Milliseconds,
                self.change_processor,
                Goal::None,
            ),
            row(
                "one endpoint changes, peak memory",
                Unit::Megabytes,
                self.change_peak,
                Goal::None,
            ),
        ]
    }
}

fn numbered(number: u32, target: u16) -> String {
    let addresses = LARGE.addresses(number);
    service(&mesh::name(number), mesh::vip(number), target, addresses)
}

/// A service in the words of the file.
fn service(
    name: &str,
    vip: SocketAddrV4,
    target: u16,
    addresses: impl IntoIterator<Item = Ipv4Addr>,
) -> String {
    let mut text = format!(
        "[services.{name}]\nvips = [\"{}\"]\nports = [\"{}:{target}\"]\nendpoints = [\n",
        vip.ip(),
        vip.port(),
    );
    for address in addresses {
        let _ = writeln!(text, "  \"{address}\",");
    }
    text + "]\n\n"
}

/// HAProxy over the same mesh: what it does before every reload.
fn haproxy() -> Result<Vec<Row>, Error> {
    let mut text =
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n"
            .to_owned();
    for number in 0..LARGE.services {
        writeln!(
            text,
            "listen {}\n bind {}",
            mesh::name(number),
            mesh::vip(number)
        )?;
        for (index, address) in LARGE.addresses(number).enumerate() {
            writeln!(text, " server s{index} {address}:8080")?;
        }
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("haproxy.cfg");
    fs::write(&file, text)?;
    let mut command = Command::new("haproxy");
    command.arg("-c").arg("-f").arg(&file);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let begin = Instant::now();
    let Finished { success, peak } = Process::start(&mut command)?.finish()?;
    let duration = begin.elapsed().as_secs_f64() * 1e3;
    if !success {
        return Err("it refuses the configuration".into());
    }
    let row = |what, unit, value| Row::alone("HAProxy", what, unit, value, Goal::None);
    Ok(vec![
        row("checks the same mesh", Unit::Milliseconds, duration),
        row("checks the same mesh, peak memory", Unit::Megabytes, peak),
    ])
}
