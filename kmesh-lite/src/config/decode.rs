//! From bytes to text, as far as they are text.

use super::span::Span;

/// The text that bytes are, with U+FFFD where they are none.
#[derive(Default)]
pub struct Decoded {
    pub text: String,
    pub damage: Vec<Damage>,
    /// Whether all of it is something else than text.
    pub hopeless: bool,
}

/// Bytes that are no text, and where in the text they would be.
pub struct Damage {
    pub span: Span,
    pub bytes: Vec<u8>,
}

/// Decodes UTF-8.
pub fn decode(bytes: Vec<u8>) -> Decoded {
    // No text has one, and the parser is slow on large files that are no text.
    if let Some(zero) = bytes.iter().position(|byte| *byte == 0) {
        let text = String::from_utf8_lossy(&bytes[..zero]).into_owned();
        let damage = Damage {
            span: (text.len()..text.len()).into(),
            bytes: vec![0],
        };
        return Decoded {
            text,
            damage: vec![damage],
            hopeless: true,
        };
    }
    match String::from_utf8(bytes) {
        Ok(text) => Decoded {
            text,
            ..Decoded::default()
        },
        Err(error) => repair(error.as_bytes()),
    }
}

/// Replaces what is not UTF-8, unless that is more than a few slips.
fn repair(bytes: &[u8]) -> Decoded {
    const A_FEW: usize = 20;
    let mut decoded = Decoded::default();
    for chunk in bytes.utf8_chunks() {
        decoded.text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            let start = decoded.text.len();
            decoded.text.push(char::REPLACEMENT_CHARACTER);
            decoded.damage.push(Damage {
                span: (start..decoded.text.len()).into(),
                bytes: chunk.invalid().to_vec(),
            });
        }
        if decoded.damage.len() > A_FEW {
            decoded.damage.truncate(1);
            decoded.hopeless = true;
            break;
        }
    }
    decoded
}
