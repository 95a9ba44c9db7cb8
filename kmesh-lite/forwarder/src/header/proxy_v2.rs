//! The PROXY protocol, version 2: the binary header.
//!
//! ```text
//! 0d0a0d0a000d0a515549540a | version 2, command | family, protocol | length u16 |
//! source address | destination address | source port | destination port | TLVs
//! ```
//!
//! Numbers are big-endian; the length counts what follows it. TLVs are skipped unread.

use super::cursor::{Cursor, DecodeError};
use super::{Decoded, Header, LONGEST, Malformed};
use std::net::SocketAddr;

/// The first byte of the header.
pub const FIRST: u8 = SIGNATURE[0];

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

const LOCAL: u8 = 0x0;
const PROXY: u8 = 0x1;

/// Address family in the high half, protocol in the low one.
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const UDP4: u8 = 0x12;
const TCP6: u8 = 0x21;
const UDP6: u8 = 0x22;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;

pub fn decode(mut cursor: Cursor<'_>) -> Result<Decoded, DecodeError> {
    if !cursor
        .left()
        .iter()
        .zip(&SIGNATURE)
        .all(|(byte, expected)| byte == expected)
    {
        return Err(Malformed::Signature.into());
    }
    cursor.skip(SIGNATURE.len())?;
    let [version, command] = halves(cursor.byte()?);
    if version != 2 {
        return Err(Malformed::Version.into());
    }
    if ![LOCAL, PROXY].contains(&command) {
        return Err(Malformed::Command.into());
    }
    let family = cursor.byte()?;
    let least = match family {
        // The addresses of a LOCAL header are to be ignored.
        _ if command == LOCAL => 0,
        TCP4 => 12,
        TCP6 => 36,
        UNSPECIFIED => return Err(Malformed::Unspecified.into()),
        UDP4 | UDP6 => return Err(Malformed::Udp.into()),
        UNIX_STREAM | UNIX_DATAGRAM => return Err(Malformed::Unix.into()),
        _ => return Err(Malformed::Family.into()),
    };
    let length = usize::from(cursor.u16()?);
    if length < least {
        return Err(Malformed::TooShort.into());
    }
    let end = cursor.position() + length;
    if end > LONGEST {
        return Err(Malformed::TooLong.into());
    }
    if command == LOCAL {
        cursor.skip(length)?;
        return Ok(Decoded::Local);
    }
    let (source, destination) = if family == TCP4 {
        (cursor.ipv4()?, cursor.ipv4()?)
    } else {
        (cursor.ipv6()?, cursor.ipv6()?)
    };
    let source = SocketAddr::new(source, cursor.u16()?);
    let destination = SocketAddr::new(destination, cursor.u16()?);
    cursor.skip(end - cursor.position())?;
    Ok(Decoded::Header(Header {
        source: Some(source),
        destination,
        length: end,
    }))
}

fn halves(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 0xf]
}
