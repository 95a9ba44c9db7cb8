//! Headers, which are written before the first byte of a redirected connection.
//!
//! In: the first bytes of a connection, as many as have come. Out: the address that the client wanted
//! to reach, or the reason why these bytes do not say it. Decoding is pure and total: no I/O, no clock,
//! no allocation, no panic.
//!
//! Bytes are judged from left to right, so that how they were cut into segments never matters: once
//! the answer for some bytes is other than [`Decoded::NeedMore`], more bytes do not change it.

mod cursor;
mod malformed;
mod proxy_v2;
mod tlv;

pub use malformed::Malformed;

use cursor::{Cursor, DecodeError};
use std::net::SocketAddr;

/// A longer header is refused. With this many bytes the answer is never [`Decoded::NeedMore`].
pub const LONGEST: usize = 4096;

/// The kinds of headers that are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    pub tlv: bool,
    pub proxy_v2: bool,
}

/// The meaning of the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Nothing is wrong so far.
    NeedMore,
    Header(Header),
    /// A connection of the sending proxy itself, such as a health check: it wants to go nowhere.
    Local,
    Malformed(Malformed),
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The client, where the header tells.
    pub source: Option<SocketAddr>,
    /// The address that the client connected to.
    pub destination: SocketAddr,
    /// The length of the header in bytes; the client's own bytes follow.
    pub length: usize,
}

/// Decodes the header that `bytes` begin with. The kinds differ in their first byte.
pub fn decode(bytes: &[u8], accept: Accept) -> Decoded {
    let Some(first) = bytes.first() else {
        return Decoded::NeedMore;
    };
    let decoded = match *first {
        tlv::FIRST if accept.tlv => tlv::decode(Cursor::new(bytes)).map(Decoded::Header),
        proxy_v2::FIRST if accept.proxy_v2 => proxy_v2::decode(Cursor::new(bytes)),
        tlv::FIRST | proxy_v2::FIRST => Err(Malformed::NotAccepted.into()),
        _ => Err(Malformed::Unknown.into()),
    };
    match decoded {
        Ok(decoded) => decoded,
        Err(DecodeError::NeedMore) => Decoded::NeedMore,
        Err(DecodeError::Malformed(malformed)) => Decoded::Malformed(malformed),
    }
}

#[cfg(test)]
mod tests;
