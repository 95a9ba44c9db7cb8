//! However a connection ends, it is an open one no more.

use super::{WEB, comes_to_be, held, limited, open};
use kmesh_lite_tests::client::{Client, address, call};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::{Host, alone, more, routed};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

const ONE: [(&str, &str, u32); 1] = [("127.0.0.2", "a/x", 1)];

/// A service with one endpoint that takes one connection, one whose endpoint does not listen, one to which there is no
/// route, and one of datagrams; with accounting and without.
fn meshes() -> [String; 2] {
    let text = format!(
        "{}
         [services.deaf]
         vips = ['10.96.0.13']
         ports = ['80:9']
         endpoints = [{{ address = '127.0.0.3', max_connections = 1 }}]
         [services.nowhere]
         vips = ['10.96.0.14']
         ports = ['80:8080']
         endpoints = [{{ address = '203.0.113.9', max_connections = 1 }}]
         [services.dns]
         vips = ['10.96.0.53']
         ports = [{{ port = 53, target = 5353, protocol = 'udp' }}]
         max_connections = 1
         endpoints = ['127.0.0.4']",
        limited("", &ONE)
    );
    [format!("{text}\n[accounting]\nenabled = false"), text]
}

const NONE: [(&str, u32); 4] = [
    ("127.0.0.2", 0),
    ("127.0.0.3", 0),
    ("127.0.0.4", 0),
    ("203.0.113.9", 0),
];

/// `NONE`, with one connection to an endpoint.
fn one(name: &str) -> [(&str, u32); 4] {
    NONE.map(|(it, _)| (if it == name { name } else { it }, u32::from(it == name)))
}

#[test]
fn a_socket_that_connects_again_is_one_connection_at_most() {
    for text in meshes() {
        let Some(mut mesh) = routed(&text) else {
            return;
        };
        let client = Client::tcp4();
        for _ in 0..3 {
            // Its own connection of before is in nobody's way.
            assert_eq!(client.connect(WEB), Ok(()));
            comes_to_be(&mut mesh, &one("127.0.0.2"), 1);
            client.disconnect();
            assert_eq!(client.connect("10.96.0.13:80"), Err(Errno::ECONNREFUSED));
            assert_eq!(open(&mut mesh).0["127.0.0.2"], 0);
            assert_eq!(client.connect("10.96.0.14:80"), Err(Errno::ENETUNREACH));
            assert_eq!(open(&mut mesh).0["127.0.0.3"], 0);
            assert_eq!(client.connect("127.0.0.2:8080"), Ok(()));
            comes_to_be(&mut mesh, &NONE, 0);
            client.disconnect();
        }
        assert_eq!(client.connect(WEB), Ok(()));
        assert_eq!(call(WEB), Err(Errno::ECONNREFUSED));
        drop(client);
        comes_to_be(&mut mesh, &NONE, 0);
    }
}

#[test]
fn an_attempt_that_came_to_nothing_is_over_when_its_socket_is_closed_and_before_that_if_it_is_followed()
 {
    let [unfollowed, followed] = meshes();
    for (text, at_once) in [(unfollowed, false), (followed, true)] {
        let Some(mut mesh) = routed(&text) else {
            return;
        };
        let client = Client::tcp4();
        assert_eq!(client.connect("10.96.0.13:80"), Err(Errno::ECONNREFUSED));
        assert_eq!(open(&mut mesh).0["127.0.0.3"], u32::from(!at_once));
        drop(client);
        comes_to_be(&mut mesh, &NONE, 0);
    }
}

#[test]
fn datagram_sockets_count_until_they_are_closed_or_connect_elsewhere() {
    for text in meshes() {
        let Some(mut mesh) = routed(&text) else {
            return;
        };
        let client = Client::udp4();
        assert_eq!(client.connect("10.96.0.53:53"), Ok(()));
        comes_to_be(&mut mesh, &one("127.0.0.4"), 1);
        let another = Client::udp4();
        assert_eq!(another.connect("10.96.0.53:53"), Err(Errno::ECONNREFUSED));
        assert_eq!(client.connect("127.0.0.2:53"), Ok(()));
        comes_to_be(&mut mesh, &NONE, 0);
        assert_eq!(another.connect("10.96.0.53:53"), Ok(()));
        drop(another);
        comes_to_be(&mut mesh, &NONE, 0);
    }
}

#[test]
fn a_process_that_is_killed_and_sockets_that_others_have_count_for_as_long_as_they_live() {
    for text in meshes() {
        let Some(mut mesh) = alone(&text) else {
            return;
        };
        // SAFETY: the child makes system calls on what it has, and ends without unwinding.
        let forked = |work: &mut dyn FnMut()| match unsafe { fork() }.expect("a child") {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                work();
                // SAFETY: ends the process.
                unsafe { libc::_exit(0) }
            }
        };
        let (mut here, mut there) = UnixStream::pair().expect("a pair");
        let child = forked(&mut || {
            let client = Client::tcp4();
            let _ = client.connect(WEB);
            let _ = there.write_all(b"x");
            let _ = there.read(&mut [0]);
        });
        here.read_exact(&mut [0]).expect("the child is connected");
        comes_to_be(&mut mesh, &one("127.0.0.2"), 1);
        kill(child, Signal::SIGKILL).expect("the child lives");
        waitpid(child, None).expect("the child ends");
        comes_to_be(&mut mesh, &NONE, 0);

        let client = Client::tcp4();
        assert_eq!(client.connect(WEB), Ok(()));
        let child = forked(&mut || {
            let _ = there.read(&mut [0]);
        });
        drop(client);
        comes_to_be(&mut mesh, &one("127.0.0.2"), 1);
        assert_eq!(call(WEB), Err(Errno::ECONNREFUSED));
        here.write_all(b"x").expect("the child reads");
        waitpid(child, None).expect("the child ends");
        comes_to_be(&mut mesh, &NONE, 0);
    }
}

#[test]
fn what_the_server_ends_is_over_when_tcp_is_done_with_it() {
    let Some(host) = Host::new() else { return };
    let _server = Echo::rude("[::]:8080");
    let mut mesh = host.run(&limited("", &ONE));
    let (client, _) = held(WEB).expect("room");
    client.send(b"x");
    // The program holds its socket, which is reset.
    comes_to_be(&mut mesh, &[("127.0.0.2", 0)], 0);
    let another = held(WEB).expect("room");
    drop(client);
    comes_to_be(&mut mesh, &[("127.0.0.2", 1)], 1);
    drop(another);
    comes_to_be(&mut mesh, &[("127.0.0.2", 0)], 0);
}

/// Four slots, and ten sockets, each of which is counted all the same.
#[test]
fn sockets_without_a_slot_are_counted_as_well() {
    for accounting in [true, false] {
        let Some(host) = Host::new() else { return };
        let _servers = Echo::everywhere(&[8080]);
        let text = limited("", &[("127.0.0.2", "a/x", 10)]);
        let text = format!("{text}\n[accounting]\nenabled = {accounting}");
        let mut mesh = host.run_with_slots(1, &text);
        for _ in 0..3 {
            let clients: Vec<_> = (0..10).map(|_| held(WEB).expect("room")).collect();
            comes_to_be(&mut mesh, &[("127.0.0.2", 10)], 10);
            assert_eq!(mesh.listed().len(), 4);
            assert_eq!(call(WEB), Err(Errno::ECONNREFUSED));
            for (client, _) in &clients[5..] {
                client.disconnect();
                assert_eq!(client.connect("127.0.0.2:8080"), Ok(()));
            }
            comes_to_be(&mut mesh, &[("127.0.0.2", 5)], 5);
            drop(clients);
            comes_to_be(&mut mesh, &[("127.0.0.2", 0)], 0);
        }
    }
}

#[test]
fn a_limit_that_comes_later_counts_what_is_open_already() {
    let plain = limited("", &[]).replace("endpoints = []", "endpoints = ['127.0.0.2']");
    for accounting in [true, false] {
        let with = |text: &str| format!("{text}\n[accounting]\nenabled = {accounting}");
        let Some(mut mesh) = routed(&with(&plain)) else {
            return;
        };
        let clients: Vec<_> = (0..5).map(|_| held(WEB).expect("a server")).collect();
        // One that was reset counts for as long as its socket is held.
        let reset = Client::tcp4();
        assert_eq!(reset.connect(WEB), Ok(()));
        drop(reset);
        assert!(eventually(|| mesh.listed().len() == 5));
        mesh.reload(&with(&limited("", &[("127.0.0.2", "a/x", 6)])));
        comes_to_be(&mut mesh, &[("127.0.0.2", 5)], 5);
        let another = held(WEB).expect("room");
        assert_eq!(call(WEB), Err(Errno::ECONNREFUSED));
        // Without the limit for a while, and with one again.
        mesh.reload(&with(&plain));
        let third = held(WEB).expect("a server");
        mesh.reload(&with(&limited("", &[("127.0.0.2", "a/x", 7)])));
        comes_to_be(&mut mesh, &[("127.0.0.2", 7)], 7);
        assert_eq!(call(WEB), Err(Errno::ECONNREFUSED));
        drop((clients, another, third));
        comes_to_be(&mut mesh, &[("127.0.0.2", 0)], 0);
    }
}

#[test]
fn counts_stay_through_reloads_and_other_tables() {
    let Some(mut mesh) = routed(&limited("", &[("127.0.0.2", "a/x", 2)])) else {
        return;
    };
    let (client, _) = held(WEB).expect("room");
    // Another limit counts what is there.
    mesh.reload(&limited("", &ONE));
    comes_to_be(&mut mesh, &[("127.0.0.2", 1)], 1);
    assert_eq!(call(WEB), Err(Errno::ECONNREFUSED));
    let larger = format!(
        "{}\n[limits]\nservices = 500\n{}",
        limited("", &ONE),
        more(100)
    );
    assert!(mesh.reload(&larger).replaced);
    comes_to_be(&mut mesh, &[("127.0.0.2", 1)], 1);
    assert_eq!(call(WEB), Err(Errno::ECONNREFUSED));
    drop(client);
    comes_to_be(&mut mesh, &[("127.0.0.2", 0)], 0);
    assert!(call(WEB).is_ok());
}

/// A number that is handed out again begins at zero, and who was counted under it before takes nothing from it.
#[test]
fn an_endpoint_that_is_gone_leaves_nothing_to_the_one_that_gets_its_number() {
    for slots in [1_024, 1] {
        let Some(host) = Host::new() else { return };
        let _servers = Echo::everywhere(&[8080]);
        let mut mesh = host.run_with_slots(slots, &limited("", &[("127.0.0.2", "a/x", 9)]));
        let clients: Vec<_> = (0..9).map(|_| held(WEB).expect("room")).collect();
        mesh.reload(&limited("", &[]));
        mesh.reload(&limited("", &[("127.0.0.3", "a/x", 9)]));
        comes_to_be(&mut mesh, &[("127.0.0.3", 0)], 9);
        let others: Vec<_> = (0..9).map(|_| held(WEB).expect("room")).collect();
        assert_eq!(call(WEB), Err(Errno::ECONNREFUSED));
        for (client, _) in &clients {
            assert_eq!(client.peer(), Ok(address(WEB)));
        }
        drop(clients);
        comes_to_be(&mut mesh, &[("127.0.0.3", 9)], 9);
        // The service as well.
        mesh.reload("");
        mesh.reload(&limited("max_connections = 1", &[("127.0.0.4", "a/x", 9)]));
        comes_to_be(&mut mesh, &[("127.0.0.4", 0)], 0);
        let client = held(WEB).expect("room");
        drop(others);
        // Those end later than nothing happens: the count of one that is there stays.
        assert!(eventually(|| mesh.listed().len() <= 1));
        comes_to_be(&mut mesh, &[("127.0.0.4", 1)], 1);
        drop(client);
        comes_to_be(&mut mesh, &[("127.0.0.4", 0)], 0);
    }
}
