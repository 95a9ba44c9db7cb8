//! Ports: `80`, `"80"`, `"80:8080"`, `"53:53/udp"`, `{ port = 80, target = 8080 }`.

use super::choice::{Choice, choose};
use super::read::{At, DocumentReader, Read, Required, Value, Wrong, text};
use super::scalar::{PortName, PortNumber, integer};
use super::suggest::quote;
use crate::model::{PortMapping, Protocol};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;
use std::fmt;
use toml::de::DeValue;

/// One port of a service, and what it is called in DNS.
#[derive(Debug)]
pub struct PortText(pub PortMapping, pub Option<Box<str>>);

text! {
    /// A port of a service in its long form.
    PortTable "a table with `port`, `target`, `protocol` and `name`" {
        /// What clients connect to.
        port: Required<PortNumber>,
        /// Port of the endpoints. Default: the same as `port`.
        target: Option<PortNumber>,
        /// Default: `tcp`.
        protocol: Option<Choice<Protocol>>,
        /// What it is called in DNS: with `http`, SRV records are at `_http._tcp.NAME.DOMAIN`, as they are at
        /// `_80._tcp.NAME.DOMAIN` in any case. Default: only its number.
        name: Option<PortName>,
    }
}

impl Read for PortText {
    const WHAT: &'static str = "a port: 80, `80:8080`, `53:53/udp` or a table";

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        match value.get_ref() {
            DeValue::Integer(_) => {
                let port = integer(value, PortNumber::WHAT, 1, 65_535, reader)?;
                mapping(port, port, Protocol::Tcp).map(unnamed)
            }
            DeValue::String(text) => parse(text)
                .map_err(|wrong| reader.wrong(value.span().into(), wrong))
                .map(unnamed)
                .ok(),
            DeValue::Table(_) => {
                let table = PortTable::read(value, reader)?;
                if !table.sound {
                    return None;
                }
                let port = table.port.0?.0;
                let target = table.target.map_or(port, |target| target.0);
                let protocol = table.protocol.map_or(Protocol::Tcp, |chosen| chosen.0);
                let name = table.name.map(|name| name.0);
                Some(Self(mapping(port, target, protocol)?, name))
            }
            _ => {
                reader.wrong_type(value, Self::WHAT);
                None
            }
        }
    }
}

fn unnamed(mapping: PortMapping) -> PortText {
    PortText(mapping, None)
}

fn parse(text: &str) -> Result<PortMapping, Wrong> {
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, protocol)) => (ports, choose(protocol)?),
        None => (text, Protocol::Tcp),
    };
    let (port, target) = ports.split_once(':').unwrap_or((ports, ports));
    Ok(PortMapping {
        protocol,
        port: number(text, port)?,
        target: number(text, target)?,
    })
}

fn number(whole: &str, text: &str) -> Result<u16, Wrong> {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits {
        let wrong = Wrong::new(format!("{} is not a port", quote(whole)));
        return Err(wrong.expected(PortText::WHAT).help(
            text.contains(['-', ','])
                .then(|| "each port is an item of its own; ranges are not supported".to_owned()),
        ));
    }
    match text.parse() {
        Ok(0) => Err(Wrong::new("port 0 cannot be connected to").expected(PortNumber::WHAT)),
        Ok(port) => Ok(port),
        Err(_) => {
            Err(Wrong::new(format!("{} is out of range", quote(text))).expected(PortNumber::WHAT))
        }
    }
}

fn mapping(port: u32, target: u32, protocol: Protocol) -> Option<PortMapping> {
    Some(PortMapping {
        protocol,
        port: u16::try_from(port).ok()?,
        target: u16::try_from(target).ok()?,
    })
}

/// Ports of the service behind which an endpoint has its own: `{ 80 = 8081 }`.
#[derive(Debug)]
pub struct OwnPortsText {
    pub items: Vec<(At<PortKey>, u16)>,
}

/// A port of the service: `80`, or `80/udp` where the protocol matters.
#[derive(Clone, Copy, Debug)]
pub struct PortKey {
    pub port: u16,
    pub protocol: Option<Protocol>,
}

impl PortKey {
    /// Whether it means this port of the service.
    pub fn means(&self, mapping: &PortMapping) -> bool {
        let protocol = self.protocol.unwrap_or(mapping.protocol);
        (self.port, protocol) == (mapping.port, mapping.protocol)
    }
}

impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Some(protocol) => write!(f, "{}/{protocol}", self.port),
            None => self.port.fmt(f),
        }
    }
}

impl Read for OwnPortsText {
    const WHAT: &'static str =
        "a table from ports of the service to ports of the endpoint, like `{ 80 = 8081 }`";

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            reader.wrong_type(value, Self::WHAT);
            return None;
        };
        let mut items = Vec::with_capacity(table.len());
        for (key, value) in table {
            let span = key.span().into();
            let port = key_of(key.get_ref())
                .map_err(|wrong| reader.wrong(span, wrong))
                .ok();
            let own = PortNumber::read(value, reader);
            if let (Some(port), Some(own)) = (port, own) {
                let key = At { span, value: port };
                items.push((key, u16::try_from(own.0).ok()?));
            }
        }
        (items.len() == table.len()).then_some(Self { items })
    }
}

fn key_of(text: &str) -> Result<PortKey, Wrong> {
    let (port, protocol) = match text.split_once('/') {
        Some((port, protocol)) => (port, Some(choose(protocol)?)),
        None => (text, None),
    };
    let port = number(text, port)
        .map_err(|wrong| wrong.expected("a port of the service, like `80` or `\"53/udp\"`"))?;
    Ok(PortKey { port, protocol })
}

impl JsonSchema for OwnPortsText {
    fn schema_name() -> Cow<'static, str> {
        "OwnPorts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Ports of the service, with the port that the endpoint has behind each.",
            "type": "object",
            "propertyNames": { "pattern": "^[0-9]{1,5}(/(tcp|udp))?$" },
            "additionalProperties": { "type": "integer", "minimum": 1, "maximum": 65535 },
        })
    }
}

impl JsonSchema for PortText {
    fn schema_name() -> Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A port that clients connect to, and the endpoints' port behind it.",
            "anyOf": [
                {
                    "type": "string",
                    "pattern": "^[0-9]{1,5}(:[0-9]{1,5})?(/(tcp|udp))?$",
                    "description": "`PORT`, `PORT:TARGET`, either with `/tcp` or `/udp` after it.",
                },
                { "type": "integer", "minimum": 1, "maximum": 65535 },
                generator.subschema_for::<PortTable>(),
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms() {
        let tcp = |port, target| PortMapping {
            protocol: Protocol::Tcp,
            port,
            target,
        };
        assert_eq!(parse("80").unwrap(), tcp(80, 80));
        assert_eq!(parse("80:8080").unwrap(), tcp(80, 8080));
        assert_eq!(parse("80:8080/tcp").unwrap(), tcp(80, 8080));
        let udp = parse("53/udp").unwrap();
        assert_eq!(
            (udp.protocol, udp.port, udp.target),
            (Protocol::Udp, 53, 53)
        );
    }

    #[test]
    fn what_is_not_a_port_is_refused() {
        for text in [
            "",
            ":",
            "80:",
            ":80",
            "80:80:80",
            "+80",
            " 80",
            "80 ",
            "0x50",
            "80-90",
            "http",
            "0",
            "80:0",
            "65536",
            "99999999999",
            "80/sctp",
            "80/",
            "/tcp",
            "80/tcp/udp",
            "-1",
            "８０",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
