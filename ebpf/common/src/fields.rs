//! Where this kernel keeps what the programs read of a socket.

/// One bit of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Bit {
    /// Of the field, in bytes from the beginning of `struct sock`.
    pub offset: u32,
    /// Which bit of it, from the least significant one.
    pub number: u32,
}

/// Fields of the kernel's own structures that no context shows. Their places are not part of any
/// interface, so the loader takes them from the kernel's BTF. An offset of zero is that of a field
/// which this kernel does not have, or has in another size: nothing of interest is at the beginning.
///
/// Offsets count bytes from the beginning of `struct sock`, with which every kind of socket begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SocketFields {
    /// SOCK_ZEROCOPY in `sock_common.skc_flags`, 8 bytes: SO_ZEROCOPY was set.
    pub zero_copy: Bit,
    /// SOCK_DONE in the same field: the peer's FIN was received.
    pub done: Bit,
    /// `sock_common.skc_ipv6only` in its byte: IPV6_V6ONLY was set.
    pub only_v6: Bit,
    /// `sock.sk_zckey`, 4 bytes: how many ids of zero-copy sends were used up.
    pub zero_copy_ids: u32,
    /// `sock.sk_err`, 4 bytes: the errno that the next call reports.
    pub error: u32,
    /// `inet_connection_sock.icsk_ulp_ops`, a pointer: TLS, or what else was put on top of TCP.
    pub upper_layer: u32,
    /// `sock.sk_kern_sock` in its byte: the socket is the kernel's own.
    pub of_kernel: Bit,
    /// `sock_common.skc_cookie`, 8 bytes: 0 as long as nobody has asked for SO_COOKIE.
    pub cookie: u32,
    /// `sock.sk_bpf_storage`, a pointer: null where no program has kept anything with the socket.
    pub storage: u32,
    /// 1 where a send with MSG_ZEROCOPY uses up an id for each piece that a program saw (6.5 and
    /// newer); 0 where such a send uses up none.
    pub ids_count_pieces: u32,
    /// `sock_common.skc_state`, 1 byte: the state of TCP.
    pub state: u32,
    /// `tcp_sock.bytes_acked`, 8 bytes.
    pub bytes_acked: u32,
    /// `tcp_sock.bytes_received`, 8 bytes.
    pub bytes_received: u32,
    /// `tcp_sock.total_retrans`, 4 bytes: segments sent again.
    pub retransmits: u32,
    /// `tcp_sock.srtt_us`, 4 bytes: eight times the smoothed round trip time, in microseconds.
    pub rtt: u32,
    /// `socket.sk`, a pointer, from the beginning of `struct socket`. The socket of a descriptor is another
    /// structure than that of the network.
    pub of_socket: u32,
}
