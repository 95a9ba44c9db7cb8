//! DNS: the names of the mesh are answered at the addresses of `[dns] listen`, and all other questions are passed on.
//!
//! In: duties, and the zone, which is asked for by itself. Out: answers, and reports. A thread of its own answers, out of
//! memory, so that nothing else that the agent does holds an answer up, and the other way round; there is none before there is
//! something to listen at. It is given orders, and its state is its own.

mod cache;
mod counts;
mod exchange;
mod follow;
mod forward;
mod listeners;
mod pulse;
mod server;
mod tcp;
mod udp;
mod upstreams;
mod watch;

use super::ask;
use crate::api::{DnsReport, Duties, QueriesReport, Serving, Zone};
use crate::control::Client;
use crate::dns::Tree;
use log::{debug, error};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::watch::Receiver;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};

/// Between reports, if there is nothing new.
const REPORT: Duration = Duration::from_secs(30);
/// The same where questions are captured, with [`BATCH`]: that ends when the daemon has heard nothing for three seconds.
const HEARTBEAT: Duration = Duration::from_millis(600);
/// What is new within this time is one report.
const BATCH: Duration = Duration::from_millis(200);
/// Before something that failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What the thread that answers is told.
pub enum Order {
    /// How to serve; none: not at all.
    Serve(Option<Serving>),
    /// All names.
    Whole(Box<Tree>),
    /// Names that are other than before.
    Difference(Zone),
    /// Where each question is told from now on, if anywhere.
    Watch(Option<watch::Watch>),
    /// How things are is to be told.
    Tell(oneshot::Sender<DnsReport>),
}

/// Serves as the newest of `duties` says, until nobody can give others. `conf` says whom the host asks.
pub async fn run(mut duties: Receiver<Arc<Duties>>, daemon: Arc<Client>, conf: PathBuf) {
    loop {
        // Nothing is made before somebody wants it.
        let is_wanted = |duties: &Arc<Duties>| duties.dns.is_some();
        if duties.wait_for(is_wanted).await.is_err() {
            return;
        }
        let news = Arc::new(Notify::new());
        match begin(conf.clone(), Arc::clone(&news)) {
            Ok(orders) => tokio::select! {
                () = orders.closed() => {}
                () = tell_duties(duties.clone(), orders.clone()) => {}
                () = follow::follow(duties.clone(), Arc::clone(&daemon), orders.clone()) => {}
                () = report(duties.clone(), Arc::clone(&daemon), orders.clone(), news) => {}
                () = tell_queries(duties.clone(), Arc::clone(&daemon), orders.clone()) => {}
            },
            Err(error) => {
                error!(error:%; "cannot start the thread that answers DNS");
                sleep(PAUSE).await;
                continue;
            }
        }
        if duties.has_changed().is_err() {
            return;
        }
        // A panic has been logged.
        error!("the thread that answers DNS has ended, and is started anew");
        sleep(PAUSE).await;
    }
}

fn begin(conf: PathBuf, news: Arc<Notify>) -> io::Result<UnboundedSender<Order>> {
    let (orders, waiting) = mpsc::unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new().name("dns".into()).spawn(move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, serve(waiting, news, conf));
    })?;
    Ok(orders)
}

/// Does as it is told until nobody tells it anything.
async fn serve(mut orders: UnboundedReceiver<Order>, news: Arc<Notify>, conf: PathBuf) {
    let mut listeners = listeners::Listeners::new(server::Server::new(conf, news));
    while let Some(order) = orders.recv().await {
        match order {
            Order::Serve(serving) => listeners.serve(serving).await,
            Order::Whole(tree) => listeners.whole(tree).await,
            Order::Difference(zone) => listeners.server().change(zone),
            Order::Watch(watch) => listeners.server().watch(watch),
            Order::Tell(reply) => drop(reply.send(listeners.report())),
        }
    }
}

/// Comes back when the thread has ended.
async fn tell_duties(mut duties: Receiver<Arc<Duties>>, orders: UnboundedSender<Order>) {
    let mut told = None;
    duties.mark_changed();
    while duties.changed().await.is_ok() {
        let serving = duties.borrow_and_update().dns.clone();
        if told.as_ref() != Some(&serving) {
            told = Some(serving.clone());
            if orders.send(Order::Serve(serving)).is_err() {
                return;
            }
        }
    }
}

/// Tells the daemon what is asked, while somebody there wants to know.
async fn tell_queries(
    mut duties: Receiver<Arc<Duties>>,
    daemon: Arc<Client>,
    orders: UnboundedSender<Order>,
) {
    let is_wanted = |duties: &Arc<Duties>| duties.dns.as_ref().is_some_and(|dns| dns.trace);
    while duties.wait_for(is_wanted).await.is_ok() {
        let (watch, watched) = watch::watch();
        if orders.send(Order::Watch(Some(watch))).is_err() {
            return;
        }
        tokio::select! {
            _ = duties.wait_for(|duties| !is_wanted(duties)) => {}
            () = send_queries(watched, &daemon, &orders) => {}
        }
        if orders.send(Order::Watch(None)).is_err() {
            return;
        }
    }
}

/// Sends reports until the thread that answers has ended.
async fn send_queries(
    mut watched: watch::Watched,
    daemon: &Client,
    orders: &UnboundedSender<Order>,
) {
    // It has begun to watch when it has answered.
    let (reply, told) = oneshot::channel();
    if orders.send(Order::Tell(reply)).is_err() || told.await.is_err() {
        return;
    }
    let mut report = QueriesReport::default();
    loop {
        if let Err(error) = ask::tell_queries(daemon, &report).await {
            debug!(
                "cannot tell the daemon what is asked: {}",
                crate::log::chain(&error)
            );
            watched.lose(&report);
            sleep(PAUSE).await;
        }
        match watched.report().await {
            Some(next) => report = next,
            None => return,
        }
    }
}

/// Tells the daemon how things are, whenever something is new, and now and then. What is told is what the thread that answers
/// says, so nothing is told while that one hangs.
async fn report(
    duties: Receiver<Arc<Duties>>,
    daemon: Arc<Client>,
    orders: UnboundedSender<Order>,
    news: Arc<Notify>,
) {
    loop {
        let captures = |duties: &Duties| duties.dns.as_ref().is_some_and(|dns| dns.capture);
        let pause = match captures(&duties.borrow()) {
            true => HEARTBEAT,
            false => REPORT,
        };
        // The time is up, or there is something to tell.
        let _ = timeout(pause, news.notified()).await;
        sleep(BATCH).await;
        let (reply, told) = oneshot::channel();
        if orders.send(Order::Tell(reply)).is_err() {
            return;
        }
        let Ok(report) = told.await else {
            return;
        };
        if let Err(error) = ask::tell_dns(&daemon, &report).await {
            // The next one tells the same.
            debug!("cannot report to the daemon: {}", crate::log::chain(&error));
            sleep(PAUSE).await;
            news.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
