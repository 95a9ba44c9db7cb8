//! Addresses, ports, and the table that says which addresses are ours.

use crate::{BackendId, Row, id, word};

/// An IPv6 address, or an IPv4 one in its mapped form `::ffff:a.b.c.d`, so one key serves both
/// families. Four words in network byte order: the form socket contexts hand out, and one that is
/// compared a word at a time.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Address {
    words: [u32; 4],
}

/// Third word of a mapped IPv4 address.
const MAPPED: u32 = 0x0000_ffff_u32.to_be();

impl Address {
    /// Stands for every address, where one is asked for.
    pub const EVERY: Self = Self { words: [0; 4] };

    /// `word` is an IPv4 address in network byte order.
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self {
            words: [0, 0, MAPPED, word],
        }
    }

    /// `words` are an IPv6 address in network byte order.
    #[inline(always)]
    pub const fn from_v6_words(words: [u32; 4]) -> Self {
        Self { words }
    }

    /// The four words in network byte order.
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        self.words
    }

    /// Whether it is the IPv6 address that stands for none.
    #[inline(always)]
    pub const fn is_unspecified(&self) -> bool {
        let [a, b, c, d] = self.words;
        a | b | c | d == 0
    }

    /// The address of this host for itself.
    #[inline(always)]
    pub const fn loopback(family: Family) -> Self {
        match family {
            Family::V4 => Self::from_v4_word(0x7f00_0001_u32.to_be()),
            Family::V6 => Self::from_v6_words([0, 0, 0, 1_u32.to_be()]),
        }
    }

    /// Whether it is the address of either family that stands for none. What is sent there goes to this host.
    #[inline(always)]
    pub const fn stands_for_none(&self) -> bool {
        let [a, b, c, d] = self.words;
        a | b | d == 0 && (c == 0 || c == MAPPED)
    }

    /// Where this host sends what is for it, if the socket is not bound.
    #[inline(always)]
    pub const fn called(self) -> Self {
        if self.stands_for_none() {
            Self::loopback(self.family())
        } else {
            self
        }
    }

    /// The IPv4 address in network byte order, if it is one.
    #[inline(always)]
    pub const fn v4_word(&self) -> Option<u32> {
        match self.family() {
            Family::V4 => Some(self.words[3]),
            Family::V6 => None,
        }
    }

    /// Which family a client must speak to reach it.
    #[inline(always)]
    pub const fn family(&self) -> Family {
        if self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED {
            Family::V4
        } else {
            Family::V6
        }
    }
}

/// Address family of what a client asked for; a mapped IPv4 address counts as IPv4 whatever socket
/// it was asked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

/// A TCP or UDP port in network byte order.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Port(u16);

impl Port {
    /// Stands for every port, where one is asked for.
    pub const EVERY: Self = Self(0);

    /// From host byte order.
    pub const fn new(port: u16) -> Self {
        Self(port.to_be())
    }

    /// From network byte order, as contexts hold it.
    #[inline(always)]
    pub const fn from_be(port: u16) -> Self {
        Self(port)
    }

    /// In network byte order.
    #[inline(always)]
    pub const fn to_be(self) -> u16 {
        self.0
    }

    /// In host byte order.
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }
}

impl Ord for Port {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.get().cmp(&other.get())
    }
}

impl PartialOrd for Port {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

id!(
    /// Row of the address table.
    AddressId
);

word!(
    /// What stands behind an address of ours, which decides about ports that no service declared.
    AddressKind: u16 {
        /// Nothing but us: an undeclared port is refused.
        Virtual = 1 "virtual",
        /// A host that exists: an undeclared port is left alone.
        Real = 2 "real",
    }
);

/// An address that connects are looked up by first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct AddressRow {
    pub address: Address,
    pub kind: AddressKind,
    /// 1 if connects straight to some of its ports are judged by a [`crate::Destination`].
    pub guarded: u16,
    /// The backend that lives here, if connections straight to it are captured.
    pub backend: Option<BackendId>,
}

impl Row for AddressRow {}

const _: () = assert!(size_of::<AddressRow>() == 24);

#[cfg(feature = "std")]
mod std_types {
    use super::{Address, Family, Port};
    use std::fmt;
    use std::net::{IpAddr, Ipv6Addr};

    impl From<IpAddr> for Address {
        fn from(ip: IpAddr) -> Self {
            let v6 = match ip {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            let mut words = [0; 4];
            for (word, bytes) in words.iter_mut().zip(v6.octets().chunks_exact(4)) {
                *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
            Self { words }
        }
    }

    impl From<Address> for IpAddr {
        fn from(address: Address) -> Self {
            let mut octets = [0; 16];
            for (bytes, word) in octets.chunks_exact_mut(4).zip(address.words) {
                bytes.copy_from_slice(&word.to_ne_bytes());
            }
            Ipv6Addr::from(octets).to_canonical()
        }
    }

    impl fmt::Display for Address {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            IpAddr::from(*self).fmt(f)
        }
    }

    impl fmt::Debug for Address {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Display::fmt(self, f)
        }
    }

    impl fmt::Display for Port {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.get().fmt(f)
        }
    }

    impl fmt::Debug for Port {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.get().fmt(f)
        }
    }

    impl From<IpAddr> for Family {
        fn from(ip: IpAddr) -> Self {
            Address::from(ip).family()
        }
    }

    impl fmt::Display for Family {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.pad(match self {
                Family::V4 => "IPv4",
                Family::V6 => "IPv6",
            })
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn both_families_survive_the_round_trip() {
            for text in ["10.96.0.10", "fd00:96::10", "::1", "255.255.255.255", "::"] {
                let ip: IpAddr = text.parse().unwrap();
                assert_eq!(IpAddr::from(Address::from(ip)), ip);
                assert_eq!(Address::from(ip).family() == Family::V4, ip.is_ipv4());
            }
        }

        #[test]
        fn a_mapped_address_is_its_ipv4_address() {
            let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
            let plain: IpAddr = "10.0.0.1".parse().unwrap();
            assert_eq!(Address::from(mapped), Address::from(plain));
            assert_eq!(
                Address::from(plain).v4_word(),
                Some(u32::from_be_bytes([10, 0, 0, 1]).to_be())
            );
        }

        #[test]
        fn ports_sort_by_number_and_not_by_byte_order() {
            assert!(Port::new(80) < Port::new(8080));
            assert!(Port::new(255) < Port::new(256));
        }
    }
}
#[cfg(not(feature = "std"))]
impl core::fmt::Debug for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Address")
    }
}
#[cfg(not(feature = "std"))]
impl core::fmt::Debug for Port {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Port")
    }
}
