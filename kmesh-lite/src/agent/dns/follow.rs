//! The names of the mesh, as the daemon tells them: all of them once, and then what is other than before.

use super::Order;
use crate::agent::ask;
use crate::api::{Duties, Zone};
use crate::control::Client;
use crate::dns::Tree;
use crate::memory::give_back;
use log::{debug, warn};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Before the daemon is asked again after it did not answer: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// What an answer of the daemon comes to.
enum Told {
    Whole(Box<Tree>),
    Difference(Zone),
}

/// Gives names on to who answers, until that one has ended. While the daemon is away, the last ones count.
pub async fn follow(
    mut duties: watch::Receiver<Arc<Duties>>,
    daemon: Arc<Client>,
    orders: UnboundedSender<Order>,
) {
    let (mut known, mut pause) = (None, PAUSES.0);
    while duties.wait_for(|duties| duties.dns.is_some()).await.is_ok() {
        let text = match ask::zone(&daemon, known).await {
            Ok(text) => text,
            Err(error) => {
                debug!("the daemon tells no names: {}", crate::log::chain(&error));
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
                continue;
            }
        };
        // There may be a million names: this thread has other things to do meanwhile.
        let told = match spawn_blocking(move || read(text)).await {
            Ok(Ok(told)) => told,
            Ok(Err(error)) => {
                warn!("cannot understand the names that the daemon tells: {error}");
                known = None;
                sleep(PAUSES.1).await;
                continue;
            }
            // It ends with the runtime.
            Err(_) => return,
        };
        pause = PAUSES.0;
        let order = match told {
            Told::Whole(tree) => {
                known = Some(tree.revision());
                Order::Whole(tree)
            }
            Told::Difference(zone) if zone.since == known => {
                // The same once more says that the daemon is there.
                if zone.since == Some(zone.revision) {
                    continue;
                }
                known = Some(zone.revision);
                Order::Difference(zone)
            }
            // To something else.
            Told::Difference(_) => {
                known = None;
                continue;
            }
        };
        if orders.send(order).is_err() {
            return;
        }
    }
}

fn read(text: Vec<u8>) -> Result<Told, serde_json::Error> {
    /// What tells a difference.
    #[derive(Deserialize)]
    struct Head {
        since: Option<u64>,
    }

    let head: Head = serde_json::from_slice(&text)?;
    if head.since.is_some() {
        return Ok(Told::Difference(serde_json::from_slice(&text)?));
    }
    // Who answers knows the domain.
    let tree = Tree::read("", &text)?;
    let bytes = text.len();
    drop(text);
    give_back(bytes);
    if tree.left_out() > 0 {
        warn!(
            "{} names of the mesh are no names of DNS, and are not answered",
            tree.left_out()
        );
    }
    Ok(Told::Whole(Box::new(tree)))
}
