//! Headers: what is written before the first byte of a redirected connection.
//!
//! In: the first bytes of a connection, as many as have come. Out: where the client wanted to go,
//! or why these bytes do not say it. Pure and total: no I/O, no clock, no allocation, no panic.
//!
//! Bytes are judged from left to right, so that how they were cut into segments never matters: once
//! the answer for some bytes is other than [`Decoded::NeedMore`], more bytes do not change it.

mod cursor;
mod malformed;
mod proxy_v2;
mod tlv;

pub use malformed::Malformed;

use cursor::{Cursor, Stop};
use std::net::SocketAddr;

/// A longer header is refused. With this many bytes the answer is never [`Decoded::NeedMore`].
pub const LONGEST: usize = 4096;

/// Which headers are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    pub tlv: bool,
    pub proxy_v2: bool,
}

/// What the first bytes of a connection say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// So far nothing is wrong.
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
    /// What the client connected to.
    pub destination: SocketAddr,
    /// Bytes of the header; the client's own follow.
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
        Err(Stop::NeedMore) => Decoded::NeedMore,
        Err(Stop::Malformed(malformed)) => Decoded::Malformed(malformed),
    }
}

#[cfg(test)]
mod tests;
