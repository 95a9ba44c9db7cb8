//! Kmesh's header: `type u8 | length u32 | value`, repeated, numbers big-endian.
//!
//! The first triple is the address, `01 | 6 or 18 | address | port u16`; the last is `fe | 0`. Other
//! triples may stand between and are skipped.

use super::cursor::{Cursor, DecodeError};
use super::{Header, LONGEST, Malformed};
use std::net::SocketAddr;

/// The first byte of the header: the type of the address.
pub const FIRST: u8 = ADDRESS;

const ADDRESS: u8 = 0x01;
const END: u8 = 0xfe;
/// Bytes of a type and a length.
const HEAD: usize = 5;

pub fn decode(mut cursor: Cursor<'_>) -> Result<Header, DecodeError> {
    // `super::decode` has read the type already.
    cursor.skip(1)?;
    let length = cursor.u32()?;
    let ip = match length {
        6 => cursor.ipv4()?,
        18 => cursor.ipv6()?,
        _ => return Err(Malformed::AddressLength.into()),
    };
    let destination = SocketAddr::new(ip, cursor.u16()?);
    loop {
        let kind = cursor.byte()?;
        let length = cursor.u32()?;
        match kind {
            END if length == 0 => {
                return Ok(Header {
                    source: None,
                    destination,
                    length: cursor.position(),
                });
            }
            END => return Err(Malformed::EndLength.into()),
            ADDRESS => return Err(Malformed::SecondAddress.into()),
            _ => {}
        }
        // The end has to fit as well.
        let room = LONGEST.checked_sub(cursor.position() + HEAD);
        match usize::try_from(length) {
            Ok(length) if room.is_some_and(|room| length <= room) => cursor.skip(length)?,
            _ => return Err(Malformed::TooLong.into()),
        }
    }
}
