//! An agent as the child of a daemon in the foreground: one command is enough there.

use crate::host::agent_user;
use log::{debug, warn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// This very program, also after its file was replaced.
const PROGRAM: &str = "/proc/self/exe";
/// Before an agent that has ended is started again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What an agent is started with.
#[derive(Clone, Debug)]
pub struct CompanionOptions {
    /// The control socket of the daemon.
    pub socket: PathBuf,
    pub log_level: log::LevelFilter,
}

/// An agent that is started, and started again when it ends, until this is dropped.
pub struct Companion {
    /// Closing it wakes the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Companion {
    pub fn start(options: CompanionOptions) -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let thread = thread::Builder::new()
            .name("agent".to_owned())
            .spawn(move || keep(&options, &stopped))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread: the kernel ends its children with it.
fn keep(options: &CompanionOptions, stopped: &PipeReader) {
    let mut pause = PAUSES.0;
    loop {
        let begun = Instant::now();
        match spawn(options) {
            Ok((mut agent, alive)) => {
                let stops = wait(&[stopped, &alive], PollTimeout::NONE);
                // It may be its end that woke us.
                let _ = agent.kill();
                let status = agent.wait();
                if stops {
                    return;
                }
                match status {
                    Ok(status) => warn!("the agent has ended ({status}) and is started again"),
                    Err(error) => warn!("the agent is lost, and another one is started: {error}"),
                }
            }
            Err(error) => warn!("cannot start the agent, which is tried again: {error}"),
        }
        if begun.elapsed() > PAUSES.1 {
            pause = PAUSES.0;
        }
        let most = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
        if wait(&[stopped], most) {
            return;
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Waits for one of these to be closed. Tells whether the first is.
fn wait(pipes: &[&PipeReader], most: PollTimeout) -> bool {
    let pipes = pipes.iter();
    let mut pipes: Vec<_> = pipes
        .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
        .collect();
    loop {
        match poll(&mut pipes, most) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => {
                debug!("cannot wait for the agent: {errno}");
                return true;
            }
            Ok(_) => return pipes.first().and_then(PollFd::any) == Some(true),
        }
    }
}

/// Starts one, with a pipe that is closed when it ends.
fn spawn(options: &CompanionOptions) -> io::Result<(Child, PipeReader)> {
    let (alive, life) = io::pipe()?;
    let mut command = Command::new(PROGRAM);
    command
        .arg0("kmesh-lite")
        .arg("agent")
        .arg("--socket")
        .arg(&options.socket)
        .args(["--log-level", &options.log_level.as_str().to_lowercase()])
        // Nobody else has it, so it says when the process is over.
        .stdin(Stdio::from(life))
        // What systemd told us is not for it.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC");
    let user = nix::unistd::geteuid().is_root().then(agent_user);
    let group = nix::unistd::getegid().as_raw();
    // SAFETY: the function only makes system calls, as has to be between fork and exec.
    unsafe { command.pre_exec(move || give_up(user, group)) };
    Ok((command.spawn()?, alive))
}

/// Leaves the process no right but to read from the control socket, which is its group's.
fn give_up(user: Option<libc::uid_t>, group: libc::gid_t) -> io::Result<()> {
    // By system call: what glibc would do besides is for processes with threads.
    let done = |result: libc::c_long| {
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    if let Some(user) = user {
        // SAFETY: they take numbers, and no list of groups.
        unsafe {
            done(libc::syscall(
                libc::SYS_setgroups,
                0,
                std::ptr::null::<libc::gid_t>(),
            ))?;
            done(libc::syscall(libc::SYS_setresgid, group, group, group))?;
            done(libc::syscall(libc::SYS_setresuid, user, user, user))?;
        }
    }
    const NOTHING: libc::c_ulong = 0;
    let set = |option, value: libc::c_int| {
        // SAFETY: these options take numbers, as wide as a register.
        let result =
            unsafe { libc::prctl(option, value as libc::c_ulong, NOTHING, NOTHING, NOTHING) };
        done(result.into())
    };
    set(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL)?;
    set(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    // After the change of user, which takes it back.
    set(libc::PR_SET_PDEATHSIG, libc::SIGKILL)
}
