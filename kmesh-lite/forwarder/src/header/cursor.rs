//! A cursor that reads bytes in order.

use super::Malformed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The reason why reading ended early.
pub enum DecodeError {
    NeedMore,
    Malformed(Malformed),
}

impl From<Malformed> for DecodeError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

pub struct Cursor<'a> {
    left: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            left: bytes,
            position: 0,
        }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes that have come and are not read.
    pub fn left(&self) -> &'a [u8] {
        self.left
    }

    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (bytes, left) = self.left.split_first_chunk().ok_or(DecodeError::NeedMore)?;
        self.left = left;
        self.position += N;
        Ok(*bytes)
    }

    pub fn skip(&mut self, length: usize) -> Result<(), DecodeError> {
        self.left = self.left.get(length..).ok_or(DecodeError::NeedMore)?;
        self.position += length;
        Ok(())
    }

    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        self.take().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.take().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take().map(u32::from_be_bytes)
    }

    pub fn ipv4(&mut self) -> Result<IpAddr, DecodeError> {
        self.take::<4>().map(|octets| Ipv4Addr::from(octets).into())
    }

    pub fn ipv6(&mut self) -> Result<IpAddr, DecodeError> {
        self.take::<16>()
            .map(|octets| Ipv6Addr::from(octets).into())
    }
}
