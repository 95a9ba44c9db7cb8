//! Processes that end with this one, whatever ends it.

use nix::sys::prctl;
use nix::sys::signal::Signal;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// A child; killed when dropped.
pub struct Process {
    child: Child,
    waited_for: bool,
}

impl Process {
    pub fn start(command: &mut Command) -> io::Result<Self> {
        // SAFETY: between fork and exec only a system call is made.
        unsafe {
            command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?));
        }
        Ok(Self {
            child: command.spawn()?,
            waited_for: false,
        })
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The most memory that it ever had, in megabytes.
    pub fn peak(&self) -> io::Result<f64> {
        megabytes(&format!("/proc/{}/status", self.child.id()), "VmHWM:")
    }

    /// The memory that it has now, in megabytes.
    pub fn memory(&self) -> io::Result<f64> {
        megabytes(&format!("/proc/{}/status", self.child.id()), "VmRSS:")
    }

    /// What it and its threads have used of processors, in milliseconds.
    pub fn processor_time(&self) -> io::Result<f64> {
        let mut nanoseconds = 0.0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // Time on a processor, in nanoseconds, is the first number there.
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let first = text.split(' ').next();
            nanoseconds += first.and_then(|time| time.parse().ok()).unwrap_or(0.0);
        }
        Ok(nanoseconds / 1e6)
    }

    /// Lets the most memory be counted anew.
    pub fn forget_peak(&self) -> io::Result<()> {
        // proc_pid_clear_refs(5)
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")
    }

    /// Waits for its end.
    pub fn finish(mut self) -> io::Result<Finished> {
        let pid = self.child.id() as libc::pid_t;
        let mut status = 0;
        // SAFETY: plain data, for which zeroes are valid.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: a child of ours that nobody has waited for, and places for the answer.
        if unsafe { libc::wait4(pid, &mut status, 0, &mut usage) } != pid {
            return Err(io::Error::last_os_error());
        }
        self.waited_for = true;
        Ok(Finished {
            success: libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
            peak: usage.ru_maxrss as f64 * 1024.0 / 1e6,
        })
    }
}

/// How a process ended.
pub struct Finished {
    pub success: bool,
    /// The most memory that it ever had, in megabytes; at least what this process had when it
    /// started it.
    pub peak: f64,
}

fn megabytes(path: &str, field: &str) -> io::Result<f64> {
    let text = std::fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    let kilobytes = kilobytes.ok_or_else(|| io::Error::other(format!("no {field} in {path}")))?;
    Ok(kilobytes * 1024.0 / 1e6)
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already; a pid that was waited for is not ours any more.
        if !self.waited_for {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
