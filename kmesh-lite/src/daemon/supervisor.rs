//! Telling systemd how it goes.

use log::debug;
use sd_notify::NotifyState;
use std::time::Duration;

/// Whoever started the daemon and wants to know how it is.
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
#[derive(Debug, Default)]
pub struct Systemd;

impl Systemd {
    /// How often systemd wants to hear [`News::Alive`]: half of what it tolerates.
    pub fn watchdog() -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|tolerated| tolerated / 2)
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
