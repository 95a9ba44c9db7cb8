//! Sockets end where their last holder lets go of them: another process, another cgroup.

use super::{MESH, holds};
use kmesh_lite_tests::cgroup;
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::host::{alone, routed};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

#[test]
fn a_socket_that_two_processes_have_ends_with_the_last_of_them() {
    let Some(mesh) = alone(MESH) else { return };
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    let (mut here, mut there) = UnixStream::pair().expect("a pair");
    let child = forked(|| {
        let _ = there.read(&mut [0]);
    });
    let cookie = client.cookie();
    drop(client);
    holds(&mesh, [cookie]);
    here.write_all(b"x").expect("the child reads");
    waitpid(child, None).expect("the child ends");
    holds(&mesh, []);
}

#[test]
fn a_process_that_is_killed_leaves_nothing() {
    let Some(mesh) = alone(MESH) else { return };
    let (mut here, mut there) = UnixStream::pair().expect("a pair");
    let child = forked(|| {
        let clients = [Client::tcp4(), Client::tcp4()];
        for client in &clients {
            let _ = client.connect("10.96.0.10:80");
        }
        let _ = there.write_all(b"x");
        let _ = there.read(&mut [0]);
    });
    here.read_exact(&mut [0]).expect("the child is connected");
    let listed = mesh.listed();
    assert_eq!(listed.len(), 2);
    assert!(
        listed
            .values()
            .all(|it| it.process == child.as_raw() as u32)
    );
    kill(child, Signal::SIGKILL).expect("the child lives");
    waitpid(child, None).expect("the child ends");
    holds(&mesh, []);
}

/// Programs follow the cgroup in which a socket was made, whoever closes it.
#[test]
fn a_socket_that_went_to_a_process_outside_of_the_cgroup_is_seen_to_end_there() {
    let Some(mesh) = routed(MESH) else { return };
    let (here, there) = UnixStream::pair().expect("a pair");
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    let cookie = client.cookie();
    let fds = [client.socket().as_raw_fd()];
    let message = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(
        here.as_raw_fd(),
        &[IoSlice::new(b"x")],
        &message,
        MsgFlags::empty(),
        None,
    )
    .expect("passed on");
    drop(client);
    let outside = std::thread::scope(|scope| {
        let outside = scope.spawn(|| {
            cgroup::leave().expect("outside");
            received(&there)
        });
        outside.join().expect("no panic")
    });
    holds(&mesh, [cookie]);
    drop(outside);
    holds(&mesh, []);
}

#[test]
fn a_socket_outlives_its_cgroup_and_is_seen_to_end() {
    let Some(mesh) = routed(MESH) else { return };
    let child = mesh.host.cgroup.child("brief").expect("a cgroup");
    let client = child.run(Client::tcp4).expect("inside");
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    drop(child);
    assert_eq!(client.peer(), Ok(address("10.96.0.10:80")));
    holds(&mesh, [client.cookie()]);
    drop(client);
    holds(&mesh, []);
}

/// Runs `work` in a child of this process, which ends with it.
fn forked(work: impl FnOnce()) -> Pid {
    // SAFETY: the child makes system calls on what it has, and ends without unwinding.
    match unsafe { fork() }.expect("a child") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            work();
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) }
        }
    }
}

/// The descriptor that was passed.
fn received(from: &UnixStream) -> OwnedFd {
    let mut byte = [0];
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(
        from.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )
    .expect("a message");
    let fd = message
        .cmsgs()
        .expect("its parts")
        .find_map(|part| match part {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
    // SAFETY: it was just made for us.
    unsafe { OwnedFd::from_raw_fd(fd.expect("a descriptor")) }
}
