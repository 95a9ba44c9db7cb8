//! Ends connections that programs hold, for the operator.
//!
//! The table says which ones, by the cookies of their sockets; nothing is ended that is not in it under its cookie
//! at that moment, or that is connected to another address than the endpoint's. The kernel finds a socket by its addresses and compares the cookie, so a socket that was closed
//! or connected again meanwhile is left alone.
//!
//! The kernel ends sockets of the caller's network namespace only, and to enter another one the daemon would need
//! CAP_SYS_ADMIN. Those of other namespaces are ended through a descriptor that is borrowed from the process that
//! connected, which CAP_SYS_PTRACE allows. Without it they are counted as out of reach.

use super::bpf;
use super::connections::{ConnectionTable, Living, Marker};
use super::server_first::Borrower;
use super::sock_diag::SockDiag;
use crate::tables::Targets;
use kmesh_lite_common::{EndpointId, Protocol, Stage};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

/// What became of connections that were to end, by their endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    pub killed: BTreeMap<EndpointId, u64>,
    /// They go on: their sockets are in other network namespaces.
    pub out_of_reach: BTreeMap<EndpointId, u64>,
}

/// How often the table is looked at: a connect that had chosen before may have taken its slot a moment ago, and
/// have no addresses yet.
const LOOKS: usize = 3;

/// Ends every connection of these endpoints, which nothing chooses any more.
pub fn end(table: &ConnectionTable, targets: &Targets) -> io::Result<Ended> {
    let mut ended = Ended::default();
    if targets.is_empty() || wanted(table, targets)?.is_empty() {
        return Ok(ended);
    }
    // Programs that are choosing at this moment may do so by the tables before.
    bpf::grace_period()?;
    let mut kernel = SockDiag::open()?;
    let mut left = wanted(table, targets)?;
    let mut seen = BTreeSet::new();
    let marker = table.marker()?;
    for _ in 0..LOOKS {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let of_protocol = |it: &&Living| it.connection.protocol == protocol;
            let by_cookie: BTreeMap<_, _> = left
                .iter()
                .filter(of_protocol)
                .map(|it| (it.cookie, it))
                .collect();
            if by_cookie.is_empty() {
                continue;
            }
            let cookies = by_cookie.keys().copied().collect();
            for socket in kernel.find(protocol, &cookies)? {
                let living = by_cookie[&socket.cookie()];
                seen.insert(living.cookie);
                if has_peer(targets, living, socket.peer())
                    && kill(&marker, living, || kernel.destroy(&socket))?
                {
                    count(&mut ended.killed, living);
                }
            }
        }
        let before = left.len();
        left = wanted(table, targets)?;
        if left.is_empty() || left.len() == before {
            break;
        }
    }
    left.retain(|living| !seen.contains(&living.cookie));
    elsewhere(&marker, &left, &mut ended)?;
    Ok(ended)
}

/// Ends the connections with these cookies: those of the table, and others of this network namespace. Gives the cookies of
/// those that it ended.
pub fn end_sockets(
    table: Option<&ConnectionTable>,
    listed: &BTreeSet<u64>,
    others: &BTreeSet<u64>,
) -> io::Result<BTreeSet<u64>> {
    let mut ended = BTreeSet::new();
    let mut kernel = SockDiag::open()?;
    let protocols = [Protocol::Tcp, Protocol::Udp];
    for protocol in protocols.into_iter().filter(|_| !others.is_empty()) {
        for socket in kernel.find(protocol, others)? {
            if kernel.destroy(&socket)? {
                ended.insert(socket.cookie());
            }
        }
    }
    let Some(table) = table.filter(|_| !listed.is_empty()) else {
        return Ok(ended);
    };
    let marker = table.marker()?;
    let mut left: BTreeMap<_, _> = table
        .list()?
        .into_iter()
        .filter(|it| listed.contains(&it.cookie) && !it.is_over())
        .map(|it| (it.cookie, it))
        .collect();
    for protocol in protocols {
        for socket in kernel.find(protocol, listed)? {
            if let Some(living) = left.remove(&socket.cookie())
                && kill(&marker, &living, || kernel.destroy(&socket))?
            {
                ended.insert(living.cookie);
            }
        }
    }
    let left: Vec<_> = left.into_values().collect();
    let mut elsewhere_too = Ended::default();
    ended.extend(elsewhere(&marker, &left, &mut elsewhere_too)?);
    Ok(ended)
}

/// Whether a connection goes where its endpoint is. Rows that are older than the tables may name another one.
fn has_peer(targets: &Targets, living: &Living, peer: IpAddr) -> bool {
    let endpoint = living.connection.endpoint;
    let peers = endpoint.and_then(|id| targets.get(&id));
    peers.is_some_and(|peers| peers.contains(&peer))
}

/// Those that are not to be found in our own network namespace. Gives the cookies of those that it ended.
fn elsewhere(marker: &Marker, left: &[Living], ended: &mut Ended) -> io::Result<BTreeSet<u64>> {
    let mut killed = BTreeSet::new();
    let mut by_process: BTreeMap<u32, BTreeMap<u64, &Living>> = BTreeMap::new();
    for living in left {
        let process = by_process.entry(living.connection.process).or_default();
        process.insert(living.cookie, living);
    }
    for (process, mut wanted) in by_process {
        let cookies = wanted.keys().copied().collect();
        let borrowed = Borrower::new(process).and_then(|it| it.sockets(&cookies));
        match borrowed {
            Ok(sockets) => {
                for (cookie, socket) in sockets {
                    let living = wanted.remove(&cookie).expect("asked for");
                    match kill(marker, living, || socket.end(&living.connection)) {
                        Ok(true) => {
                            killed.insert(cookie);
                            count(&mut ended.killed, living);
                        }
                        // It was over.
                        Ok(false) => {}
                        Err(error) => {
                            log::debug!("cannot end a connection of process {process}: {error}");
                            count(&mut ended.out_of_reach, living);
                        }
                    }
                }
            }
            Err(error) => log::debug!("cannot borrow sockets of process {process}: {error}"),
        }
        for living in wanted.into_values() {
            count(&mut ended.out_of_reach, living);
        }
    }
    Ok(killed)
}

/// Ends one, if the table still has it. It is marked before, so that programs know why it ends.
fn kill(
    table: &Marker,
    living: &Living,
    end: impl FnOnce() -> io::Result<bool>,
) -> io::Result<bool> {
    if !table.mark(living, Stage::KILLED)? {
        return Ok(false);
    }
    let ended = end();
    if !matches!(ended, Ok(true)) {
        table.unmark(living, Stage::KILLED)?;
    }
    ended
}

fn count(counts: &mut BTreeMap<EndpointId, u64>, living: &Living) {
    if let Some(endpoint) = living.connection.endpoint {
        *counts.entry(endpoint).or_default() += 1;
    }
}

/// Connections of these endpoints that are not over.
fn wanted(table: &ConnectionTable, targets: &Targets) -> io::Result<Vec<Living>> {
    let mut living = table.list()?;
    living.retain(|it| {
        let endpoint = it.connection.endpoint;
        endpoint.is_some_and(|id| targets.contains_key(&id)) && !it.is_over()
    });
    Ok(living)
}
