//! Kernel TLS that is switched on while a header is pending would encrypt the header.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::behind::Behind;
use kmesh_lite_tests::client::Client;
use nix::errno::Errno;
use socket2::Socket;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

const V4: &str = "10.96.0.10:80";

/// The kernel has one set of functions for all sockets with TLS, and makes it anew from what the last
/// socket had below. So one test at a time puts TLS on sockets.
static FUNCTIONS: Mutex<()> = Mutex::new(());

pub fn alone() -> MutexGuard<'static, ()> {
    FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `struct tls12_crypto_info_aes_gcm_128` of linux/tls.h.
#[repr(C)]
struct AesGcm128 {
    version: u16,
    cipher: u16,
    iv: [u8; 8],
    key: [u8; 16],
    salt: [u8; 4],
    sequence: [u8; 8],
}

/// Puts TLS on top of TCP; an error where the kernel has none.
pub fn put_on(socket: &Socket) -> Result<(), Errno> {
    const TLS: &[u8] = b"tls";
    let fd = socket.as_raw_fd();
    let length = TLS.len() as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_ULP);
    // SAFETY: the value is as long as we say.
    let outcome = unsafe { libc::setsockopt(fd, level, name, TLS.as_ptr().cast(), length) };
    Errno::result(outcome).map(drop)
}

/// Has the kernel encrypt what is sent.
fn encrypt(socket: &Socket) -> Result<(), Errno> {
    let keys = AesGcm128 {
        version: 0x0303,
        cipher: 51,
        iv: [1; 8],
        key: [2; 16],
        salt: [3; 4],
        sequence: [0; 8],
    };
    let (level, transmit) = (282, 1);
    let length = size_of_val(&keys) as libc::socklen_t;
    let fd = socket.as_raw_fd();
    // SAFETY: as above.
    let outcome =
        unsafe { libc::setsockopt(fd, level, transmit, (&raw const keys).cast(), length) };
    Errno::result(outcome).map(drop)
}

/// Whether the kernel has TLS; says so if not.
fn has_tls(mesh: &Behind) -> bool {
    let client = Client::tcp4();
    assert_eq!(client.connect(V4), Ok(()));
    client.send(b"x");
    let outcome = put_on(client.socket());
    drop(client);
    mesh.waypoint.heard();
    match outcome {
        Ok(()) => true,
        Err(error) => {
            eprintln!("skipped: this kernel has no TLS: {error}");
            false
        }
    }
}

#[test]
fn sends_fail_where_tls_was_switched_on_before_the_first_byte() {
    let _alone = alone();
    let Some(mut mesh) = Behind::start("proxy-v2") else {
        return;
    };
    if !has_tls(&mesh) {
        return;
    }
    let client = Client::tcp4();
    assert_eq!(client.connect(V4), Ok(()));
    put_on(client.socket()).expect("TLS");
    // Debian's 6.1 refuses the keys itself, with EINVAL, but leaves TLS where it is.
    let keys = encrypt(client.socket());
    assert!([Ok(()), Err(Errno::EINVAL)].contains(&keys), "{keys:?}");
    for _ in 0..2 {
        let sent = client.socket().send(b"a secret");
        let error = sent.expect_err("no header can go before it");
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    }
    drop(client);
    let heard = mesh.waypoint.heard();
    assert_eq!(heard.bytes, b"");
    assert_ne!(mesh.outcomes()[&Outcome::RefuseEncrypted], 0);
}

#[test]
fn tls_that_is_switched_on_after_the_first_byte_is_as_on_any_other_socket() {
    let _alone = alone();
    let Some(mut mesh) = Behind::start("proxy-v2") else {
        return;
    };
    if !has_tls(&mesh) {
        return;
    }
    let client = Client::tcp4();
    assert_eq!(client.connect(V4), Ok(()));
    // As a handshake does.
    client.send(b"hello");
    put_on(client.socket()).expect("TLS");
    encrypt(client.socket()).expect("keys");
    client.send(b"a secret");
    client.finish();
    drop(client);
    let heard = mesh.waypoint.heard();
    assert_eq!(heard.header().len(), 28);
    let record = heard.payload().strip_prefix(b"hello").expect("in clear");
    // Application data, version 1.2; nonce, text and tag.
    assert_eq!(record[..5], [0x17, 3, 3, 0, 8 + 8 + 16]);
    assert_eq!(mesh.outcomes()[&Outcome::RefuseEncrypted], 0);
}
