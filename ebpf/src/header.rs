//! The bytes by which a waypoint learns the original destination.
//!
//! `tlv` is Kmesh's: `01`, the length of what follows as a 32-bit number, the address (4 or 16
//! bytes), the port, then `fe` and a length of zero to end the list. `proxy-v2` is the binary form
//! of the PROXY protocol (haproxy.org/download/2.9/doc/proxy-protocol.txt, section 2.2). All numbers
//! are in network byte order.

use kmesh_lite_common::{Address, Family, Header, Port};

/// First bytes of every PROXY protocol version 2 header.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub address: Address,
    pub port: Port,
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    Tlv4([u8; 16]),
    Tlv6([u8; 28]),
    Proxy4([u8; 28]),
    Proxy6([u8; 52]),
}

impl Bytes {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Tlv4(bytes) => bytes,
            Self::Tlv6(bytes) | Self::Proxy4(bytes) => bytes,
            Self::Proxy6(bytes) => bytes,
        }
    }
}

/// The header of a connection from `source` that was meant for `original`; none where there is none
/// to send. PROXY headers have one family for both ends: IPv4 where both are, else IPv6 with mapped
/// addresses.
#[inline(always)]
pub fn encode(header: Header, source: &End, original: &End) -> Option<Bytes> {
    let v4 = original.address.family() == Family::V4;
    match header {
        Header::Tlv if v4 => Some(Bytes::Tlv4(tlv4(original))),
        Header::Tlv => Some(Bytes::Tlv6(tlv6(original))),
        Header::ProxyV2 if v4 && source.address.family() == Family::V4 => {
            Some(Bytes::Proxy4(proxy4(source, original)))
        }
        Header::ProxyV2 => Some(Bytes::Proxy6(proxy6(source, original))),
        _ => None,
    }
}

const TLV_ORIGINAL: u8 = 0x01;
const TLV_END: u8 = 0xfe;

#[inline(always)]
fn tlv4(original: &End) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[0] = TLV_ORIGINAL;
    bytes[4] = 6;
    put(&mut bytes, 5, &original.address.words()[3].to_ne_bytes());
    put(&mut bytes, 9, &original.port.to_be().to_ne_bytes());
    bytes[11] = TLV_END;
    bytes
}

#[inline(always)]
fn tlv6(original: &End) -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[0] = TLV_ORIGINAL;
    bytes[4] = 18;
    put_address(&mut bytes, 5, &original.address);
    put(&mut bytes, 21, &original.port.to_be().to_ne_bytes());
    bytes[23] = TLV_END;
    bytes
}

/// Version 2, command PROXY.
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

#[inline(always)]
fn proxy4(source: &End, original: &End) -> [u8; 28] {
    let mut bytes = [0; 28];
    put(&mut bytes, 0, &SIGNATURE);
    put(&mut bytes, 12, &[PROXY, TCP_OVER_IPV4, 0, 12]);
    put(&mut bytes, 16, &source.address.words()[3].to_ne_bytes());
    put(&mut bytes, 20, &original.address.words()[3].to_ne_bytes());
    put(&mut bytes, 24, &source.port.to_be().to_ne_bytes());
    put(&mut bytes, 26, &original.port.to_be().to_ne_bytes());
    bytes
}

#[inline(always)]
fn proxy6(source: &End, original: &End) -> [u8; 52] {
    let mut bytes = [0; 52];
    put(&mut bytes, 0, &SIGNATURE);
    put(&mut bytes, 12, &[PROXY, TCP_OVER_IPV6, 0, 36]);
    put_address(&mut bytes, 16, &source.address);
    put_address(&mut bytes, 32, &original.address);
    put(&mut bytes, 48, &source.port.to_be().to_ne_bytes());
    put(&mut bytes, 50, &original.port.to_be().to_ne_bytes());
    bytes
}

#[inline(always)]
fn put_address<const N: usize>(bytes: &mut [u8; N], at: usize, address: &Address) {
    let [a, b, c, d] = address.words();
    put(bytes, at, &a.to_ne_bytes());
    put(bytes, at + 4, &b.to_ne_bytes());
    put(bytes, at + 8, &c.to_ne_bytes());
    put(bytes, at + 12, &d.to_ne_bytes());
}

/// Offsets are constants, so the compiler drops the checks.
#[inline(always)]
fn put<const N: usize, const M: usize>(bytes: &mut [u8; N], at: usize, value: &[u8; M]) {
    let mut i = 0;
    while i < M {
        bytes[at + i] = value[i];
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, SocketAddr};

    fn end(text: &str) -> End {
        let end: SocketAddr = text.parse().unwrap();
        End {
            address: address(end.ip()),
            port: Port::new(end.port()),
        }
    }

    fn address(ip: IpAddr) -> Address {
        match ip {
            IpAddr::V4(ip) => Address::from_v4_word(u32::from_ne_bytes(ip.octets())),
            IpAddr::V6(ip) => {
                let mut words = [0; 4];
                for (word, bytes) in words.iter_mut().zip(ip.octets().chunks_exact(4)) {
                    *word = u32::from_ne_bytes(bytes.try_into().unwrap());
                }
                Address::from_v6_words(words)
            }
        }
    }

    #[track_caller]
    fn check(header: Header, source: &str, original: &str, golden: &str) {
        let bytes = encode(header, &end(source), &end(original)).unwrap();
        let hex: String = bytes
            .as_slice()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(hex, golden.split_whitespace().collect::<String>());
    }

    #[test]
    fn tlv_is_kmeshs() {
        check(
            Header::Tlv,
            "192.0.2.1:40000",
            "10.96.0.10:80",
            "01 00000006 0a60000a 0050 fe 00000000",
        );
        check(
            Header::Tlv,
            "[2001:db8::1]:40000",
            "[fd00:96::10]:8443",
            "01 00000012 fd000096000000000000000000000010 20fb fe 00000000",
        );
    }

    #[test]
    fn proxy_v2_is_that_of_the_specification() {
        check(
            Header::ProxyV2,
            "192.0.2.1:40000",
            "10.96.0.10:80",
            "0d0a0d0a000d0a515549540a 21 11 000c c0000201 0a60000a 9c40 0050",
        );
        check(
            Header::ProxyV2,
            "[2001:db8::1]:40000",
            "[fd00:96::10]:80",
            "0d0a0d0a000d0a515549540a 21 21 0024
             20010db8000000000000000000000001 fd000096000000000000000000000010 9c40 0050",
        );
    }

    #[test]
    fn mapped_addresses_take_the_ipv4_form() {
        check(
            Header::Tlv,
            "[::ffff:192.0.2.1]:40000",
            "[::ffff:10.96.0.10]:80",
            "01 00000006 0a60000a 0050 fe 00000000",
        );
        check(
            Header::ProxyV2,
            "[::ffff:192.0.2.1]:40000",
            "[::ffff:10.96.0.10]:80",
            "0d0a0d0a000d0a515549540a 21 11 000c c0000201 0a60000a 9c40 0050",
        );
    }

    #[test]
    fn an_ipv6_destination_through_an_ipv4_waypoint_has_a_mapped_source() {
        check(
            Header::ProxyV2,
            "192.0.2.1:40000",
            "[fd00:96::10]:80",
            "0d0a0d0a000d0a515549540a 21 21 0024
             00000000000000000000ffffc0000201 fd000096000000000000000000000010 9c40 0050",
        );
    }

    #[test]
    fn no_header_has_no_bytes() {
        let (source, original) = (end("192.0.2.1:1"), end("10.0.0.1:2"));
        assert_eq!(encode(Header::Nothing, &source, &original), None);
        assert_eq!(encode(Header(77), &source, &original), None);
    }
}
