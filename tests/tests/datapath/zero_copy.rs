//! Sends without a copy (MSG_ZEROCOPY) while a header is pending: the program learns the right numbers
//! of the buffers that are free, or its sends fail before a byte of them has left.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::behind::Behind;
use kmesh_lite_tests::client::{Client, data_segments, set};
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::kernel::is_at_least;
use kmesh_lite_tests::syscall::until_in;
use nix::errno::Errno;
use nix::unistd::gettid;
use std::mem::MaybeUninit;
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd;
use std::sync::mpsc::channel;
use std::thread;

const V4: &str = "10.96.0.10:80";

/// Longer than one piece of a message in the kernel.
const LONG: usize = 200_000;

/// From here on the kernel counts sends of sockets in a socket map; before, it forgets them, and any
/// socket that may send without a copy is refused.
fn counts() -> bool {
    is_at_least(6, 5)
}

/// Connects a socket that may send without a copy.
fn connected() -> Client {
    let client = Client::tcp4();
    set(client.socket(), libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1);
    assert_eq!(client.connect(V4), Ok(()));
    client
}

fn send(client: &Client, bytes: &[u8], flags: libc::c_int) -> Result<(), Errno> {
    let mut rest = bytes;
    while !rest.is_empty() {
        rest = &rest[send_once(client, rest, flags)?..];
    }
    Ok(())
}

fn send_once(client: &Client, bytes: &[u8], flags: libc::c_int) -> Result<usize, Errno> {
    let fd = client.socket().as_raw_fd();
    // SAFETY: the buffer is as long as we say.
    let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    Ok(Errno::result(sent)? as usize)
}

/// The numbers that the kernel has told since the last time, as `sock_extended_err` has them.
fn told(client: &Client) -> Vec<RangeInclusive<u32>> {
    let mut told = Vec::new();
    loop {
        let mut control = [0_u64; 16];
        // SAFETY: plain data, for which zeroes mean "not given".
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        let fd = client.socket().as_raw_fd();
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: the buffer for control messages is as long as we say.
        let received = unsafe { libc::recvmsg(fd, &raw mut message, flags) };
        if received < 0 {
            assert_eq!(Errno::last(), Errno::EAGAIN);
            return told;
        }
        // SAFETY: the kernel filled in one control message that holds a `sock_extended_err`.
        let error = unsafe {
            let first = libc::CMSG_FIRSTHDR(&raw const message);
            assert!(!first.is_null());
            libc::CMSG_DATA(first)
                .cast::<libc::sock_extended_err>()
                .read_unaligned()
        };
        assert_eq!(error.ee_origin, 5, "SO_EE_ORIGIN_ZEROCOPY");
        told.push(error.ee_info..=error.ee_data);
    }
}

/// Waits until the kernel has told as many numbers as there were sends.
fn all_told(client: &Client, sends: u32) -> Vec<u32> {
    let mut numbers = Vec::new();
    let all = eventually(|| {
        numbers.extend(told(client).into_iter().flatten());
        numbers.len() as u32 >= sends
    });
    assert!(all, "{numbers:?} of {sends}");
    numbers
}

/// The header would use up a number of its own.
#[test]
fn a_first_send_without_a_copy_fails_before_a_byte_of_it_has_left() {
    let Some(mut mesh) = Behind::start("proxy-v2") else {
        return;
    };
    let lengths = [1, 100, 10_000, 16_400, 40_000, LONG];
    for length in lengths {
        let client = connected();
        let bytes = vec![7; length];
        for _ in 0..3 {
            let outcome = send_once(&client, &bytes, libc::MSG_ZEROCOPY);
            assert_eq!(outcome, Err(Errno::EACCES), "{length}");
        }
        assert_eq!(send_once(&client, b"no other", 0), Err(Errno::EACCES));
        client.finish();
        assert_eq!(mesh.waypoint.heard().payload(), b"");
    }
    let refused = mesh.outcomes()[&Outcome::RefuseZeroCopy];
    assert_eq!(refused, lengths.len() as u64);
}

#[test]
fn sends_without_a_copy_have_their_numbers_after_a_first_send_with_one() {
    if !counts() {
        eprintln!("skipped: this kernel refuses the first send of such sockets");
        return;
    }
    let Some(mut mesh) = Behind::start("proxy-v2") else {
        return;
    };
    for length in [1, 100, 10_000] {
        let bytes = vec![7; length];
        let long = vec![8; LONG];
        let client = connected();
        assert_eq!(send(&client, &bytes, 0), Ok(()));
        assert_eq!(send(&client, &long, libc::MSG_ZEROCOPY), Ok(()));
        assert_eq!(send(&client, &bytes, libc::MSG_ZEROCOPY), Ok(()));
        client.finish();
        let heard = mesh.waypoint.heard();
        assert_eq!(heard.header().len(), 28);
        assert!(heard.payload() == [&bytes[..], &long, &bytes].concat());
        assert_eq!(all_told(&client, 2), [0, 1], "{length}");
    }
    assert_eq!(mesh.outcomes()[&Outcome::RefuseZeroCopy], 0);
}

/// A program may set the option and use it later, or never.
#[test]
fn a_long_first_send_with_a_copy_leaves_from_a_socket_that_may_send_without() {
    let Some(mut mesh) = Behind::start("proxy-v2") else {
        return;
    };
    let client = connected();
    let bytes = vec![7; LONG];
    let first = send(&client, &bytes, 0);
    if !counts() {
        assert_eq!(first, Err(Errno::EACCES));
        return;
    }
    assert_eq!(first, Ok(()));
    // A probe, and then all of it: not in pieces of the length of the header.
    assert!(data_segments(client.socket()) < 20);
    let more = vec![8; LONG];
    for _ in 0..2 {
        assert_eq!(send(&client, &more, libc::MSG_ZEROCOPY), Ok(()));
    }
    client.finish();
    let heard = mesh.waypoint.heard();
    assert_eq!(heard.header().len(), 28);
    assert!(heard.payload() == [&bytes[..], &more, &more].concat());
    assert_eq!(all_told(&client, 2), [0, 1]);
    let outcomes = mesh.outcomes();
    assert_eq!(outcomes[&Outcome::RefuseZeroCopy], 0);
    assert_eq!(outcomes[&Outcome::HeaderSent], 1);
}

/// The header waits in the socket for what follows, which is sent as from any socket.
#[test]
fn sends_without_a_copy_have_their_numbers_when_the_first_send_has_more_to_come() {
    if !counts() {
        eprintln!("skipped: this kernel refuses the first send of such sockets");
        return;
    }
    let Some(mut mesh) = Behind::start("proxy-v2") else {
        return;
    };
    let (short, long) = (vec![7; 100], vec![8; LONG]);
    let client = connected();
    assert_eq!(send(&client, &short, libc::MSG_MORE), Ok(()));
    assert_eq!(send(&client, &long, libc::MSG_ZEROCOPY), Ok(()));
    client.finish();
    assert!(mesh.waypoint.heard().payload() == [&short[..], &long].concat());
    assert_eq!(all_told(&client, 1), [0]);
    assert_eq!(mesh.outcomes()[&Outcome::RefuseZeroCopy], 0);
}

/// Several iterations of the kernel's code make one send.
#[test]
fn a_very_long_first_send_with_a_copy_leaves_whole() {
    if !counts() {
        eprintln!("skipped: this kernel refuses the first send of such sockets");
        return;
    }
    let Some(mesh) = Behind::start("tlv") else {
        return;
    };
    let client = connected();
    let bytes: Vec<u8> = (0..4_000_000_u32).map(|it| (it >> 8) as u8).collect();
    assert_eq!(send(&client, &bytes, 0), Ok(()));
    client.finish();
    assert!(mesh.waypoint.heard().payload() == bytes);
}

/// A thread that waits in recv() since before the first send keeps the socket in the kernel's code for
/// sockets of a socket map.
#[test]
fn sends_beside_a_thread_that_waits_to_receive_have_their_numbers_or_fail() {
    if !counts() {
        eprintln!("skipped: this kernel refuses the first send of such sockets");
        return;
    }
    let Some(mesh) = Behind::start("proxy-v2") else {
        return;
    };
    let long = vec![8; LONG];
    for flags in [0, libc::MSG_ZEROCOPY] {
        let client = connected();
        thread::scope(|scope| {
            let (name, named) = channel();
            let client = &client;
            scope.spawn(move || {
                name.send(gettid()).expect("somebody waits for it");
                // Room in the buffer may wake it: that is not the matter here.
                let _ = client.socket().recv(&mut [MaybeUninit::uninit(); 4]);
            });
            until_in(named.recv().expect("a reader"), libc::SYS_recvfrom);
            assert_eq!(send_once(client, b"short", 0), Ok(5));
            let sent = send_once(client, &long, flags);
            let numbers = match (flags, &sent) {
                (0, Ok(LONG)) => 0,
                // One byte with one number, or all of it with one, if the reader is gone.
                (libc::MSG_ZEROCOPY, Ok(1 | LONG)) => 1,
                other => panic!("{other:?}"),
            };
            assert_eq!(all_told(client, numbers), Vec::from_iter(0..numbers));
            client.finish();
            let heard = mesh.waypoint.heard();
            assert_eq!(heard.payload().len(), 5 + sent.expect("as above"));
        });
    }
}

/// Buffers are used again as soon as the kernel says that they are free: what arrives is what was sent.
#[test]
fn buffers_that_are_used_again_when_they_are_free_arrive_whole() {
    const SENDS: u32 = 300;
    const SIZE: usize = 10_000;
    if !counts() {
        eprintln!("skipped: this kernel refuses the first send of such sockets");
        return;
    }
    let Some(mesh) = Behind::start("tlv") else {
        return;
    };
    let client = connected();
    assert_eq!(send(&client, b"header", 0), Ok(()));
    let mut buffers = vec![vec![0; SIZE]; 4];
    let mut busy = vec![None; buffers.len()];
    for number in 0..SENDS {
        let mut free = None;
        assert!(eventually(|| {
            for number in told(&client).into_iter().flatten() {
                for place in busy.iter_mut().filter(|place| **place == Some(number)) {
                    *place = None;
                }
            }
            free = busy.iter().position(Option::is_none);
            free.is_some()
        }));
        let at = free.expect("a buffer");
        buffers[at].fill(number as u8);
        assert_eq!(send(&client, &buffers[at], libc::MSG_ZEROCOPY), Ok(()));
        busy[at] = Some(number);
    }
    client.finish();
    let heard = mesh.waypoint.heard();
    let sent = heard
        .payload()
        .strip_prefix(b"header")
        .expect("the first send");
    let spoiled = sent
        .chunks(SIZE)
        .zip(0..)
        .filter(|(chunk, number)| chunk.iter().any(|byte| *byte != *number as u32 as u8))
        .count();
    assert_eq!((sent.len(), spoiled), (SENDS as usize * SIZE, 0));
}
