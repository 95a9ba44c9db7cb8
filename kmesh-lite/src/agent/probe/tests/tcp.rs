use super::*;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::io::AsyncReadExt;

/// A listener that accepts nobody, and takes no more connections.
struct Full {
    at: SocketAddr,
    _listener: OwnedFd,
    _queued: Vec<TcpStream>,
}

async fn full() -> Full {
    let listener = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .unwrap();
    bind(listener.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let name: SockaddrIn = getsockname(listener.as_raw_fd()).unwrap();
    let at = SocketAddr::V4(name.into());
    let mut queued = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(at)).await
    {
        queued.push(stream.unwrap());
    }
    Full {
        at,
        _listener: listener,
        _queued: queued,
    }
}

#[tokio::test]
async fn a_listener_is_healthy_and_a_closed_port_is_not() {
    let server = serve(async |stream| drop(stream)).await;
    assert_eq!(probe(server.at, Probe::Tcp).await, up("connected"));
    assert_eq!(probe(NOWHERE, Probe::Tcp).await, down("connection refused"));
}

#[tokio::test]
async fn a_full_backlog_is_no_answer() {
    let full = full().await;
    let outcome = probe_within(SHORT, full.at, Probe::Tcp).await;
    assert_eq!(outcome, down("no answer within 300 ms"));
}

#[tokio::test]
async fn a_probe_leaves_no_socket_behind() {
    let server = serve(async |mut stream| {
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    for _ in 0..20 {
        assert!(probe(server.at, Probe::Tcp).await.success);
    }
    // Both ends of a connection in TIME_WAIT name the port.
    let port = format!(":{:04X} ", server.at.port());
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    const TIME_WAIT: &str = " 06 ";
    let waiting = |line: &&str| line.contains(&port) && line.contains(TIME_WAIT);
    assert_eq!(sockets.lines().filter(waiting).count(), 0);
}

#[tokio::test]
async fn a_probe_comes_from_its_source() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let from = async |source: &str| {
        let check = Check {
            source: Some(source.parse().unwrap()),
            timeout: PATIENT,
            ..check()
        };
        let probes = Probes::new(Reaping::Others);
        probes.probe(at, &Arc::new(check)).await
    };
    assert_eq!(from("127.0.0.77").await, up("connected"));
    let (_, peer) = listener.accept().await.unwrap();
    assert_eq!(peer.ip().to_string(), "127.0.0.77");
    let outcome = from("192.0.2.1").await;
    assert_eq!(
        outcome.reason,
        "cannot send from 192.0.2.1: no such address on this host, or no free port"
    );
}
