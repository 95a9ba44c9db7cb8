//! A program that says by its exit status whether a target is healthy.
//!
//! It is started without a shell, in a process group of its own, and with nothing of our environment. When it
//! ends, or has to, its group is killed, and after that every process that it left elsewhere: the agent is the
//! reaper of what loses its parent, and knows such processes by a mark in their environment. What remains is a
//! process that left both its group and its environment behind: `TasksMax=` of the unit bounds how many.

mod leftovers;
mod output;

use super::{Deadline, Failed, Seen, seconds};
use crate::agent::rights::give_up_group;
use crate::api::CommandProbe;
use leftovers::Leftovers;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use output::Output;
use std::io::{self, ErrorKind, PipeReader};
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{timeout, timeout_at};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// For a process that was killed to be over. One that waits for a disk is not, and is left to be reaped later.
const END: Duration = Duration::from_secs(1);

/// The same in milliseconds where everybody waits for it.
const MOMENT: usize = 50;

pub use leftovers::Reaping;

pub async fn probe(
    address: SocketAddr,
    command: &CommandProbe,
    reaping: Reaping,
    until: Deadline,
) -> Seen {
    let mut leftovers = Leftovers::new(reaping);
    let (child, output) =
        start(address, command, &leftovers).map_err(|error| cannot_start(&error, command))?;
    let group = Pid::from_raw(child.id().cast_signed());
    leftovers.belong_to(group);
    let mut run = Run {
        group,
        child,
        leftovers,
    };
    let mut output = Output::new(output).map_err(|error| cannot_start(&error, command))?;
    let over = run.over().map_err(|error| cannot_start(&error, command))?;
    let ended = async {
        tokio::select! {
            ended = over.readable() => ended.map(drop),
            never = output.read() => match never {},
        }
    };
    let ended = timeout_at(until.at, ended).await;
    let Ok(ended) = ended else {
        run.kill();
        // Its output closes the pipe only now.
        let _ = timeout(END, over.readable()).await;
        let reason = format!("no end within {}", seconds(until.timeout));
        return Err(output.after(reason));
    };
    ended.map_err(|error| cannot_start(&error, command))?;
    output.rest();
    // While it is a zombie its number is that of no other group.
    run.kill();
    let status = run.child.wait();
    let status = status.map_err(|error| format!("the end of the command is lost: {error}"))?;
    let reason = output.after(words(status));
    if status.success() {
        Ok(reason)
    } else {
        Err(reason)
    }
}

fn start(
    address: SocketAddr,
    command: &CommandProbe,
    leftovers: &Leftovers,
) -> io::Result<(Child, PipeReader)> {
    let (output, writer) = io::pipe()?;
    let mut process = Command::new(&command.program);
    process
        .args(&command.arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("KMESH_LITE_ADDRESS", address.ip().to_string())
        .env("KMESH_LITE_PORT", address.port().to_string())
        .env(leftovers::MARK, leftovers.mark())
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(writer.try_clone()?)
        .stdout(writer)
        .process_group(0);
    // SAFETY: the function only makes system calls, as has to be between fork and exec.
    unsafe {
        process.pre_exec(|| {
            give_up_group()?;
            // Nobody else ends it when the agent is killed in the foreground. After the change of group, which takes it back.
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        });
    }
    Ok((process.spawn()?, output))
}

/// A command that was started. Nothing of it is left when this is dropped.
struct Run {
    child: Child,
    group: Pid,
    leftovers: Leftovers,
}

impl Run {
    /// Becomes readable when the process is over, and does not reap it.
    fn over(&self) -> io::Result<AsyncFd<OwnedFd>> {
        // SAFETY: the call takes two numbers.
        let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, self.group.as_raw(), 0) };
        let opened = i32::try_from(opened).unwrap_or(-1);
        if opened < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor.
        let opened = unsafe { OwnedFd::from_raw_fd(opened) };
        // SAFETY: the descriptor is its own, and open until it is dropped.
        Ok(unsafe { AsyncFd::register_with_interest(opened, Interest::READABLE) }?)
    }

    fn kill(&self) {
        let _ = killpg(self.group, Signal::SIGKILL);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // What has been waited for may have lost its number to somebody else.
        if let Ok(None) = self.child.try_wait() {
            self.kill();
            // What it has started becomes ours only when it is over, which is in a moment.
            for _ in 0..MOMENT {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    break;
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
        self.leftovers.end();
    }
}

fn cannot_start(error: &io::Error, command: &CommandProbe) -> Failed {
    let program = command.program.display();
    match error.kind() {
        // The kernel says the same of a script whose interpreter is missing.
        ErrorKind::NotFound if command.program.exists() => {
            format!("the interpreter of {program} does not exist").into()
        }
        ErrorKind::NotFound => format!("{program} does not exist").into(),
        ErrorKind::PermissionDenied => format!(
            "the agent may not run {program}: it has to be executable, and in `ExecPaths=` of the agent's unit"
        )
        .into(),
        ErrorKind::WouldBlock => format!("cannot start {program}: too many processes").into(),
        _ => format!("cannot start {program}: {}", super::socket::words(error)).into(),
    }
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let name = Signal::try_from(signal).map_or("", Signal::as_str);
            format!("ended by signal {signal} {name}")
                .trim_end()
                .to_owned()
        }
        (None, None) => "ended".to_owned(),
    }
}
