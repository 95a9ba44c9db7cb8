//! One probe: a connection of its own to the address of a target, or a program, and what is seen.

mod command;
mod grpc;
mod http;
mod socket;
mod tcp;
mod tls;

pub use command::Reaping;

use crate::api::{Check, Duties, Probe};
use crate::printable::printable;
use std::borrow::Cow;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tls::Secrets;
use tokio::time::{Instant, timeout_at};

/// Of a reason, in bytes.
const REASON: usize = 200;

/// What a probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub success: bool,
    /// In short plain words.
    pub reason: Cow<'static, str>,
}

/// Who makes probes.
pub trait Probing: Send + 'static {
    /// Other targets than before are going to be probed.
    fn follow(&mut self, duties: &Duties);
    fn probe(
        &self,
        address: SocketAddr,
        check: &Arc<Check>,
    ) -> impl Future<Output = Outcome> + Send + 'static;
}

/// Why a probe fails, in words.
type Failed = Cow<'static, str>;
type Seen = Result<Cow<'static, str>, Failed>;

/// Probes over the network of this host.
pub struct Probes {
    secrets: Arc<Secrets>,
    reaping: Reaping,
}

impl Probes {
    pub fn new(reaping: Reaping) -> Self {
        Self {
            secrets: Arc::default(),
            reaping,
        }
    }
}

impl Probing for Probes {
    fn follow(&mut self, duties: &Duties) {
        self.secrets.follow(duties);
    }

    fn probe(
        &self,
        address: SocketAddr,
        check: &Arc<Check>,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let check = Arc::clone(check);
        let secrets = Arc::clone(&self.secrets);
        let reaping = self.reaping;
        async move {
            let until = Deadline::after(Duration::from_millis(check.timeout));
            // Boxed, because a connect is small, and there are many more of them.
            let seen = match &check.probe {
                Probe::Tcp => tcp::probe(address, check.source, until).await,
                Probe::Http(http) => {
                    Box::pin(http::probe(address, &check, http, &secrets, until)).await
                }
                Probe::Grpc(grpc) => {
                    Box::pin(grpc::probe(address, &check, grpc, &secrets, until)).await
                }
                Probe::Command(command) => {
                    Box::pin(command::probe(address, command, reaping, until)).await
                }
            };
            seen.into()
        }
    }
}

/// When a probe has to be over.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    fn after(timeout: Duration) -> Self {
        Self {
            at: Instant::now() + timeout,
            timeout,
        }
    }

    /// Fails with "no {what} within 1 s" unless `work` is done by then.
    async fn no<T>(self, what: &str, work: impl Future<Output = T>) -> Result<T, Failed> {
        let late = |_| format!("no {what} within {}", seconds(self.timeout)).into();
        timeout_at(self.at, work).await.map_err(late)
    }
}

/// "1 s" or "250 ms".
fn seconds(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis < 1000 => format!("{millis} ms"),
        _ => format!("{} s", duration.as_secs_f64()),
    }
}

impl Outcome {
    pub fn failure(reason: &'static str) -> Self {
        Self {
            success: false,
            reason: reason.into(),
        }
    }

    /// A failure says as well that its probe had to wait.
    pub fn begun_late(mut self, late: Duration) -> Self {
        if !self.success && late >= Duration::from_secs(1) {
            let late = late.as_secs();
            self.reason = format!("{} (its turn came {late} s late)", self.reason).into();
        }
        self
    }
}

impl From<Seen> for Outcome {
    fn from(seen: Seen) -> Self {
        let (success, reason) = match seen {
            Ok(reason) => (true, reason),
            Err(reason) => (false, reason),
        };
        let reason = match reason {
            Cow::Borrowed(_) => reason,
            Cow::Owned(text) => Cow::Owned(printable(&text, REASON)),
        };
        Self { success, reason }
    }
}

#[cfg(test)]
mod tests;
