//! An agent as the child of a daemon in the foreground: one command is enough there.

use log::{debug, warn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::geteuid;
use std::io::{self, PipeReader, PipeWriter};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// This very program, also after its file was replaced.
const PROGRAM: &str = "/proc/self/exe";
/// Before an agent that has ended is started again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// For an agent to end by itself, in milliseconds.
const END: u16 = 2_000;

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
        if geteuid().is_root()
            && let Some(folder) = closed(&options.socket)
        {
            warn!(
                "the agent runs as another user, who does not get to {}: {} is open to its owner alone; put the socket elsewhere (--socket), or let others pass (chmod o+x)",
                options.socket.display(),
                folder.display()
            );
        }
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

/// The folder above a socket that only its owner can pass.
fn closed(socket: &Path) -> Option<&Path> {
    let is_closed = |folder: &&Path| {
        let mode = std::fs::metadata(folder).map(|it| it.permissions().mode());
        mode.is_ok_and(|mode| mode & 0o011 == 0)
    };
    socket.ancestors().skip(1).find(is_closed)
}

/// The thread.
fn keep(options: &CompanionOptions, stopped: &PipeReader) {
    let mut pause = PAUSES.0;
    loop {
        let begun = Instant::now();
        match spawn(options) {
            Ok((mut agent, leash)) => {
                let stops = wait(&[stopped.as_fd(), leash.as_fd()], PollTimeout::NONE);
                // It may be its end that woke us. Else it ends its commands first, and by itself.
                let _ = leash.shutdown(Shutdown::Write);
                wait(&[leash.as_fd()], PollTimeout::from(END));
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
        if wait(&[stopped.as_fd()], most) {
            return;
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Waits for one of these to be closed. Tells whether the first is.
fn wait(pipes: &[BorrowedFd<'_>], most: PollTimeout) -> bool {
    let pipes = pipes.iter();
    let mut pipes: Vec<_> = pipes
        .map(|pipe| PollFd::new(*pipe, PollFlags::POLLIN))
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

/// Starts one, with the end of a socket that tells each of the two when the other one is over.
fn spawn(options: &CompanionOptions) -> io::Result<(Child, UnixStream)> {
    let (leash, end) = UnixStream::pair()?;
    let mut command = Command::new(PROGRAM);
    command
        .arg0("kmesh-lite")
        .args(["agent", "--child"])
        .arg("--socket")
        .arg(&options.socket)
        .args(["--log-level", &options.log_level.as_str().to_lowercase()])
        // Nobody else has it, so it says when the process is over.
        .stdin(Stdio::from(OwnedFd::from(end)))
        // What systemd told us is not for it.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC");
    // SAFETY: the function only makes system calls, as has to be between fork and exec.
    unsafe { command.pre_exec(keep_nothing) };
    Ok((command.spawn()?, leash))
}

/// Leaves the process no right that outlasts a change of its user, which it makes by itself.
fn keep_nothing() -> io::Result<()> {
    const NOTHING: libc::c_ulong = 0;
    let set = |option, value: libc::c_int| {
        // SAFETY: these options take numbers, as wide as a register.
        match unsafe { libc::prctl(option, value as libc::c_ulong, NOTHING, NOTHING, NOTHING) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    set(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL)?;
    set(libc::PR_SET_NO_NEW_PRIVS, 1)
}
