//! Questions over connections (RFC 7766): several on one, each answered as soon as it can be.

use super::server::{Said, Server};
use crate::api::Transport;
use log::debug;
use std::cell::Cell;
use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::{AbortHandle, JoinSet, spawn_local};
use tokio::time::{sleep, timeout};

/// Connections at a time, of one listener.
const CONNECTIONS: usize = 128;
/// Questions of one connection that others are asked, at a time.
const UNDER_WAY: usize = 32;
/// For the next question, and for each piece of it.
const IDLE: Duration = Duration::from_secs(10);
/// For a client that reads nothing of what it is told.
const STALL: Duration = Duration::from_secs(5);

/// A connection, and how many of its questions have no answer yet.
struct Conversation {
    end: AbortHandle,
    under_way: Rc<Cell<usize>>,
}

/// Answers whoever connects.
pub async fn accept(listener: TcpListener, server: Rc<Server>) {
    // They end with the listener.
    let mut connections = JoinSet::new();
    // The oldest first.
    let mut open: VecDeque<Conversation> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                while connections.try_join_next().is_some() {}
                open.retain(|it| !it.end.is_finished());
                if open.len() >= CONNECTIONS && !make_room(&mut open) {
                    // One too many is closed without a word.
                    continue;
                }
                let under_way = Rc::new(Cell::new(0));
                let (server, places) = (Rc::clone(&server), Rc::clone(&under_way));
                let end = connections.spawn_local(converse(stream, client, server, places));
                open.push_back(Conversation { end, under_way });
            }
            Err(error) => {
                // Out of descriptors, or the client has gone: it passes.
                debug!(error:%; "cannot accept a client");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Ends the oldest connection on which nobody waits for an answer (RFC 7766, 6.2.3): a client that holds as many as there may be,
/// and asks nothing, keeps nobody else from asking.
fn make_room(open: &mut VecDeque<Conversation>) -> bool {
    let idle = open.iter().position(|it| it.under_way.get() == 0);
    let idle = idle.and_then(|place| open.remove(place));
    idle.map(|idle| idle.end.abort()).is_some()
}

async fn converse(
    stream: TcpStream,
    client: SocketAddr,
    server: Rc<Server>,
    under_way: Rc<Cell<usize>>,
) {
    // An answer is one write, and nothing comes behind it that it could wait for.
    let _ = stream.set_nodelay(true);
    let (from, to) = stream.into_split();
    let (tell, told) = mpsc::channel(UNDER_WAY);
    let read = async {
        // Its error is the end of the connection, as the client wants it.
        let _ = take(from, client, tell, server, under_way).await;
        // What is still to be said is said.
        pending::<()>().await;
    };
    tokio::select! {
        () = read => {}
        _ = say(to, told) => {}
    }
}

/// Takes questions until the client has no more.
async fn take(
    mut from: OwnedReadHalf,
    client: SocketAddr,
    tell: Sender<Vec<u8>>,
    server: Rc<Server>,
    under_way: Rc<Cell<usize>>,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(UNDER_WAY));
    loop {
        let length = timeout(IDLE, from.read_u16()).await??;
        let mut question = vec![0; usize::from(length)];
        timeout(IDLE, from.read_exact(&mut question)).await??;
        match server.answer(&question, Transport::Tcp, || Some(client)) {
            Said::Bytes(bytes) => {
                if tell.send(bytes).await.is_err() {
                    return Ok(());
                }
            }
            Said::Nothing => return Ok(()),
            Said::Later(later) => {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    return Ok(());
                };
                let (tell, server) = (tell.clone(), Rc::clone(&server));
                under_way.set(under_way.get() + 1);
                let under_way = Rc::clone(&under_way);
                spawn_local(async move {
                    let bytes = server.ask_others(later).await;
                    // The client may have gone.
                    let _ = tell.send(bytes).await;
                    under_way.set(under_way.get() - 1);
                    drop(place);
                });
            }
        }
    }
}

/// Says what there is to say, until there will be no more.
async fn say(mut to: OwnedWriteHalf, mut told: Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(bytes) = told.recv().await {
        // No message is longer.
        let length = bytes.len() as u16;
        let mut whole = Vec::with_capacity(2 + bytes.len());
        whole.extend_from_slice(&length.to_be_bytes());
        whole.extend_from_slice(&bytes);
        timeout(STALL, to.write_all(&whole)).await??;
    }
    Ok(())
}
