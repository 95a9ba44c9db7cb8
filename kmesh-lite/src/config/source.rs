//! Addresses that connect, as policies and groups name them.

use super::read::{NAME, Wrong};
use super::scalar::{address, locality_ref, without_leading_zeros};
use super::suggest::{closest, meant, quote};
use crate::model::Name;
use ipnetwork::IpNetwork;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Addresses as they are written: groups and localities have names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceRef {
    /// All of a network; its host bits are 0.
    Network(IpNetwork),
    /// Those of the endpoints of a service.
    Service(Name),
    /// Those of a group.
    Group(Name),
    /// Those of the endpoints that are there.
    Locality(Box<str>),
}

/// As it is written.
impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Service(name) => write!(f, "service:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Locality(text) => write!(f, "locality:{text}"),
        }
    }
}

pub const WHAT: &str = "a network like `10.1.0.0/16`, an address, `service:NAME`, `locality:NAME`, `locality:REGION/ZONE` or `group:NAME`";

pub const PATTERN: &str = r"^[0-9.]+(/[0-9]{1,2})?$|^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(/[0-9]{1,3})?$|^(service|group):[A-Za-z0-9][A-Za-z0-9._-]{0,62}$|^locality:[^/\s\x00-\x1f\x7f]([^/\x00-\x1f\x7f]*[^/\s\x00-\x1f\x7f])?(/[^/\s\x00-\x1f\x7f]([^/\x00-\x1f\x7f]*[^/\s\x00-\x1f\x7f])?){0,2}$";

const KINDS: [&str; 3] = ["service", "locality", "group"];

/// A network, an address, or the name of others.
pub fn source(text: &str) -> Result<SourceRef, Wrong> {
    let (ip, bits) = match text.split_once('/') {
        Some((ip, bits)) => (ip, Some(bits)),
        None => (text, None),
    };
    if let Ok(ip) = ip.parse::<IpAddr>() {
        return network(text, ip, bits).map(SourceRef::Network);
    }
    let name = |of: &str, name: &str| {
        name.parse::<Name>().map_err(|error| {
            let message = format!("{} is not the name of a {of}: {error}", quote(name));
            Wrong::new(message).expected(NAME)
        })
    };
    match text.split_once(':') {
        Some(("service", rest)) => name("service", rest).map(SourceRef::Service),
        Some(("group", rest)) => name("group", rest).map(SourceRef::Group),
        Some(("locality", rest)) => match rest.contains('/') {
            true => locality_ref(rest),
            // A region, or a name from `[localities]`, which may have fewer letters.
            false => super::scalar::locality(rest).map(|_| rest),
        }
        .map(|rest| SourceRef::Locality(rest.into())),
        _ => Err(no_source(text, ip)),
    }
}

fn network(text: &str, ip: IpAddr, bits: Option<&str>) -> Result<IpNetwork, Wrong> {
    let whole = if ip.is_ipv4() { 32 } else { 128 };
    let wrong = |why: &str, help: Option<String>| {
        let message = format!("{} is not a network: {why}", quote(text));
        Err(Wrong::new(message).help(help))
    };
    let bits = match bits {
        None => whole,
        Some(bits) if bits.len() <= 3 && bits.bytes().all(|byte| byte.is_ascii_digit()) => {
            match bits.parse::<u8>() {
                Ok(bits) if bits <= whole => bits,
                _ => {
                    let why = format!("it has more than {whole} bits");
                    return wrong(&why, bits.is_empty().then(|| meant(&ip.to_string())));
                }
            }
        }
        Some(mask) => {
            let bits = mask.parse::<Ipv4Addr>().map(u32::from).ok();
            let bits = bits.filter(|mask| mask.leading_ones() + mask.trailing_zeros() == 32);
            let help = bits.map(|mask| meant(&format!("{ip}/{}", mask.leading_ones())));
            return wrong("its length is not a number of bits", help);
        }
    };
    if let IpAddr::V6(v6) = ip
        && let Some(v4) = v6.to_ipv4_mapped()
        && bits >= 96
    {
        let v4 = IpNetwork::new(v4.into(), bits - 96).map(|it| written(it.network(), bits - 96));
        let help = v4.map(|v4| {
            format!("write `{v4}`: connections of IPv4 arrive as such, also at IPv6 sockets")
        });
        return wrong("it is an IPv4 network in IPv6 form", help.ok());
    }
    match IpNetwork::new(ip, bits) {
        Ok(network) if network.ip() == network.network() => Ok(network),
        Ok(network) => {
            let network = written(network.network(), bits);
            let help = format!("did you mean `{network}`? The address alone is `{ip}`");
            wrong("it has host bits", Some(help))
        }
        Err(_) => wrong("its length is not a number of bits", None),
    }
}

fn written(ip: IpAddr, bits: u8) -> String {
    format!("{ip}/{bits}")
}

/// Why a text is none of the forms. `ip` is what stands before a slash.
fn no_source(text: &str, ip: &str) -> Wrong {
    let wrong = Wrong::new(format!("{} is no address that connects", quote(text)));
    let everybody =
        || "`0.0.0.0/0` is every IPv4 address, and `::/0` every IPv6 address".to_owned();
    let bare = |text: &str| text.trim_matches(|c: char| "[] ".contains(c)).to_owned();
    let help = if matches!(text, "*" | "all" | "any") {
        Some(everybody())
    } else if let Ok(socket) = text.parse::<SocketAddr>() {
        let ip = socket.ip();
        Some(format!(
            "write `{ip}`: clients connect from any port, and ports of this host belong in `ports`"
        ))
    } else if bare(ip).parse::<IpAddr>().is_ok() {
        Some(meant(&bare(text)))
    } else if ip.contains('%') {
        Some("an interface cannot be named here".to_owned())
    } else if let Some((first, last)) = text.split_once('-')
        && first.trim().parse::<IpAddr>().is_ok()
        && last.trim().parse::<IpAddr>().is_ok()
    {
        Some("write a range as networks, each an item of its own".to_owned())
    } else if text.contains([',', ' ']) {
        Some("each is an item of its own".to_owned())
    } else if let Some((kind, rest)) = text.split_once(':') {
        match closest(kind, KINDS) {
            Some(kind) => Some(meant(&format!("{kind}:{}", rest.trim()))),
            None if matches!(kind, "user" | "unit" | "cgroup") => Some(programs()),
            None => None,
        }
    } else if text.starts_with('/') || text.ends_with(".service") || text.ends_with(".slice") {
        Some(programs())
    } else if text == "localhost" {
        Some("write `127.0.0.0/8` or `::1`".to_owned())
    } else if let Some(help) = without_leading_zeros(ip) {
        Some(help)
    } else if is_dns_name(text) {
        Some(format!(
            "make {} an endpoint of a service by `{{ dns = \"{text}\" }}`, and write `service:NAME`",
            quote(text)
        ))
    } else if text.parse::<Name>().is_ok() && address(text).is_err() && !is_digits(text) {
        Some(format!("did you mean `service:{text}` or `group:{text}`?"))
    } else {
        None
    };
    wrong.help(help)
}

fn programs() -> String {
    "programs of this host belong in `clients`".to_owned()
}

fn is_digits(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn is_dns_name(text: &str) -> bool {
    let last = text.rsplit_once('.').map(|(_, last)| last);
    last.is_some_and(|last| last.len() > 1 && last.bytes().all(|byte| byte.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_names() {
        for (text, network) in [
            ("10.1.0.0/16", "10.1.0.0/16"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd00::/8", "fd00::/8"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            // It has the addresses of IPv4 in their IPv6 form, and others.
            ("::fffe:0:0/95", "::fffe:0:0/95"),
        ] {
            let network = SourceRef::Network(network.parse().unwrap());
            assert_eq!(source(text).unwrap(), network, "{text}");
        }
        let shop = || "shop".parse().unwrap();
        assert_eq!(source("service:shop").unwrap(), SourceRef::Service(shop()));
        assert_eq!(source("group:shop").unwrap(), SourceRef::Group(shop()));
        for place in ["eu", "eu/a", "eu/a/r1", "eu west"] {
            let found = source(&format!("locality:{place}")).unwrap();
            assert_eq!(found, SourceRef::Locality(place.into()));
        }
    }

    #[test]
    fn what_is_neither_is_refused_and_helped_with() {
        for (text, help) in [
            ("10.1.2.3/8", "did you mean `10.0.0.0/8`?"),
            ("fd00::1/8", "did you mean `fd00::/8`?"),
            ("10.0.0.0/33", ""),
            ("10.0.0.0/", "did you mean `10.0.0.0`?"),
            ("10.0.0.0/+8", ""),
            ("10.0.0.0/8/8", ""),
            ("10.0.0.0/255.0.0.0", "did you mean `10.0.0.0/8`?"),
            ("::ffff:10.1.0.0/112", "write `10.1.0.0/16`"),
            ("::ffff:10.1.2.3", "write `10.1.2.3/32`"),
            ("10.0.0.1:80", "write `10.0.0.1`"),
            ("[fd00::1]:80", "write `fd00::1`"),
            ("[fd00::1]", "did you mean `fd00::1`?"),
            ("010.0.0.1", "write `10.0.0.1`"),
            ("10.0.0.1-10.0.0.9", "write a range as networks"),
            ("10.0.0.1, 10.0.0.2", "each is an item"),
            ("fe80::1%eth0", "an interface cannot be named"),
            ("*", "`0.0.0.0/0` is every"),
            ("serivce:web", "did you mean `service:web`?"),
            ("unit:web.service", "programs of this host"),
            ("web.service", "programs of this host"),
            ("/user.slice", "programs of this host"),
            ("web", "did you mean `service:web`"),
            ("db.internal", "make `db.internal` an endpoint"),
            ("localhost", "write `127.0.0.0/8`"),
            ("service:", ""),
            ("service:a b", ""),
            ("locality:", ""),
            ("locality:a/b/c/d", "a locality has at most three"),
            ("1.2.3", ""),
            ("", ""),
            ("日本", ""),
        ] {
            let wrong = source(text).expect_err(text);
            let said = wrong.help.unwrap_or_default();
            assert!(said.starts_with(help), "{text}: {said}");
            assert_eq!(said.is_empty(), help.is_empty(), "{text}: {said}");
        }
    }
}
