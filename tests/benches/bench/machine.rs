//! The machine, and how much of it is used.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::io;

/// Where the figures come from.
pub struct Machine {
    kernel: String,
    processor: String,
    cores: usize,
    quick: bool,
}

impl Machine {
    pub fn read(quick: bool) -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = text("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned());
        Self {
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            quick,
        }
    }

    /// Processes that wanted to run in the last minute: the noise of the others.
    fn load() -> f64 {
        let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let first = text.split(' ').next().and_then(|load| load.parse().ok());
        first.unwrap_or_default()
    }

    pub fn print(&self) {
        println!(
            "Linux {}, {}, {} cores, load {:.1}{}",
            self.kernel,
            self.processor,
            self.cores,
            Self::load(),
            if self.quick { ", quick" } else { "" }
        );
    }

    pub fn json(&self) -> Value {
        json!({
            "kernel": self.kernel,
            "processor": self.processor,
            "cores": self.cores,
            "load": Self::load(),
            "quick": self.quick,
        })
    }
}

/// The calling thread, and what it starts, stays on one core until this is dropped: wake-ups across
/// cores would be most of what is measured.
pub struct OneCore {
    _first: First,
}

impl OneCore {
    pub fn pin() -> io::Result<Self> {
        let (_, one) = split(&sched_getaffinity(THIS)?)?;
        Ok(Self {
            _first: First::on(&one)?,
        })
    }
}

/// The calling thread, and what it starts, stays off one core until this is dropped. Where there is
/// only one, nothing is kept apart.
pub struct SpareCore {
    spare: CpuSet,
    _first: First,
}

impl SpareCore {
    pub fn keep() -> io::Result<Self> {
        let (others, spare) = split(&sched_getaffinity(THIS)?)?;
        Ok(Self {
            spare,
            _first: First::on(&others)?,
        })
    }

    pub fn spare(&self) -> CpuSet {
        self.spare
    }
}

/// Cores for a server, and others for those who ask it. The only one is both.
pub struct Apart {
    pub one: CpuSet,
    pub others: CpuSet,
}

impl Apart {
    pub fn find() -> io::Result<Self> {
        let (others, one) = split(&sched_getaffinity(THIS)?)?;
        Ok(Self { one, others })
    }
}

/// What is started meanwhile stays on these cores.
pub fn on<T>(cores: &CpuSet, start: impl FnOnce() -> T) -> io::Result<T> {
    let before = sched_getaffinity(THIS)?;
    stay_on(cores)?;
    let started = start();
    stay_on(&before)?;
    Ok(started)
}

/// The calling thread, and what it starts, stays on some cores until this is dropped, and goes
/// before everything else there where that is allowed.
struct First {
    cores: CpuSet,
    schedule: (libc::c_int, libc::sched_param),
}

impl First {
    fn on(cores: &CpuSet) -> io::Result<Self> {
        let before = Self {
            cores: sched_getaffinity(THIS)?,
            schedule: schedule()?,
        };
        stay_on(cores)?;
        let first = libc::sched_param { sched_priority: 1 };
        if let Err(error) = set_schedule((libc::SCHED_FIFO, first)) {
            println!("not before other processes: {error}");
        }
        Ok(before)
    }
}

impl Drop for First {
    fn drop(&mut self) {
        let normal = set_schedule(self.schedule);
        let anywhere = stay_on(&self.cores);
        for error in [normal, anywhere].into_iter().filter_map(Result::err) {
            eprintln!("cannot go back to all cores: {error}");
        }
    }
}

/// The calling thread runs nowhere else.
pub fn stay_on(cores: &CpuSet) -> io::Result<()> {
    Ok(sched_setaffinity(THIS, cores)?)
}

/// The last of these cores, as interrupts tend to go to the first, and before it the others. The
/// only one is both.
fn split(cores: &CpuSet) -> io::Result<(CpuSet, CpuSet)> {
    let allowed = |core: &usize| cores.is_set(*core).unwrap_or(false);
    let last = (0..CpuSet::count()).rfind(allowed).unwrap_or_default();
    let (mut others, mut one) = (*cores, CpuSet::new());
    one.set(last)?;
    if (0..last).any(|core| allowed(&core)) {
        others.unset(last)?;
    }
    Ok((others, one))
}

fn schedule() -> io::Result<(libc::c_int, libc::sched_param)> {
    let mut parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: concerns the calling thread.
    let policy = unsafe { libc::sched_getscheduler(0) };
    // SAFETY: writes the parameters of the calling thread.
    if policy < 0 || unsafe { libc::sched_getparam(0, &mut parameters) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((policy, parameters))
}

fn set_schedule((policy, parameters): (libc::c_int, libc::sched_param)) -> io::Result<()> {
    // SAFETY: reads the parameters, and concerns the calling thread.
    match unsafe { libc::sched_setscheduler(0, policy, &parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

const THIS: Pid = Pid::from_raw(0);
