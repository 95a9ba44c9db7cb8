//! What the kernel's own structures say of a socket, beyond what contexts show.
//!
//! The loader finds out where this kernel keeps each field, and stores that in a read-only global. So
//! the verifier sees constants, checks each access against the kernel's own types, and drops what
//! follows from a field that is not there.

use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::generated::{
    bpf_skc_to_tcp_sock, bpf_skc_to_tcp6_sock, bpf_skc_to_udp6_sock, bpf_sock_from_file,
};
use core::ffi::c_void;
use core::ptr::{NonNull, addr_of, null_mut, read_volatile};
use kmesh_lite_common::{Bit, SocketFields};

/// Set by the loader.
#[used]
#[unsafe(no_mangle)]
static SOCKET_FIELDS: SocketFields = SocketFields {
    zero_copy: NOWHERE,
    done: NOWHERE,
    only_v6: NOWHERE,
    zero_copy_ids: 0,
    error: 0,
    upper_layer: 0,
    of_kernel: NOWHERE,
    cookie: 0,
    storage: 0,
    ids_count_pieces: 0,
    state: 0,
    bytes_acked: 0,
    bytes_received: 0,
    retransmits: 0,
    rtt: 0,
    of_socket: 0,
};

const NOWHERE: Bit = Bit {
    offset: 0,
    number: 0,
};

/// Reads a word of [`SOCKET_FIELDS`]. Volatile: the loader may have set it.
macro_rules! field {
    ($($name:ident).+) => {
        // SAFETY: a read-only word of this program.
        unsafe { read_volatile(addr_of!(SOCKET_FIELDS.$($name).+)) }
    };
}

/// What a socket has that may be left of earlier connects.
#[derive(Clone, Copy)]
pub struct Traces {
    /// 0 as long as nobody has asked for it.
    pub cookie: u64,
    /// Whether programs keep something with the socket.
    pub has_storage: bool,
    /// Whether it is one of the kernel's own.
    pub of_kernel: bool,
}

/// What a connection has done so far, as TCP counts: a SYN and a FIN are a byte each.
#[derive(Clone, Copy)]
pub struct Progress {
    pub acked: u64,
    pub received: u64,
    pub retransmits: u32,
    /// In microseconds.
    pub rtt: u32,
    pub fin_received: bool,
    /// `BPF_TCP_ESTABLISHED` and so on.
    pub state: u8,
}

/// Whether sends that a program of sockets of a socket map sees use up ids: since Linux 6.5.
#[inline(always)]
pub fn ids_count_pieces() -> bool {
    field!(ids_count_pieces) == 1
}

/// The socket of a file that is one; null for another file.
#[inline(always)]
pub fn of_file(file: *mut c_void) -> *mut bpf_sock {
    let offset = field!(of_socket);
    if offset == 0 {
        return null_mut();
    }
    // SAFETY: a file that the hook holds.
    let socket = unsafe { bpf_sock_from_file(file.cast()) };
    if socket.is_null() {
        return null_mut();
    }
    // SAFETY: the verifier knows that a pointer is there. It stays what it is as long as the file is open.
    unsafe {
        read_volatile(
            socket
                .cast::<u8>()
                .add(offset as usize)
                .cast::<*mut bpf_sock>(),
        )
    }
}

/// A socket of TCP, as the kernel knows it. Never null: so that there is none is a value of its own, which a
/// register has. The verifier refuses one that was never written, even where it is not used.
#[derive(Clone, Copy)]
pub struct Tcp(NonNull<u8>);

impl Tcp {
    /// None for a socket of another kind.
    #[inline(always)]
    pub fn of(sk: *mut bpf_sock) -> Option<Self> {
        // Kernels whose fields are not known may not have the helper either.
        if field!(zero_copy.offset) == 0 && field!(upper_layer) == 0 {
            return None;
        }
        // SAFETY: a socket that the hook holds.
        let socket = unsafe { bpf_skc_to_tcp_sock(sk.cast()) };
        NonNull::new(socket.cast()).map(Self)
    }

    #[inline(always)]
    fn field(self, offset: usize) -> *const u8 {
        // SAFETY: the verifier knows that a field is there.
        unsafe { self.0.as_ptr().add(offset) }
    }

    /// Whether SO_ZEROCOPY was set: then sends may use MSG_ZEROCOPY.
    #[inline(always)]
    pub fn may_send_zero_copy(self) -> bool {
        let offset = field!(zero_copy.offset);
        if offset == 0 {
            return false;
        }
        // SAFETY: the verifier knows that a field of this size is there.
        let flags = unsafe { read_volatile(self.field(offset as usize).cast::<u64>()) };
        flags >> field!(zero_copy.number) & 1 == 1
    }

    /// How many ids of zero-copy sends were used up, and whether the sends that a program sees use up
    /// any at all.
    #[inline(always)]
    pub fn zero_copy_ids(self) -> Option<u32> {
        let offset = field!(zero_copy_ids);
        if offset == 0 || !ids_count_pieces() {
            return None;
        }
        // SAFETY: as above.
        Some(unsafe { read_volatile(self.field(offset as usize).cast::<u32>()) })
    }

    /// What is left of earlier connects; `None` where this kernel does not show it.
    #[inline(always)]
    pub fn past(self) -> Option<Traces> {
        let (cookie, storage) = (field!(cookie), field!(storage));
        let of_kernel = field!(of_kernel.offset);
        if cookie == 0 || storage == 0 || of_kernel == 0 {
            return None;
        }
        // SAFETY: as above.
        unsafe {
            let byte = read_volatile(self.field(of_kernel as usize));
            Some(Traces {
                cookie: read_volatile(self.field(cookie as usize).cast::<u64>()),
                has_storage: read_volatile(self.field(storage as usize).cast::<u64>()) != 0,
                of_kernel: byte >> field!(of_kernel.number) & 1 == 1,
            })
        }
    }

    /// The errno that the next call on the socket reports; 0 for none.
    #[inline(always)]
    pub fn error(self) -> u32 {
        let offset = field!(error);
        if offset == 0 {
            return 0;
        }
        // SAFETY: as above.
        unsafe { read_volatile(self.field(offset as usize).cast::<u32>()) }
    }

    /// Whether the peer's FIN was received.
    #[inline(always)]
    pub fn is_done(self) -> bool {
        let offset = field!(done.offset);
        if offset == 0 {
            return false;
        }
        // SAFETY: as above.
        let flags = unsafe { read_volatile(self.field(offset as usize).cast::<u64>()) };
        flags >> field!(done.number) & 1 == 1
    }

    /// What it has done so far; `None` where this kernel does not show it.
    #[inline(always)]
    pub fn progress(self) -> Option<Progress> {
        let (acked, received) = (field!(bytes_acked), field!(bytes_received));
        let (retransmits, rtt, state) = (field!(retransmits), field!(rtt), field!(state));
        if acked == 0 || received == 0 || retransmits == 0 || rtt == 0 || state == 0 {
            return None;
        }
        // SAFETY: as above. The state comes last: a FIN that it does not tell of yet is counted as a byte for a
        // while, one that it does tell of is not missing.
        unsafe {
            Some(Progress {
                acked: read_volatile(self.field(acked as usize).cast::<u64>()),
                received: read_volatile(self.field(received as usize).cast::<u64>()),
                retransmits: read_volatile(self.field(retransmits as usize).cast::<u32>()),
                rtt: read_volatile(self.field(rtt as usize).cast::<u32>()) >> 3,
                fin_received: self.is_done(),
                state: read_volatile(self.field(state as usize)),
            })
        }
    }

    /// Whether something was put on top of TCP, like TLS.
    #[inline(always)]
    pub fn has_upper_layer(self) -> bool {
        let offset = field!(upper_layer);
        if offset == 0 {
            return false;
        }
        // SAFETY: as above.
        unsafe { read_volatile(self.field(offset as usize).cast::<u64>()) != 0 }
    }
}

/// Whether IPV6_V6ONLY was set on an IPv6 socket.
#[inline(always)]
pub fn is_only_v6(sk: *mut bpf_sock, is_tcp: bool) -> bool {
    let offset = field!(only_v6.offset);
    if offset == 0 {
        return false;
    }
    // SAFETY: a socket that the hook holds.
    let socket: *const u8 = unsafe {
        if is_tcp {
            bpf_skc_to_tcp6_sock(sk.cast()).cast()
        } else {
            bpf_skc_to_udp6_sock(sk.cast()).cast()
        }
    };
    if socket.is_null() {
        return false;
    }
    // SAFETY: as above.
    let byte = unsafe { read_volatile(socket.add(offset as usize)) };
    byte >> field!(only_v6.number) & 1 == 1
}
