//! Telling systemd how it goes.

use crate::kernel::{Descriptors, Store};
use log::{debug, warn};
use sd_notify::NotifyState;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// The supervisor that started the daemon and wants to know how it is.
pub trait Supervisor {
    fn tell(&mut self, news: News<'_>);
}

/// What there is to tell, each with the state in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News<'a> {
    /// Started, or done reloading.
    Ready(&'a str),
    Reloading,
    Status(&'a str),
    Alive,
    Stopping,
}

/// systemd, if it started us; silence otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Systemd;

impl Systemd {
    /// How often systemd wants to hear [`News::Alive`]: half of what it tolerates.
    pub fn watchdog() -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|tolerated| tolerated / 2)
    }

    /// What its store held when it started us (sd_listen_fds_with_names(3)). To be called once.
    pub fn descriptors() -> Descriptors {
        match sd_notify::listen_fds_with_names() {
            // SAFETY: open, and passed to this process, which asks for them once.
            Ok(passed) => passed
                .map(|(fd, name)| (name, unsafe { OwnedFd::from_raw_fd(fd) }))
                .collect(),
            Err(error) => {
                warn!("cannot take over what systemd kept, starting anew: {error}");
                Descriptors::new()
            }
        }
    }
}

/// The file descriptor store of the service (sd_pid_notify_with_fds(3)), which outlives crash and
/// restart, and is emptied when the service stops.
impl Store for Systemd {
    fn keep(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        // systemd drops what it can poll as soon as that hangs up.
        let poll = NotifyState::Custom("FDPOLL=0");
        let state = [NotifyState::FdStore, NotifyState::FdName(name), poll];
        sd_notify::notify_with_fds(&state, &[fd])
    }

    fn release(&self, name: &str) -> io::Result<()> {
        sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)])
    }
}

impl Supervisor for Systemd {
    fn tell(&mut self, news: News<'_>) {
        let sent = match news {
            News::Ready(status) => {
                sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)])
            }
            // Type=notify-reload wants the time with it; Type=notify does not mind.
            News::Reloading => NotifyState::monotonic_usec_now()
                .and_then(|time| sd_notify::notify(&[NotifyState::Reloading, time])),
            News::Status(status) => sd_notify::notify(&[NotifyState::Status(status)]),
            News::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
            News::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        };
        if let Err(error) = sent {
            debug!(error:%; "cannot notify systemd");
        }
    }
}
