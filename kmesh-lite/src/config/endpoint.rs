//! Endpoints and virtual addresses, which have short forms.

use super::choice::Choice;
use super::health::HealthField;
use super::port::OwnPortsText;
use super::read::{At, DocumentReader, Field, NAME, Read, Value, Wrong, text};
use super::scalar::{
    ADDRESS_PATTERN, Address, Connections, DnsName, ENDPOINT_ADDRESS_PATTERN, EndpointAddress,
    Flag, Label, LocalityPart, LocalityPath, LocalityRef, NameText, PortNumber, Weight, address,
    endpoint_address,
};
use super::suggest::quote;
use crate::model::{Locality, Name, OperatorState};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;
use std::net::IpAddr;
use toml::de::DeValue;

text! {
    /// An endpoint of a service in its long form: an address or a name, and what differs from the
    /// defaults.
    EndpointTable "a table with `address`, `name` or `dns`" {
        /// Address of the endpoint. Where the service has one port, the endpoint's own port may follow:
        /// `10.0.0.1:8081`. Either this, `name` or `dns`.
        address: Option<At<EndpointAddress>>,
        /// An entry of `[endpoints]`. What is given here too counts for this service only.
        name: Option<At<NameText>>,
        /// A DNS name, which the agent looks up: each of its addresses is an endpoint with everything that is said
        /// here. It is a whole name, to which no search list is added. What the resolver said last counts until it says
        /// something else, also while it fails. See `[dns]`.
        dns: Option<At<DnsName>>,
        /// Of `dns`, where the service has one port: the port of the endpoints. Default: the one that the service
        /// declares.
        port: Option<At<PortNumber>>,
        /// Of `dns`: whether it is the name of SRV records, like `_postgresql._tcp.db.internal`, which say ports, weights
        /// and priorities. The service has one port. Of several priorities, the lowest that has a usable endpoint is used.
        /// Default: false.
        srv: Option<At<Flag>>,
        /// Ports of the service behind which this endpoint has a port of its own, with that port:
        /// `{ 80 = 8081, "53/udp" = 5353 }`. Default: the targets that the service declares.
        ports: Option<OwnPortsText>,
        /// Where it is: a name from `[localities]`, or `region/zone/subzone`.
        locality: Option<At<LocalityRef>>,
        /// The network it is in.
        network: Option<At<Label>>,
        /// The host it runs on, as that host's `[node]` calls itself.
        node: Option<At<Label>>,
        /// The cluster it belongs to.
        cluster: Option<At<Label>>,
        /// Share of new connections relative to the other endpoints at the same priority. Default:
        /// 1. 0 takes no new connections and leaves established ones alone.
        weight: Option<Weight>,
        /// How it is checked, where that is otherwise than the service says.
        health: Option<HealthField>,
        /// What the operator wants of it. Default: `ready`.
        state: Option<Choice<OperatorState>>,
        /// How many connections of this host to it may be open in this service, counted exactly. At the limit
        /// another endpoint of the same priority is picked, then one of the next priority if the policy is
        /// `failover`; if none has room, the connect is refused (ECONNREFUSED). An endpoint is an address with its own
        /// ports as they are written: the same server in other words (`10.0.0.1:8081`, or the port of the service) is
        /// another endpoint, and counts from zero. Default: any number.
        max_connections: Option<Connections>,
    }
}

text! {
    /// A backend that several services share, or whose own address is captured.
    SharedEndpoint "a table with `address` or `dns`" {
        /// Its address, without a port. No two entries have the same. A service whose endpoint has a port
        /// of its own says so where it names the entry: `{ name = "db-1", ports = { 80 = 8081 } }`.
        address: Option<At<Address>>,
        /// In place of the address a DNS name, as in the endpoints of a service. No two entries have the same.
        dns: Option<At<DnsName>>,
        /// Of `dns`: whether it is the name of SRV records. Default: false.
        srv: Option<At<Flag>>,
        /// Where it is: a name from `[localities]`, or `region/zone/subzone`.
        locality: Option<At<LocalityRef>>,
        /// The network it is in.
        network: Option<At<Label>>,
        /// The host it runs on, as that host's `[node]` calls itself.
        node: Option<At<Label>>,
        /// The cluster it belongs to.
        cluster: Option<At<Label>>,
        /// Share of new connections in the services that do not say otherwise. Default: 1.
        weight: Option<Weight>,
        /// How it is checked in all services, where that is otherwise than they say.
        health: Option<HealthField>,
        /// What the operator wants of it in all services. Default: `ready`.
        state: Option<Choice<OperatorState>>,
        /// How many connections of this host to it may be open in each service that does not say otherwise. Each
        /// service counts its own. Default: any number.
        max_connections: Option<Connections>,
        /// An entry of `[waypoints]`: connections to this address go there first, whether a service
        /// chose it or a program asked for it. Not for a DNS name.
        waypoint: Option<At<NameText>>,
    }
}

/// An endpoint of a service: an address, a name from `[endpoints]`, or a table.
#[derive(Debug)]
pub enum EndpointText {
    /// With its port, if it has its own.
    Address(IpAddr, Option<u16>),
    Name(Name),
    Table(Box<EndpointTable>),
}

impl Read for EndpointText {
    const WHAT: &'static str = "an address, a name from `[endpoints]`, or a table";

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(text) => short(text)
                .map_err(|wrong| reader.wrong(value.span().into(), wrong))
                .ok(),
            DeValue::Table(_) => {
                let table = EndpointTable::read(value, reader)?;
                let said = [
                    Field::is_some(&table.address),
                    Field::is_some(&table.name),
                    Field::is_some(&table.dns),
                ];
                let wrong = match said.into_iter().filter(|is_said| *is_said).count() {
                    0 if table.sound => {
                        Wrong::new("an endpoint needs an `address`, a `name` or a `dns`")
                    }
                    0 | 1 => return table.sound.then(|| Self::Table(Box::new(table))),
                    _ => Wrong::new(
                        "an endpoint has an `address`, a `name` or a `dns`, and only one of them",
                    ),
                };
                reader.wrong(value.span().into(), wrong);
                None
            }
            _ => {
                reader.wrong_type(value, Self::WHAT);
                None
            }
        }
    }
}

impl EndpointText {
    /// Whether a DNS name is written here.
    pub fn is_dns(&self) -> bool {
        matches!(self, Self::Table(table) if table.dns.is_some())
    }
}

fn short(text: &str) -> Result<EndpointText, Wrong> {
    // What looks like an address is one, if a wrong one: names that do are refused.
    if text.contains([':', '/']) || looks_like_v4(text) {
        return endpoint_address(text).map(|(ip, port)| EndpointText::Address(ip, port));
    }
    text.parse().map(EndpointText::Name).map_err(|error| {
        let message = format!("{} is neither an address nor a name: {error}", quote(text));
        Wrong::new(message).expected(format!("an address, or the name of an entry: {NAME}"))
    })
}

/// Only digits and dots: never a name of an endpoint, or a slip in an address would be one.
pub fn looks_like_v4(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

impl JsonSchema for EndpointText {
    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An endpoint: an address, a name from `[endpoints]`, or a table.",
            "anyOf": [
                {
                    "type": "string",
                    "pattern": ENDPOINT_ADDRESS_PATTERN,
                    "description": "An address, with the endpoint's own port or without.",
                },
                {
                    "type": "string",
                    "pattern": super::read::NAME_PATTERN,
                    "not": { "pattern": "^[0-9.]+$" },
                    "description": "A name from `[endpoints]`.",
                },
                generator.subschema_for::<EndpointTable>(),
            ],
        })
    }
}

/// A virtual address, or `auto`.
#[derive(Clone, Copy, Debug)]
pub enum VipText {
    Fixed(IpAddr),
    Auto,
}

impl Read for VipText {
    const WHAT: &'static str = "an address, or `auto`";

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        let DeValue::String(text) = value.get_ref() else {
            reader.wrong_type(value, "a string: an address, or `auto`");
            return None;
        };
        if text == "auto" {
            return Some(Self::Auto);
        }
        match address(text) {
            Ok(ip) => Some(Self::Fixed(ip)),
            Err(mut wrong) => {
                if super::suggest::closest(text, ["auto"]).is_some() {
                    wrong.help = Some("did you mean `auto`?".to_owned());
                }
                reader.wrong(value.span().into(), wrong.expected(Self::WHAT));
                None
            }
        }
    }
}

impl JsonSchema for VipText {
    fn schema_name() -> Cow<'static, str> {
        "Vip".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A virtual address, or `auto`: one of each family from `[mesh] vip_ranges`.",
            "anyOf": [
                { "const": "auto" },
                { "type": "string", "pattern": ADDRESS_PATTERN },
            ],
        })
    }
}

text! {
    /// A locality in its long form. What is not given is unknown.
    LocalityTable "a table with `region`, `zone` and `subzone`" {
        /// The widest part, like a data centre's town.
        region: Option<LocalityPart>,
        /// A part of the region that fails by itself, like a building.
        zone: Option<LocalityPart>,
        /// A part of the zone, like a rack.
        subzone: Option<LocalityPart>,
    }
}

/// An entry of `[localities]`.
#[derive(Debug)]
pub struct LocalityText(pub Locality);

impl Read for LocalityText {
    const WHAT: &'static str = "`region/zone/subzone`, or a table with these keys";

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        if !matches!(value.get_ref(), DeValue::Table(_)) {
            if !matches!(value.get_ref(), DeValue::String(_)) {
                reader.wrong_type(value, Self::WHAT);
                return None;
            }
            return LocalityPath::read(value, reader).map(|path| Self(path.0));
        }
        let table = LocalityTable::read(value, reader)?;
        let part = |part: Option<LocalityPart>| part.map(|part| part.0.as_ref().to_owned());
        table.sound.then(|| {
            Self(Locality {
                region: part(table.region),
                zone: part(table.zone),
                subzone: part(table.subzone),
            })
        })
    }
}

impl JsonSchema for LocalityText {
    fn schema_name() -> Cow<'static, str> {
        "Locality".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A locality: `region/zone/subzone`, `region/zone`, `region`, or a table.",
            "anyOf": [
                generator.subschema_for::<LocalityPath>(),
                generator.subschema_for::<LocalityTable>(),
            ],
        })
    }
}
