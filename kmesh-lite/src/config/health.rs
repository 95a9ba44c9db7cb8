//! How endpoints are checked, as the file says it. It has a short form.

use super::choice::{Choice, Choices};
use super::read::{At, DocumentReader, List, OneOrMore, Read, Value, Wrong, text};
use super::scalar::{
    Address, Count, DurationText, FilePath, Flag, Hostname, Line, PortNumber, Share, Spread,
    StatusNumber, Token, UrlPath,
};
use super::suggest::quote;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;
use std::collections::BTreeMap;
use toml::de::DeValue;

text! {
    /// How endpoints are checked. What is not given comes from `[health]`: first for the service, then for the
    /// endpoint. The probe goes to the endpoint itself, whatever waypoints there are.
    HealthText "a check, or a table with `check`" {
        /// What a probe does. Default: `none`.
        check: Option<At<Choice<CheckKind>>>,
        /// How often an endpoint is probed that is as it was. Default: `5s`.
        interval: Option<At<DurationText>>,
        /// How often it is probed while it is not healthy, or was found otherwise than it counts. Default: `1s`,
        /// or `interval` if that is shorter.
        fast_interval: Option<At<DurationText>>,
        /// How long a probe may take. Default: `1s`, or `interval` if that is shorter.
        timeout: Option<At<DurationText>>,
        /// By how much an interval differs each time, at random, in percent. Default: 10.
        jitter: Option<At<Spread>>,
        /// How many probes in a row have to succeed before an endpoint counts as healthy. Default: 2.
        rise: Option<At<Count>>,
        /// How many in a row have to fail before it counts as unhealthy. Default: 3.
        fall: Option<At<Count>>,
        /// What an endpoint counts as before it was probed. Default: `healthy`.
        initial: Option<At<Choice<Initial>>>,
        /// The port that is probed. Default: the endpoint's port behind the first TCP port of the service.
        port: Option<At<PortNumber>>,
        /// The address of this host that probes come from. Default: the one that its routes say.
        source: Option<At<Address>>,
        /// Of `http` and `https`. Default: `GET`.
        method: Option<At<Token>>,
        /// Of `http` and `https`: what is asked for. Default: `/`.
        path: Option<At<UrlPath>>,
        /// Of `http`, `https` and `grpc`: the host that is asked for. Default: the endpoint's address and port.
        host: Option<At<Line>>,
        /// Of `http` and `https`: headers by name.
        headers: Option<At<Headers>>,
        /// Of `http` and `https`: what is good, such as `200`, or `["200-299", 401]`. Default: `"200-399"`.
        status: Option<OneOrMore<StatusNumber>>,
        /// Of `http` and `https`: what the first 64 kB of the answer's body have to contain.
        body: Option<At<Line>>,
        /// Of `grpc`: whether it is over TLS. Default: false.
        tls: Option<At<Flag>>,
        /// Of TLS: whether the server's certificate has to be valid. Default: true.
        verify: Option<At<Flag>>,
        /// Of TLS: the name that the certificate is for. Default: `host`, or the endpoint's address.
        server_name: Option<At<Hostname>>,
        /// Of TLS: the file of the authorities that certificates may be from, in PEM, or of the very certificate that the
        /// server has. The agent has to be able to read it. Default: those of the host.
        authorities: Option<At<FilePath>>,
        /// Of TLS: the file of the certificate that is shown to the server, in PEM.
        certificate: Option<At<FilePath>>,
        /// Of TLS: the file of that certificate's key, in PEM.
        key: Option<At<FilePath>>,
        /// Of `grpc`: whose health is asked for. Default: that of the whole server.
        grpc_service: Option<At<Line>>,
        /// Of `command`: a program and its arguments. It is run by the agent's user without a shell, with
        /// `KMESH_LITE_ADDRESS` and `KMESH_LITE_PORT` in its environment, and says by its exit status whether the
        /// endpoint is healthy: 0 for yes.
        command: Option<List<Line>>,
        /// Of a service, with or without a check: how many connects of this host to an endpoint have to fail in a row
        /// before it takes no new ones for a while. It needs `[accounting]`. Default: any number may.
        eject_after: Option<At<Count>>,
        /// For how long it takes none the first time; the second time twice as long, and so on up to ten times. A
        /// probe that succeeds again ends it. Default: `30s`.
        eject_for: Option<At<DurationText>>,
        /// The share of the endpoints of a service that may be out at a time. Default: 0.5.
        eject_at_most: Option<At<Share>>,
    }
}

/// What a probe does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckKind {
    None,
    Tcp,
    Http,
    Https,
    Grpc,
    Command,
}

impl Choices for CheckKind {
    const NAME: &'static str = "CheckKind";
    const WHAT: &'static str = "a check: `tcp`, `http`, `https`, `grpc`, `command` or `none`";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::None,
            "none",
            "no probe: the endpoint counts as healthy",
        ),
        (Self::Tcp, "tcp", "it takes a connection"),
        (Self::Http, "http", "it answers a request as expected"),
        (Self::Https, "https", "the same over TLS"),
        (
            Self::Grpc,
            "grpc",
            "it says SERVING by the standard health protocol of gRPC",
        ),
        (
            Self::Command,
            "command",
            "a program that the agent runs ends with status 0",
        ),
    ];

    fn converted(word: &str) -> Option<&'static str> {
        Some(match word.to_ascii_lowercase().as_str() {
            "tcp-check" | "connect" | "tcp_check" => "a connection is taken: `tcp`",
            "httpchk" | "http_get" => "an answer is as expected: `http`",
            "ssl_get" | "tls" => "an answer over TLS is as expected: `https`",
            "script" | "exec" | "misc_check" | "external-check" => "a program: `command`",
            "ping" | "icmp" => "no probe is a ping; `command` can run one",
            _ => return None,
        })
    }
}

/// What an endpoint counts as before it was probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    Healthy,
    Unhealthy,
}

impl Choices for Initial {
    const NAME: &'static str = "Initial";
    const WHAT: &'static str = "`healthy` or `unhealthy`";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Healthy,
            "healthy",
            "it takes connections until probes fail",
        ),
        (
            Self::Unhealthy,
            "unhealthy",
            "it takes no connection until a probe succeeds",
        ),
    ];
}

/// A check in a service or an endpoint: its kind alone, or a table.
#[derive(Debug)]
pub enum HealthField {
    Kind(Choice<CheckKind>),
    Table(Box<HealthText>),
}

impl Read for HealthField {
    const WHAT: &'static str = "a check like `tcp`, or a table with `check`";

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(_) => Choice::read(value, reader).map(Self::Kind),
            DeValue::Table(_) => {
                let table = HealthText::read(value, reader)?;
                table.sound.then(|| Self::Table(Box::new(table)))
            }
            _ => {
                reader.wrong_type(value, Self::WHAT);
                None
            }
        }
    }
}

impl JsonSchema for HealthField {
    fn schema_name() -> Cow<'static, str> {
        "Health".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let kind = generator.subschema_for::<Choice<CheckKind>>();
        let table = generator.subschema_for::<HealthText>();
        json_schema!({
            "description": "How endpoints are checked: the kind of a check, or a table.",
            "anyOf": [kind, table],
        })
    }
}

/// Headers of a request.
#[derive(Debug)]
pub struct Headers(pub BTreeMap<String, String>);

impl Read for Headers {
    const WHAT: &'static str = "a table of headers like `{ X-Probe = \"1\" }`";

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            reader.wrong_type(value, Self::WHAT);
            return None;
        };
        let mut headers = BTreeMap::new();
        let mut sound = true;
        for (name, value) in table {
            if !is_token(name.get_ref()) {
                let message = format!("{} is not the name of a header", quote(name.get_ref()));
                reader.wrong(
                    name.span().into(),
                    Wrong::new(message).expected(Token::WHAT),
                );
                sound = false;
            }
            match Line::read(value, reader) {
                Some(line) => drop(headers.insert(name.get_ref().to_string(), line.0)),
                None => sound = false,
            }
        }
        sound.then_some(Self(headers))
    }
}

impl JsonSchema for Headers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Headers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": "string" },
        })
    }
}

/// A word of HTTP (RFC 9110, 5.6.2).
pub fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

impl HealthText {
    /// Keys that are given and do something for some kinds of checks only, each with those.
    pub fn particular(
        &self,
    ) -> impl Iterator<Item = (super::span::Span, &'static str, &'static [CheckKind])> {
        const HTTP: &[CheckKind] = &[CheckKind::Http, CheckKind::Https];
        const NAMED: &[CheckKind] = &[CheckKind::Http, CheckKind::Https, CheckKind::Grpc];
        const TLS: &[CheckKind] = &[CheckKind::Https, CheckKind::Grpc];
        const GRPC: &[CheckKind] = &[CheckKind::Grpc];
        const COMMAND: &[CheckKind] = &[CheckKind::Command];
        fn at<T>(written: &Option<At<T>>) -> Option<super::span::Span> {
            written.as_ref().map(|it| it.span)
        }
        let status = self.status.as_ref();
        let status = status.and_then(|list| Some(list.items.first()?.span));
        let all = [
            (at(&self.method), "method", HTTP),
            (at(&self.path), "path", HTTP),
            (at(&self.host), "host", NAMED),
            (at(&self.headers), "headers", HTTP),
            (status, "status", HTTP),
            (at(&self.body), "body", HTTP),
            (at(&self.tls), "tls", GRPC),
            (at(&self.verify), "verify", TLS),
            (at(&self.server_name), "server_name", TLS),
            (at(&self.authorities), "authorities", TLS),
            (at(&self.certificate), "certificate", TLS),
            (at(&self.key), "key", TLS),
            (at(&self.grpc_service), "grpc_service", GRPC),
            (
                self.command.as_ref().map(|list| list.span),
                "command",
                COMMAND,
            ),
        ];
        all.into_iter()
            .filter_map(|(span, key, kinds)| Some((span?, key, kinds)))
    }
}
