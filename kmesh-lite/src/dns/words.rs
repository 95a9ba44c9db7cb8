//! What questions and answers say, in the words that programs for DNS print.

use hickory_proto::rr::{Name, RecordType};
use std::fmt::Write;

/// A name without the dot at its end, in presentation format (RFC 1035, 5.1), as `dig` prints it: it is printable ASCII without
/// blanks, whatever is in it, and no two names are the same text.
pub fn presentation(name: &Name) -> String {
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label {
            match byte {
                b'"' | b'(' | b')' | b'.' | b';' | b'\\' | b'@' | b'$' => {
                    text.push('\\');
                    text.push(char::from(*byte));
                }
                byte if byte.is_ascii_graphic() => text.push(char::from(*byte)),
                // Writing to a String cannot fail.
                byte => drop(write!(text, "\\{byte:03}")),
            }
        }
    }
    if text.is_empty() {
        text.push('.');
    }
    text
}

/// What a type of records is called (RFC 3597 where it has no name).
pub fn type_name(kind: RecordType) -> String {
    match kind {
        RecordType::Unknown(number) => format!("TYPE{number}"),
        kind => kind.to_string(),
    }
}

/// What the code of an answer is called, without the part of it that EDNS has.
pub fn code_name(answer: &[u8]) -> Option<String> {
    let names = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
        "NXRRSET", "NOTAUTH", "NOTZONE",
    ];
    let code = answer.get(3)? & 0x0f;
    let name = names.get(usize::from(code));
    Some(name.map_or_else(|| format!("RESERVED{code}"), |name| (*name).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_printed_as_dig_does_whatever_is_in_it() {
        let of = |labels: &[&[u8]]| presentation(&Name::from_labels(labels.to_vec()).unwrap());
        assert_eq!(of(&[b"Web", b"mesh"]), "Web.mesh");
        assert_eq!(
            of(&[b"_http", b"_tcp", b"a-b", b"mesh"]),
            "_http._tcp.a-b.mesh"
        );
        assert_eq!(of(&[b"*", b"mesh"]), "*.mesh");
        assert_eq!(of(&[b"a.b", b"mesh"]), r"a\.b.mesh");
        assert_eq!(
            of(&[b"\x1b[2J \n\x00\x7f\xff"]),
            r"\027[2J\032\010\000\127\255"
        );
        assert_eq!(of(&[b"\"();\\@$"]), r#"\"\(\)\;\\\@\$"#);
        assert_eq!(presentation(&Name::root()), ".");
        let every: Vec<u8> = (0..=255).collect();
        for part in every.chunks(63) {
            let text = of(&[part]);
            assert!(text.bytes().all(|it| it.is_ascii_graphic()), "{text:?}");
        }
    }

    #[test]
    fn types_and_codes_have_their_names() {
        assert_eq!(type_name(RecordType::AAAA), "AAAA");
        assert_eq!(type_name(RecordType::from(65)), "HTTPS");
        assert_eq!(type_name(RecordType::from(65_280)), "TYPE65280");
        assert_eq!(code_name(&[0, 0, 0x80, 0x83]).as_deref(), Some("NXDOMAIN"));
        assert_eq!(code_name(&[0, 0, 0, 0x0f]).as_deref(), Some("RESERVED15"));
        assert_eq!(code_name(&[0; 3]), None);
    }
}
