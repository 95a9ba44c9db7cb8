//! Ports of this host: `22`, `"8000-8099"`, `"53/udp"`, `"10.0.0.5:5432"`, `"*"`.

use super::choice::choose;
use super::read::{DocumentReader, Read, Value, Wrong};
use super::scalar::{PortNumber, address, integer};
use super::suggest::{meant, quote};
use crate::model::{LocalPorts, Protocol};
use ipnetwork::IpNetwork;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;
use std::net::IpAddr;
use toml::de::DeValue;

/// Ports of this host that a policy is about.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalPortText(pub LocalPorts);

impl Read for LocalPortText {
    const WHAT: &'static str =
        "a port of this host: 22, `8000-8099`, `53/udp`, `10.0.0.5:5432`, `[fd00::1]:443` or `*`";

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        match value.get_ref() {
            DeValue::Integer(_) => {
                let port = integer(value, PortNumber::WHAT, 1, 65_535, reader)?;
                let port = u16::try_from(port).ok()?;
                Some(LocalPorts {
                    address: None,
                    protocol: Protocol::Tcp,
                    range: Some((port, port)),
                })
            }
            DeValue::String(text) => parse(text)
                .map_err(|wrong| reader.wrong(value.span().into(), wrong))
                .ok(),
            _ => {
                reader.wrong_type(value, Self::WHAT);
                None
            }
        }
        .map(Self)
    }
}

fn parse(text: &str) -> Result<LocalPorts, Wrong> {
    if text.parse::<IpNetwork>().is_ok() {
        return Err(without_port(text));
    }
    let (socket, protocol) = match text.split_once('/') {
        Some((socket, protocol)) => (socket, choose(protocol)?),
        None => (text, Protocol::Tcp),
    };
    let (address, ports) = match socket.rsplit_once(':') {
        _ if socket.parse::<IpAddr>().is_ok() => return Err(without_port(socket)),
        Some((address, ports)) => (Some(own_address(address, ports)?), ports),
        None => (None, socket),
    };
    Ok(LocalPorts {
        address,
        protocol,
        range: range(text, ports)?,
    })
}

/// An address of this host. `ports` stands behind it.
fn own_address(text: &str, ports: &str) -> Result<IpAddr, Wrong> {
    let in_brackets = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let plain = in_brackets.unwrap_or(text);
    let every = || {
        let wrong = Wrong::new(format!("{} is no address of one host", quote(text)));
        let wrong = wrong.expected("an address of this host, or only a port");
        wrong.help(format!("write `{ports}`: it is at every address"))
    };
    match plain.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => Err(every()),
        Ok(ip) if ip.is_ipv6() != in_brackets.is_some() => {
            let wrong = Wrong::new(format!("{} is not an address of this host", quote(text)));
            let wrong = wrong.expected(LocalPortText::WHAT);
            Err(wrong.help(meant(&match ip {
                IpAddr::V4(v4) => format!("{v4}:{ports}"),
                IpAddr::V6(v6) => format!("[{v6}]:{ports}"),
            })))
        }
        _ if text.is_empty() || text == "*" => Err(every()),
        _ if is_number(plain) => {
            let wrong = Wrong::new(format!("{} is not an address of this host", quote(text)));
            let wrong = wrong.expected(LocalPortText::WHAT);
            Err(wrong.help("name the port that programs of this host listen at".to_owned()))
        }
        _ => address(plain),
    }
}

/// None for every port.
fn range(whole: &str, text: &str) -> Result<Option<(u16, u16)>, Wrong> {
    if text == "*" {
        return Ok(None);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (number(whole, first)?, number(whole, last)?);
    match (low, high) {
        (low, high) if low > high => {
            let turned = format!("{high}-{low}");
            let wrong = Wrong::new(format!("the range {} is turned round", quote(text)));
            let wrong = wrong.expected("the lower port first");
            Err(wrong.help(meant(&whole.replacen(text, &turned, 1))))
        }
        (1, u16::MAX) => Ok(None),
        ends => Ok(Some(ends)),
    }
}

fn number(whole: &str, text: &str) -> Result<u16, Wrong> {
    if !is_number(text) {
        let wrong = Wrong::new(format!("{} is not a port of this host", quote(whole)));
        let several = whole.contains([',', ' ']);
        let help = several.then(|| "each port is an item of its own".to_owned());
        return Err(wrong.expected(LocalPortText::WHAT).help(help));
    }
    match text.parse() {
        Ok(0) => Err(Wrong::new("port 0 cannot be listened at").expected(PortNumber::WHAT)),
        Ok(port) => Ok(port),
        Err(_) => {
            Err(Wrong::new(format!("{} is out of range", quote(text))).expected(PortNumber::WHAT))
        }
    }
}

fn is_number(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Of an address or a network alone.
fn without_port(text: &str) -> Wrong {
    let wrong = Wrong::new(format!("{} is not a port of this host", quote(text)));
    let wrong = wrong.expected(LocalPortText::WHAT);
    wrong.help(match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => format!("every port of it is `{v4}:*`"),
        Ok(IpAddr::V6(v6)) => format!("every port of it is `[{v6}]:*`"),
        Err(_) => "networks that connect belong in `from`".to_owned(),
    })
}

impl JsonSchema for LocalPortText {
    fn schema_name() -> Cow<'static, str> {
        "LocalPort".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {
                    "type": "string",
                    "pattern": r"^(([0-9.]+|\[[0-9A-Fa-f:.]+\]):)?(\*|[0-9]{1,5}(-[0-9]{1,5})?)(/(tcp|udp))?$",
                },
                { "type": "integer", "minimum": 1, "maximum": 65535 },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let ports = |address: Option<&str>, protocol, range| LocalPorts {
            address: address.map(|it| it.parse().unwrap()),
            protocol,
            range,
        };
        for (text, meant) in [
            ("22", ports(None, Protocol::Tcp, Some((22, 22)))),
            ("22-22", ports(None, Protocol::Tcp, Some((22, 22)))),
            ("8000-8099", ports(None, Protocol::Tcp, Some((8000, 8099)))),
            ("53/udp", ports(None, Protocol::Udp, Some((53, 53)))),
            ("*", ports(None, Protocol::Tcp, None)),
            ("*/udp", ports(None, Protocol::Udp, None)),
            ("1-65535", ports(None, Protocol::Tcp, None)),
            (
                "10.0.0.5:5432",
                ports(Some("10.0.0.5"), Protocol::Tcp, Some((5432, 5432))),
            ),
            (
                "[fd00::1]:443/tcp",
                ports(Some("fd00::1"), Protocol::Tcp, Some((443, 443))),
            ),
            (
                "[fd00::1]:*/udp",
                ports(Some("fd00::1"), Protocol::Udp, None),
            ),
            (
                "10.0.0.5:1-9/udp",
                ports(Some("10.0.0.5"), Protocol::Udp, Some((1, 9))),
            ),
        ] {
            assert_eq!(parse(text).unwrap(), meant, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_port_of_this_host_is_refused_and_helped_with() {
        for (text, help) in [
            ("8099-8000", "did you mean `8000-8099`?"),
            ("10.0.0.5:9-1/udp", "did you mean `10.0.0.5:1-9/udp`?"),
            ("0", ""),
            ("0-80", ""),
            ("65536", ""),
            ("80-", ""),
            ("-80", ""),
            ("+80", ""),
            ("", ""),
            ("http", ""),
            ("22,80", "each port is an item"),
            ("22/sctp", ""),
            ("22/TCP", "did you mean `tcp`?"),
            ("80:8080", "name the port"),
            (":80", "write `80`"),
            ("*:80", "write `80`"),
            ("0.0.0.0:80", "write `80`"),
            ("[::]:80", "write `80`"),
            ("10.0.0.5", "every port of it is `10.0.0.5:*`"),
            ("fd00::5", "every port of it is `[fd00::5]:*`"),
            ("[fd00::5]", ""),
            ("[10.0.0.5]:80", "did you mean `10.0.0.5:80`?"),
            ("10.0.0.0/8", "networks that connect"),
            ("[::ffff:10.0.0.5]:80", "write `10.0.0.5`"),
            ("８０", ""),
        ] {
            let wrong = parse(text).expect_err(text);
            let said = wrong.help.unwrap_or_default();
            assert!(said.starts_with(help), "{text}: {said}");
            assert_eq!(said.is_empty(), help.is_empty(), "{text}: {said}");
        }
    }
}
