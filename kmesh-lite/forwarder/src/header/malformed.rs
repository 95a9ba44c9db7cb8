//! Reasons why bytes are no header.

use std::fmt;

/// The fault in the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Malformed {
    Unknown,
    NotAccepted,
    TooLong,
    AddressLength,
    SecondAddress,
    EndLength,
    Signature,
    Version,
    Command,
    Unspecified,
    Udp,
    Unix,
    Family,
    TooShort,
}

impl Malformed {
    #[cfg(test)]
    pub const ALL: [Self; 14] = [
        Self::Unknown,
        Self::NotAccepted,
        Self::TooLong,
        Self::AddressLength,
        Self::SecondAddress,
        Self::EndLength,
        Self::Signature,
        Self::Version,
        Self::Command,
        Self::Unspecified,
        Self::Udp,
        Self::Unix,
        Self::Family,
        Self::TooShort,
    ];

    /// The name of its counter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "malformed_unknown",
            Self::NotAccepted => "malformed_not_accepted",
            Self::TooLong => "malformed_too_long",
            Self::AddressLength => "malformed_address_length",
            Self::SecondAddress => "malformed_second_address",
            Self::EndLength => "malformed_end_length",
            Self::Signature => "malformed_signature",
            Self::Version => "malformed_version",
            Self::Command => "malformed_command",
            Self::Unspecified => "malformed_unspecified",
            Self::Udp => "malformed_udp",
            Self::Unix => "malformed_unix",
            Self::Family => "malformed_family",
            Self::TooShort => "malformed_too_short",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "the first byte begins neither a tlv nor a proxy-v2 header",
            Self::NotAccepted => "a header of a kind that `--accept` does not name",
            Self::TooLong => "the header is longer than 4096 bytes",
            Self::AddressLength => "tlv: the address has neither 6 nor 18 bytes",
            Self::SecondAddress => "tlv: a second address",
            Self::EndLength => "tlv: the end is not empty",
            Self::Signature => "proxy-v2: the signature is wrong",
            Self::Version => "proxy-v2: the version is not 2",
            Self::Command => "proxy-v2: the command is neither LOCAL nor PROXY",
            Self::Unspecified => "proxy-v2: the header names no destination (UNSPEC)",
            Self::Udp => "proxy-v2: the connection is UDP, expected TCP",
            Self::Unix => "proxy-v2: the connection is a unix socket, expected TCP",
            Self::Family => "proxy-v2: an unknown address family or protocol",
            Self::TooShort => "proxy-v2: too short for its addresses",
        })
    }
}
