//! How services, and addresses, are called in DNS.

use std::fmt::Write;
use std::net::IpAddr;

/// The most characters of a name, without the dot at the end (RFC 1035, section 2.3.4).
pub const LONGEST: usize = 253;

/// Why a name of the file is none in DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoName {
    #[error("hostnames have no {0:?}")]
    Character(char),
    #[error("a part between its dots is empty, or begins or ends with `-`")]
    Part,
    #[error("with the domain behind it, it has more than {LONGEST} characters")]
    TooLong,
}

/// What a service of this name is called, in full.
pub fn service_name(name: &str, domain: &str) -> Result<String, NoName> {
    below(&labels(name)?, domain)
}

/// A name of the file as DNS has it: in lower case, and nothing but letters, digits and `-` in each part.
pub fn labels(name: &str) -> Result<String, NoName> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if let Some(other) = name.chars().find(|c| !allowed(*c)) {
        return Err(NoName::Character(other));
    }
    let is_wrong = |part: &str| part.is_empty() || part.starts_with('-') || part.ends_with('-');
    match name.split('.').any(is_wrong) {
        true => Err(NoName::Part),
        false => Ok(name.to_ascii_lowercase()),
    }
}

pub fn below(labels: &str, domain: &str) -> Result<String, NoName> {
    let name = format!("{labels}.{domain}");
    match name.len() > LONGEST {
        true => Err(NoName::TooLong),
        false => Ok(name),
    }
}

/// The name at which it stands what an address is called (RFC 1035, section 3.5; RFC 3596, section 2.5).
pub fn reverse(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let mut name = String::with_capacity(72);
            for byte in ip.octets().iter().rev() {
                // Writing to a String cannot fail.
                let _ = write!(name, "{:x}.{:x}.", byte & 15, byte >> 4);
            }
            name + "ip6.arpa"
        }
    }
}

/// An address as one part of a name: `10-0-0-1`, `fd00-0-0-0-0-0-0-1`.
pub fn label_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string().replace('.', "-"),
        IpAddr::V6(ip) => {
            let parts = ip.segments().map(|part| format!("{part:x}"));
            parts.join("-")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lowered_and_a_hostname() {
        assert_eq!(service_name("Web", "mesh").unwrap(), "web.mesh");
        assert_eq!(service_name("a.b-c", "x.y").unwrap(), "a.b-c.x.y");
        assert_eq!(service_name("a_b", "mesh"), Err(NoName::Character('_')));
        for name in ["a-", "a..b", "a.", "a.-b"] {
            assert_eq!(service_name(name, "mesh"), Err(NoName::Part), "{name}");
        }
        let domain = ["d"; 126].join(".");
        assert_eq!(domain.len(), 251);
        assert!(service_name("a", &domain).is_ok());
        assert_eq!(service_name("ab", &domain), Err(NoName::TooLong));
    }

    #[test]
    fn addresses_have_names() {
        let v4 = "10.96.0.1".parse().unwrap();
        assert_eq!(reverse(v4), "1.0.96.10.in-addr.arpa");
        assert_eq!(label_of(v4), "10-96-0-1");
        let v6 = "fd00::1".parse().unwrap();
        let zeros = "0.".repeat(27);
        assert_eq!(reverse(v6), format!("1.{zeros}0.0.d.f.ip6.arpa"));
        assert_eq!(label_of(v6), "fd00-0-0-0-0-0-0-1");
    }
}
