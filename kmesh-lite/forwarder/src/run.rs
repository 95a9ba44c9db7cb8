//! The forwarder as a process: threads, signals, and telling systemd.

use crate::allowed::Allowed;
use crate::forwarder::{Ended, Forwarder, ForwarderError, ForwarderOptions, Handle};
use log::{debug, info, warn};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use std::convert::Infallible;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A connection has so many descriptors.
const DESCRIPTORS: u64 = 2;
/// Everything else has fewer descriptors than these.
const OTHER_DESCRIPTORS: u64 = 64;

/// Runs until SIGTERM or SIGINT, and says how many connections were cut. SIGHUP asks `reload` for the
/// destinations that are allowed from now on; with none, nothing changes. SIGUSR1 logs the counters.
pub fn run(
    options: ForwarderOptions,
    allowed: Allowed,
    reload: impl FnMut() -> Option<Allowed>,
) -> Result<Ended, ForwarderError> {
    raise_descriptors(options.limits.connections);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("waypoint")
        .build()
        .map_err(ForwarderError::Runtime)?;
    runtime.block_on(async {
        let signals = Signals::new().map_err(ForwarderError::Signals)?;
        let forwarder = Forwarder::bind(options, allowed)?;
        let handle = forwarder.handle();
        info!(address:% = forwarder.address(); "listening on {}", forwarder.address());
        tell(&[NotifyState::Ready]);
        let ended = tokio::select! {
            ended = forwarder.serve() => ended,
            never = signals.attend(&handle, reload) => match never {},
        };
        if let Ended::Cut(cut) = ended {
            warn!(cut; "{cut} connections were cut");
        }
        info!("stopped: {}", handle.report());
        Ok(ended)
    })
}

struct Signals {
    stop: [Signal; 2],
    reload: Signal,
    report: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            stop: [
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            ],
            reload: signal(SignalKind::hangup())?,
            report: signal(SignalKind::user_defined1())?,
        })
    }

    async fn attend(
        self,
        handle: &Handle,
        mut reload: impl FnMut() -> Option<Allowed>,
    ) -> Infallible {
        let Self {
            stop: [mut terminate, mut interrupt],
            reload: mut hangup,
            mut report,
        } = self;
        let mut stopping = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => stop(handle, &mut stopping),
                _ = interrupt.recv() => stop(handle, &mut stopping),
                _ = hangup.recv() => {
                    if let Ok(now) = NotifyState::monotonic_usec_now() {
                        tell(&[NotifyState::Reloading, now]);
                    }
                    // `reload` reads files. Connections go on meanwhile, on other threads.
                    if let Some(allowed) = tokio::task::block_in_place(&mut reload) {
                        handle.allow(allowed);
                        info!("reloaded what is allowed");
                    }
                    tell(&[NotifyState::Ready]);
                }
                _ = report.recv() => info!("so far: {}", handle.report()),
            }
        }
    }
}

/// Asks for a graceful stop the first time, and for a stop at once after that.
fn stop(handle: &Handle, stopping: &mut bool) {
    if *stopping {
        handle.stop_now();
        return;
    }
    *stopping = true;
    tell(&[NotifyState::Stopping]);
    info!("stopping: no more connections are accepted");
    handle.stop();
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(error:%; "cannot notify systemd");
    }
}

/// Raises the limit of descriptors to the need of the connections, as far as the hard limit goes.
fn raise_descriptors(connections: u32) {
    let need = u64::from(connections) * DESCRIPTORS + OTHER_DESCRIPTORS;
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < need {
            setrlimit(Resource::RLIMIT_NOFILE, need.min(hard), hard)?;
        }
        Ok(hard)
    });
    match raised {
        Ok(hard) if hard < need => warn!(
            need, hard;
            "{connections} connections need {need} descriptors and {hard} are allowed: \
             raise `LimitNOFILE=` of the unit or `ulimit -Hn`, or lower `--max-connections`"
        ),
        Ok(_) => {}
        Err(error) => warn!(error:%; "cannot raise the limit of descriptors: {error}"),
    }
}
