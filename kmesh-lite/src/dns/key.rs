//! Names as they are searched for: labels with their lengths as on the wire, in lower case, without the root at the end. Each
//! parent of a name is a tail of its key.

use hickory_proto::rr::Name;

/// What a name may have without its root (RFC 1035, 3.1).
const LONGEST: usize = 254;
const LONGEST_LABEL: usize = 63;

pub fn of(name: &Name) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len());
    for label in name.iter() {
        // The crate has no longer one.
        key.push(label.len() as u8);
        key.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    key
}

/// Of a name without a dot at the end. None if it is no name of DNS.
pub fn read(name: &str) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(name.len() + 1);
    for label in name.split('.') {
        if label.is_empty() || label.len() > LONGEST_LABEL || !label.is_ascii() {
            return None;
        }
        key.push(label.len() as u8);
        key.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    (key.len() <= LONGEST).then_some(key)
}

/// What is above a name, the nearest first, without the root.
pub fn parents(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(parent(key), |key| parent(key))
}

fn parent(key: &[u8]) -> Option<&[u8]> {
    let parent = key.get(1 + usize::from(*key.first()?)..)?;
    (!parent.is_empty()).then_some(parent)
}

/// Whether a name is this one, or below it.
pub fn is_in(key: &[u8], above: &[u8]) -> bool {
    key == above || parents(key).any(|parent| parent == above)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_that_of_its_text_and_has_its_parents_as_tails() {
        let name = Name::from_ascii("A.b-C.mesh.").unwrap();
        let key = of(&name);
        assert_eq!(key, b"\x01a\x03b-c\x04mesh");
        assert_eq!(read("a.b-c.mesh"), Some(key.clone()));
        let parents: Vec<_> = parents(&key).collect();
        assert_eq!(parents, [&b"\x03b-c\x04mesh"[..], &b"\x04mesh"[..]]);
        assert!(is_in(&key, b"\x04mesh") && is_in(b"\x04mesh", b"\x04mesh"));
        assert!(!is_in(b"\x05amesh", b"\x04mesh"));
    }

    #[test]
    fn what_is_no_name_has_no_key() {
        let long = ["a"; 128].join(".");
        for text in [
            "",
            ".",
            "a..b",
            "a.",
            ".a",
            "é.mesh",
            &long,
            &"a".repeat(64),
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert!(read(&["a"; 127].join(".")).is_some());
    }
}
