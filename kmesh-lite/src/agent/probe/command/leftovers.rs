//! Processes that a command left behind.

use crate::agent::rights::AsCommands;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Its value is another one for each run of a command.
pub const MARK: &str = "KMESH_LITE_PROBE";

/// Looks at leftovers, in a row: a process that is killed leaves its children to us.
const LOOKS: usize = 8;
/// For what was killed, in milliseconds: everybody waits meanwhile.
const PATIENCE: usize = 20;

static RUNS: AtomicU64 = AtomicU64::new(0);
/// Processes that somebody else waits for.
static LEADERS: Mutex<BTreeSet<Pid>> = Mutex::new(BTreeSet::new());

/// Whether the processes that lose their parents become our children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaping {
    /// They do, and nobody but commands has any.
    Ours,
    /// They become somebody else's.
    Others,
}

impl Reaping {
    /// Asks for it. There is no way back.
    pub fn begin() -> Self {
        // SAFETY: the option takes numbers.
        let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
        if result == 0 {
            Self::Ours
        } else {
            Self::Others
        }
    }
}

/// What one run of a command leaves.
pub struct Leftovers {
    mark: String,
    reaping: Reaping,
    leader: Option<Pid>,
}

impl Leftovers {
    pub fn new(reaping: Reaping) -> Self {
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        Self {
            mark: format!("{}-{run}", std::process::id()),
            reaping,
            leader: None,
        }
    }

    /// Whoever started that process waits for it, until the end.
    pub fn belong_to(&mut self, leader: Pid) {
        self.leader = Some(leader);
        leaders().insert(leader);
    }

    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Kills what is left, and reaps what is over, also of runs before.
    pub fn end(&self) {
        if let Some(leader) = &self.leader {
            leaders().remove(leader);
        }
        if self.reaping == Reaping::Others {
            return;
        }
        for _ in 0..LOOKS {
            let mut killed = 0;
            for child in children() {
                if self.is_of_run(child) {
                    killed += usize::from(kill(child, Signal::SIGKILL).is_ok());
                }
            }
            if killed == 0 {
                break;
            }
            // They are over soon, and their children are ours after that.
            std::thread::yield_now();
        }
        // What was killed is over in a moment. What takes longer is reaped after the next run.
        for _ in 0..PATIENCE {
            if !reap() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_of_run(&self, process: Pid) -> bool {
        let _as_commands = AsCommands::begin();
        // Nothing is readable of one that is over.
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let mark = format!("{MARK}={}", self.mark);
        environment
            .split(|byte| *byte == 0)
            .any(|it| it == mark.as_bytes())
    }
}

/// Reaps what is over. Tells whether somebody is left who is not waited for otherwise.
fn reap() -> bool {
    let leaders = leaders().clone();
    let others = children().into_iter().filter(|it| !leaders.contains(it));
    let reaped = others.map(|it| waitpid(it, Some(WaitPidFlag::WNOHANG)));
    reaped
        .filter(|it| matches!(it, Ok(WaitStatus::StillAlive)))
        .count()
        > 0
}

fn leaders() -> MutexGuard<'static, BTreeSet<Pid>> {
    LEADERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The children of this process. A kernel without CONFIG_PROC_CHILDREN does not tell.
fn children() -> Vec<Pid> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
    let lists = threads.flatten().map(|thread| {
        let list = fs::read_to_string(thread.path().join("children"));
        list.unwrap_or_default()
    });
    let of_list = |list: String| {
        let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
        pids.map(Pid::from_raw).collect::<Vec<_>>()
    };
    lists.flat_map(of_list).collect()
}
