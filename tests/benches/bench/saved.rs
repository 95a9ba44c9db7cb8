//! A daemon over services of a size that are saved as files, and what it takes from save to kernel.
//!
//! The end of a change is seen from outside, by the first connect that lands where the new file
//! says: one more service has a single endpoint, which moves between two addresses.

use crate::Error;
use crate::mesh::{self, Size};
use crate::process::Process;
use crate::rounds::quantile;
use kmesh_lite::model::Limits;
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
pub enum Layout {
    OneFile,
    DropIns,
}

const PATIENCE: Duration = Duration::from_secs(120);
/// In which a daemon that has nothing to do uses no processor.
const STILL: Duration = Duration::from_millis(500);
/// The most of it that does not count, in milliseconds.
const NEXT_TO_NOTHING: f64 = 5.0;
/// Between two looks at the kernel.
const PAUSE: Duration = Duration::from_micros(200);

/// The daemon of the same build: this program is in `deps/` beside it.
pub fn program() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let program = own.parent()?.parent()?.join("kmesh-lite");
    program.exists().then_some(program)
}

/// A daemon, and somebody who tells where its mesh leads.
pub struct Run {
    program: PathBuf,
    layout: Layout,
    folder: TempDir,
    cgroup: Cgroup,
    listener: TcpListener,
}

/// Milliseconds and megabytes.
pub struct Figures {
    pub start: f64,
    pub start_peak: f64,
    /// Of memory, when nothing happens.
    pub steady: f64,
    pub change: f64,
    /// Of processors, for all that a change leads to.
    pub change_processor: f64,
    pub change_peak: f64,
}

/// Service of one endpoint. Its address is of loopback: before it is caught, a connect to it does
/// not leave the host.
const PROBE: &str = "probe";
const PROBE_VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 96, 0, 1), 5380);
const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

impl Run {
    pub fn new(program: &Path, size: Size, layout: Layout) -> Result<Self, Error> {
        let run = Self {
            program: program.to_owned(),
            layout,
            folder: tempfile::tempdir()?,
            cgroup: Cgroup::new("reload")?,
            listener: TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?,
        };
        let target = run.target()?;
        let mut head = limits(size);
        if layout == Layout::DropIns {
            let folder = run.file().with_file_name("mesh.d");
            fs::create_dir(&folder)?;
            for number in 0..size.services {
                let file = folder.join(format!("{}.toml", mesh::name(number)));
                fs::write(file, numbered(size, number, target))?;
            }
        } else {
            for number in 0..size.services {
                head += &numbered(size, number, target);
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

    pub fn measure(&self, changes: usize) -> Result<Figures, Error> {
        let log = self.folder.path().join("log");
        let mut command = Command::new(&self.program);
        command
            .args(["run", "--no-agent", "--config"])
            .arg(self.file());
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
        still(&daemon)?;
        let steady = daemon.memory()?;
        let mut durations = Vec::new();
        daemon.forget_peak()?;
        let processor = daemon.processor_time()?;
        for change in 0..changes {
            // Whatever follows a change is over, and does not count for the next.
            still(&daemon)?;
            let endpoint = if change % 2 == 0 { THERE } else { HERE };
            let begin = self.save(endpoint)?;
            durations.push(self.arrival(&mut daemon, endpoint, begin).map_err(say)?);
        }
        still(&daemon)?;
        let processor = daemon.processor_time()? - processor;
        Ok(Figures {
            start,
            change_processor: processor / changes as f64,
            start_peak,
            steady,
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

fn numbered(size: Size, number: u32, target: u16) -> String {
    let addresses = size.addresses(number);
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

/// All rows, and one more.
fn limits(size: Size) -> String {
    let rows = size.all() + 1;
    let services = Limits::default().services.max(size.services + 1);
    format!("[limits]\nendpoints = {rows}\nbackends = {rows}\nservices = {services}\n\n")
}

/// Waits until everything that follows a change is done.
fn still(daemon: &Process) -> Result<(), Error> {
    let begin = Instant::now();
    loop {
        let processor = daemon.processor_time()?;
        std::thread::sleep(STILL);
        if daemon.processor_time()? - processor < NEXT_TO_NOTHING {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            return Err("the daemon does not come to rest".into());
        }
    }
}
