//! Servers that know the same names: the agent of a mesh, dnsmasq and unbound.

use crate::Error;
use crate::machine::on;
use crate::names::{NAMES, named};
use crate::process::Process;
use crate::saved::program;
use kmesh_lite_tests::cgroup::Cgroup;
use nix::sched::CpuSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);
/// Before a question is asked again.
const PAUSE: Duration = Duration::from_millis(2);

/// One that answers. Gone when dropped.
pub struct Responder {
    pub name: &'static str,
    pub at: SocketAddr,
    /// From its start to the first answer, in milliseconds.
    pub start: f64,
    process: Process,
    /// What it reads and says.
    _folder: TempDir,
}

impl Responder {
    pub fn dnsmasq(core: &CpuSet) -> Result<Self, Error> {
        let (folder, at) = (tempfile::tempdir()?, free()?);
        let mut hosts = String::new();
        for (name, address) in (0..NAMES).map(named) {
            writeln!(hosts, "{address} {name}")?;
        }
        let file = folder.path().join("hosts");
        fs::write(&file, hosts)?;
        let mut command = Command::new("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
        ]);
        command.args([
            "--bind-interfaces",
            "--listen-address=127.0.0.1",
            "--user=root",
            "--pid-file=",
        ]);
        command.arg(format!("--port={}", at.port()));
        command.arg(format!("--addn-hosts={}", file.display()));
        Self::start("dnsmasq", command, at, core, folder)
    }

    pub fn unbound(core: &CpuSet) -> Result<Self, Error> {
        let program = unbound().ok_or("no unbound is installed or unpacked: `make setup-bench`")?;
        let (folder, at) = (tempfile::tempdir()?, free()?);
        let mut text = format!(
            "server:\n num-threads: 1\n interface: {}@{}\n do-daemonize: no\n chroot: \"\"\n directory: \"\"\n username: \"\"\n \
             pidfile: \"\"\n use-syslog: no\n verbosity: 0\n module-config: \"iterator\"\n\
             remote-control:\n control-enable: no\n\
             server:\n local-zone: \"mesh.\" static\n",
            at.ip(),
            at.port()
        );
        for (name, address) in (0..NAMES).map(named) {
            writeln!(text, " local-data: \"{name}. 5 A {address}\"")?;
        }
        let file = folder.path().join("unbound.conf");
        fs::write(&file, text)?;
        let mut command = program.command();
        command.arg("-d").arg("-c").arg(file);
        Self::start("unbound", command, at, core, folder)
    }

    /// Returns when it answers for the last of the names.
    fn start(
        name: &'static str,
        mut command: Command,
        at: SocketAddr,
        core: &CpuSet,
        folder: TempDir,
    ) -> Result<Self, Error> {
        let log = folder.path().join("log");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&log)?);
        let begin = Instant::now();
        let process = on(core, || Process::start(&mut command))?;
        let mut process = process.map_err(|error| format!("cannot run {name}: {error}"))?;
        wait(&mut process, at, &named(NAMES - 1).0)
            .map_err(|error| format!("{name}: {error}: {}", said(&log)))?;
        Ok(Self {
            name,
            at,
            start: begin.elapsed().as_secs_f64() * 1e3,
            process,
            _folder: folder,
        })
    }

    /// In megabytes, now.
    pub fn memory(&self) -> io::Result<f64> {
        self.process.memory()
    }

    /// In megabytes, the most since [`Self::forget_peak`].
    pub fn peak(&self) -> io::Result<f64> {
        self.process.peak()
    }

    pub fn forget_peak(&self) -> io::Result<()> {
        self.process.forget_peak()
    }
}

/// A daemon with a service for each name, and its agent.
pub struct Mesh {
    pub agent: Responder,
    /// After the agent, which asks it.
    _daemon: Process,
    _cgroup: Cgroup,
    folder: TempDir,
}

impl Mesh {
    pub fn start(core: &CpuSet) -> Result<Self, Error> {
        let program = program().ok_or("no kmesh-lite is built beside this program")?;
        let (folder, at, cgroup) = (tempfile::tempdir()?, free()?, Cgroup::new("names")?);
        let (rows, path) = (NAMES + 1, |name: &str| folder.path().join(name));
        let mut text = format!(
            "[limits]\nservices = {rows}\nendpoints = {rows}\nbackends = {rows}\nfrontends = {rows}\naddresses = {rows}\n\
             [dns]\nlisten = [\"{at}\"]\n"
        );
        for (name, address) in (0..NAMES).map(named) {
            text += &service(&name, address);
        }
        fs::create_dir(path("mesh.d"))?;
        fs::write(path("mesh.toml"), text)?;

        let (socket, log) = (path("control.sock"), path("log"));
        let mut command = Command::new(&program);
        command
            .args(["run", "--no-agent", "--config"])
            .arg(path("mesh.toml"));
        command
            .arg("--cgroup")
            .arg(cgroup.path())
            .arg("--socket")
            .arg(&socket);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&log)?);
        let mut daemon = Process::start(&mut command)?;
        let begin = Instant::now();
        while !socket.exists() {
            if daemon.child().try_wait()?.is_some() || begin.elapsed() > PATIENCE {
                return Err(format!("the daemon does not start: {}", said(&log)).into());
            }
            std::thread::sleep(PAUSE);
        }
        let mut command = Command::new(&program);
        command.arg("agent").arg("--socket").arg(&socket);
        let agent = Responder::start("agent", command, at, core, tempfile::tempdir()?);
        let agent = agent.map_err(|error| format!("{error}; the daemon said: {}", said(&log)))?;
        Ok(Self {
            agent,
            _daemon: daemon,
            _cgroup: cgroup,
            folder,
        })
    }

    /// Saves one more service, and gives the milliseconds until its name is answered for.
    pub fn add_service(&self) -> Result<f64, Error> {
        let (name, address) = named(NAMES);
        let new = self.folder.path().join("new");
        fs::write(&new, service(&name, address))?;
        let begin = Instant::now();
        fs::rename(new, self.folder.path().join("mesh.d/new.toml"))?;
        loop {
            if answers(self.agent.at, &name)? {
                return Ok(begin.elapsed().as_secs_f64() * 1e3);
            }
            if begin.elapsed() > PATIENCE {
                return Err(format!("{name} is not there after {PATIENCE:?}").into());
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// A service in the words of the file. Its name is the first label.
fn service(name: &str, address: Ipv4Addr) -> String {
    let (service, _) = name.split_once('.').unwrap_or((name, ""));
    format!(
        "[services.{service}]\nvips = [\"{address}\"]\nports = [80]\nendpoints = [\"127.0.0.2\"]\n"
    )
}

/// unbound, installed or as `make setup-bench` unpacks it.
struct Unbound {
    program: PathBuf,
    libraries: Option<PathBuf>,
}

impl Unbound {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }
}

fn unbound() -> Option<Unbound> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../bench-servers/root/usr");
    let unpacked = Unbound {
        program: root.join("sbin/unbound"),
        libraries: Some(root.join(format!("lib/{}-linux-gnu", std::env::consts::ARCH))),
    };
    let installed = Unbound {
        program: "/usr/sbin/unbound".into(),
        libraries: None,
    };
    [installed, unpacked]
        .into_iter()
        .find(|it| it.program.exists())
}

fn wait(process: &mut Process, at: SocketAddr, name: &str) -> Result<(), Error> {
    let begin = Instant::now();
    while !answers(at, name)? {
        if let Some(status) = process.child().try_wait()? {
            return Err(format!("it ended: {status}").into());
        }
        if begin.elapsed() > PATIENCE {
            return Err(format!("no answer after {PATIENCE:?}").into());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Whether there is an address for a name.
fn answers(at: SocketAddr, name: &str) -> io::Result<bool> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    // RFC 1035, 4.1: a question with the id 0 that asks for recursion; A is 1, IN as well.
    let mut bytes = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    let mut answer = [0; 512];
    let asked = socket.connect(at).and_then(|()| socket.send(&bytes));
    // Nobody listens yet, or nobody answers: both are a no.
    let Ok(12..) = asked.and_then(|_| socket.recv(&mut answer)) else {
        return Ok(false);
    };
    // No error, and an answer.
    Ok(answer[3] & 0x0f == 0 && u16::from_be_bytes([answer[6], answer[7]]) > 0)
}

/// An address of loopback whose port is free for both transports.
fn free() -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let at = listener.local_addr()?;
    UdpSocket::bind(at)?;
    Ok(at)
}

fn said(log: &Path) -> String {
    fs::read_to_string(log)
        .unwrap_or_default()
        .trim()
        .to_owned()
}
