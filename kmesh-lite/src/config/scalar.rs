//! Values that are one string: addresses, ranges, names, hostnames, cgroups; and, in a file of their own, numbers.

mod number;

pub use number::*;

use super::cgroup::cgroup_ref;
use super::policy::principal;
use super::read::{DocumentReader, NAME, NAME_PATTERN, Read, Value, Wrong};
use super::source::{self, SourceRef};
use super::suggest::quote;
use crate::model::{self, CgroupRef, Locality, LogTarget, Name, Principal};
use ipnetwork::IpNetwork;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use toml::de::DeValue;

/// Declares a type that is read from one string: what is expected, the pattern of its schema, and
/// the function that reads it.
macro_rules! scalar {
    ($($(#[$doc:meta])* $name:ident($inner:ty): $what:expr, $pattern:expr, $parse:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(pub $inner);

        impl Read for $name {
            const WHAT: &'static str = $what;

            fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
                let DeValue::String(text) = value.get_ref() else {
                    reader.wrong_type(value, &format!("a string: {}", $what));
                    return None;
                };
                let parse: fn(&str, &mut DocumentReader) -> Result<$inner, Wrong> = $parse;
                match parse(text, reader) {
                    Ok(inner) => Some(Self(inner)),
                    Err(mut wrong) => {
                        wrong.expected.get_or_insert_with(|| $what.to_owned());
                        reader.wrong(value.span().into(), wrong);
                        None
                    }
                }
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    )+};
}

pub const ADDRESS_PATTERN: &str = "^[0-9.]+$|^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*$";

/// As [`ADDRESS_PATTERN`], which also allows an IPv4 address with a port.
pub const ENDPOINT_ADDRESS_PATTERN: &str =
    r"^[0-9.]+$|^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*$|^\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}$";

scalar! {
    /// The address of an endpoint, and its port if it is written there.
    EndpointAddress((IpAddr, Option<u16>)): "an address, or one with a port like `10.0.0.1:8081`",
        ENDPOINT_ADDRESS_PATTERN, |text, _| endpoint_address(text);
    /// An IPv4 or IPv6 address of one host.
    Address(IpAddr): "an IPv4 or IPv6 address", ADDRESS_PATTERN, |text, _| address(text);

    /// Addresses in CIDR notation.
    Cidr(IpNetwork): "a range of addresses like `10.96.0.0/16`", "^[0-9A-Fa-f:.]+/[0-9]+$",
        |text, _| cidr(text);

    /// Address and port.
    SocketText(SocketAddr): "an address and a port, like `10.0.0.5:15008` or `[fd00::5]:15008`",
        r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]+$", |text, _| socket(text);

    /// What an entry of the file is called.
    NameText(Name): NAME, NAME_PATTERN, |text, _| {
        text.parse()
            .map_err(|error| Wrong::new(format!("{} is not a name: {error}", quote(text))))
    };

    /// A network, node or cluster.
    Label(Arc<str>): "a word without control characters",
        r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$",
        |text, reader| label(text).map(|label| reader.intern(label));

    /// A region, zone or subzone.
    LocalityPart(Arc<str>): "a word without `/`",
        r"^[^/\s\x00-\x1f\x7f]([^/\x00-\x1f\x7f]*[^/\s\x00-\x1f\x7f])?$",
        |text, reader| locality_part(text).map(|part| reader.intern(part));

    /// `region/zone/subzone`, `region/zone` or `region`.
    LocalityPath(Locality): "`region/zone/subzone`, `region/zone` or `region`",
        r"^[^/\s\x00-\x1f\x7f]([^/\x00-\x1f\x7f]*[^/\s\x00-\x1f\x7f])?(/[^/\s\x00-\x1f\x7f]([^/\x00-\x1f\x7f]*[^/\s\x00-\x1f\x7f])?){0,2}$", |text, _| locality(text);

    /// A name from `[localities]`, or a locality in place: `region/zone/subzone` or `region/zone`.
    LocalityRef(Arc<str>): "a name from `[localities]`, or `region/zone/subzone`",
        r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$|^[^/\s\x00-\x1f\x7f]([^/\x00-\x1f\x7f]*[^/\s\x00-\x1f\x7f])?(/[^/\s\x00-\x1f\x7f]([^/\x00-\x1f\x7f]*[^/\s\x00-\x1f\x7f])?){1,2}$",
        |text, reader| locality_ref(text).map(|text| reader.intern(text));

    /// A DNS name in lower case.
    Hostname(Box<str>): "a DNS name in lower case, like `payments.mesh`",
        r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$",
        |text, _| hostname(text);

    /// The DNS name of a service, or all names below one.
    ServiceHostname(Box<str>): "a DNS name in lower case, like `payments.mesh`, or `*.payments.mesh` for all below it",
        r"^(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$",
        |text, _| service_hostname(text);

    /// What a port is called in DNS: the name of a service of RFC 6335.
    PortName(Box<str>): "1 to 15 letters in lower case, digits and `-`, with a letter among them, like `http`",
        "^[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$", |text, _| port_name(text);

    /// A DNS name that is looked up. SRV records have names that begin with `_`.
    DnsName(Arc<str>): "a DNS name like `db.internal`",
        r"^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)*\.?$",
        |text, reader| dns_name(text).map(|name| reader.intern(&name));

    /// Where an access log goes.
    LogTargetText(LogTarget): "`journal`, or the path of a file that begins with `/`",
        "^journal$|^/", |text, _| log_target(text);

    /// A time that passes.
    DurationText(Duration): "a time like `500ms`, `10s`, `5m` or `1h`",
        "^[0-9]+(ms|s|m|h)$", |text, _| duration(text);

    /// A method of HTTP, or the name of a header.
    Token(String): "a word of letters, digits and `-`", "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
        |text, _| token(text);

    /// What is asked of a server, with its query.
    UrlPath(String): "a path that begins with `/`", r"^/[\x21-\x7e]*$", |text, _| url_path(text);

    /// Text of one line.
    Line(String): "text without control characters", r"^[^\x00-\x1f\x7f]+$", |text, _| line(text);

    /// The path of a file.
    FilePath(PathBuf): "the path of a file that begins with `/`", "^/", |text, _| file_path(text);

    /// Whom an authorization policy is about.
    PrincipalText(Principal): "a systemd unit like `shop.service`, a cgroup path that begins with `/`, `user:NAME`, `group:NAME` or `*`",
        r"^\*$|^/|^(user|group):[^\s:]+$|^[A-Za-z0-9:_.\\@*-]+\.(service|slice|scope|socket|mount|swap)$",
        |text, _| principal(text);

    /// Addresses that an authorization policy or a group is about.
    SourceText(SourceRef): source::WHAT, source::PATTERN, |text, _| source::source(text);

    /// A systemd unit, like `sshd.service`, or a cgroup path that begins with `/`.
    CgroupText(CgroupRef): "a systemd unit like `sshd.service`, or a cgroup path that begins with `/`",
        r"^/|^[A-Za-z0-9:_.\\@-]+\.(service|slice|scope|socket|mount|swap)$",
        |text, _| cgroup_ref(text);

    /// Whose questions to DNS servers are captured: none for those of all.
    AskerText(Option<CgroupRef>): "`all`, a systemd unit like `shop.service`, or a cgroup path that begins with `/`",
        r"^all$|^/|^[A-Za-z0-9:_.\\@-]+\.(service|slice|scope|socket|mount|swap)$",
        |text, _| if text == "all" { Ok(None) } else { cgroup_ref(text).map(Some) };
}

pub fn address(text: &str) -> Result<IpAddr, Wrong> {
    let wrong = |help: Option<String>| {
        Err(Wrong::new(format!("{} is not an address", quote(text)))
            .expected(Address::WHAT)
            .help(help))
    };
    match text.parse() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            wrong(v6.to_ipv4_mapped().map(|v4| {
                format!("write `{v4}`: IPv6 sockets reach it in its mapped form by themselves")
            }))
        }
        Ok(ip) => Ok(ip),
        Err(_) if text.contains('/') => wrong(Some("one address, not a range".to_owned())),
        Err(_) if text.contains('%') => wrong(Some("an interface cannot be named here".to_owned())),
        Err(_) => match text.parse::<SocketAddr>() {
            Ok(with_port) => wrong(Some(format!(
                "write `{}`: ports are declared by `ports`",
                with_port.ip()
            ))),
            Err(_) => {
                let bare = text.trim_matches(|c: char| "[] ".contains(c));
                wrong(match bare.parse::<IpAddr>() {
                    Ok(ip) => Some(format!("did you mean `{ip}`?")),
                    Err(_) => without_leading_zeros(text).or_else(|| unresolved(text)),
                })
            }
        },
    }
}

/// An address that may have a port: `10.0.0.1`, `10.0.0.1:8081`, `[fd00::1]:8081`.
pub fn endpoint_address(text: &str) -> Result<(IpAddr, Option<u16>), Wrong> {
    let (ip, port) = match text.rsplit_once(':') {
        Some((ip, port)) if ip.parse::<Ipv4Addr>().is_ok() => (ip, port),
        Some((ip, port)) if ip.starts_with('[') && ip.ends_with(']') => {
            (&ip[1..ip.len() - 1], port)
        }
        _ => return Ok((address(text)?, None)),
    };
    let ip = address(ip)?;
    match port.parse() {
        Ok(0) => Err(Wrong::new("port 0 cannot be connected to").expected(PortNumber::WHAT)),
        Ok(port) if !text.contains('+') => Ok((ip, Some(port))),
        _ => Err(Wrong::new(format!("{} is not a port", quote(port))).expected(PortNumber::WHAT)),
    }
}

/// What to do about a DNS name, with a port or without, where an address is expected.
pub fn unresolved(text: &str) -> Option<String> {
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    if host.eq_ignore_ascii_case("localhost") {
        return Some("write `127.0.0.1` or `::1`".to_owned());
    }
    // An address with a slip in it ends with a digit.
    let (_, last) = host.rsplit_once('.')?;
    let is_name = last.len() > 1
        && last.starts_with(|c: char| c.is_ascii_alphabetic())
        && hostname(&host.to_ascii_lowercase()).is_ok();
    is_name.then(|| {
        format!("a DNS name of endpoints is written `{{ dns = \"{host}\" }}`; elsewhere, write the address that `getent ahosts {host}` shows")
    })
}

/// `010.0.0.1` is octal to some programs and decimal to others, so it is neither here.
pub fn without_leading_zeros(text: &str) -> Option<String> {
    let parts: Option<Vec<u8>> = text.split('.').map(|part| part.parse().ok()).collect();
    match parts?.as_slice() {
        [a, b, c, d] => Some(format!(
            "write `{a}.{b}.{c}.{d}`: leading zeros are ambiguous"
        )),
        _ => None,
    }
}

fn cidr(text: &str) -> Result<IpNetwork, Wrong> {
    let wrong = |help: Option<String>| {
        Err(Wrong::new(format!("{} is not a range of addresses", quote(text))).help(help))
    };
    if let Ok(ip) = text.parse::<IpAddr>() {
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        return wrong(Some(format!("a single address is written `{ip}/{bits}`")));
    }
    match text.parse::<IpNetwork>() {
        Ok(network) if network.ip() != network.network() => wrong(Some(format!(
            "did you mean `{}/{}`?",
            network.network(),
            network.prefix()
        ))),
        Ok(network) => Ok(network),
        Err(_) => wrong(None),
    }
}

fn socket(text: &str) -> Result<SocketAddr, Wrong> {
    match text.parse::<SocketAddr>() {
        Ok(socket) if socket.port() == 0 => {
            Err(Wrong::new("port 0 cannot be connected to").expected("a port from 1 to 65535"))
        }
        // It would be lost: an address is not more than its digits here.
        Ok(SocketAddr::V6(socket)) if socket.scope_id() != 0 => {
            let message = format!("{} names an interface", quote(text));
            Err(Wrong::new(message).expected("an address and a port, without `%` and an interface"))
        }
        Ok(socket) => address(&socket.ip().to_string()).map(|ip| (ip, socket.port()).into()),
        Err(_) => {
            let help = match text.parse::<IpAddr>() {
                Ok(IpAddr::V4(v4)) => Some(format!("a port is missing: `{v4}:15008`")),
                Ok(IpAddr::V6(v6)) => Some(format!("a port is missing: `[{v6}]:15008`")),
                Err(_) => unresolved(text),
            };
            let message = format!("{} is not an address and a port", quote(text));
            Err(Wrong::new(message).help(help))
        }
    }
}

fn label(text: &str) -> Result<&str, Wrong> {
    if text.is_empty() {
        return Err(
            Wrong::new("this is empty").help("leave the key out if it is not known".to_owned())
        );
    }
    if text.contains(char::is_control) {
        return Err(Wrong::new(format!(
            "{} has a control character",
            quote(text)
        )));
    }
    // It would match nothing that is written without them.
    if text.trim() != text {
        let wrong = Wrong::new(format!("{} has blanks around it", quote(text)));
        return Err(wrong.help(format!("did you mean {}?", quote(text.trim()))));
    }
    Ok(text)
}

fn locality_part(text: &str) -> Result<&str, Wrong> {
    if text.contains('/') {
        return Err(Wrong::new(format!("{} has a `/`", quote(text))));
    }
    label(text)
}

pub fn locality(text: &str) -> Result<Locality, Wrong> {
    let wrong = || Wrong::new(format!("{} is not a locality", quote(text)));
    if text.split('/').any(|part| part.trim() != part) {
        let tight: Vec<_> = text.split('/').map(str::trim).collect();
        let tight = tight.join("/");
        let wrong = Wrong::new(format!("{} has blanks around a part", quote(text)));
        return Err(wrong.help(format!("did you mean {}?", quote(&tight))));
    }
    let mut parts = text.split('/').map(locality_part);
    let mut next = || {
        let part = parts.next().transpose().map_err(|_| wrong())?;
        Ok(part.map(str::to_owned))
    };
    let locality = Locality {
        region: next()?,
        zone: next()?,
        subzone: next()?,
    };
    match parts.next() {
        Some(_) => Err(wrong().help("a locality has at most three parts".to_owned())),
        None => Ok(locality),
    }
}

pub fn locality_ref(text: &str) -> Result<&str, Wrong> {
    if text.contains('/') {
        locality(text)?;
    } else {
        text.parse::<Name>()
            .map_err(|error| Wrong::new(format!("{} is not a name: {error}", quote(text))))?;
    }
    Ok(text)
}

fn hostname(text: &str) -> Result<Box<str>, Wrong> {
    let wrong = |why: &str, help: Option<String>| {
        Err(Wrong::new(format!("{} is not a hostname: {why}", quote(text))).help(help))
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if text.contains(|c: char| c.is_ascii_uppercase()) {
        let lower = text.to_ascii_lowercase();
        return wrong("upper case", Some(format!("did you mean `{lower}`?")));
    }
    if let Some(bare) = text.strip_suffix('.') {
        return wrong("it ends with `.`", Some(format!("did you mean `{bare}`?")));
    }
    if let Some(other) = text.chars().find(|c| !allowed(*c)) {
        return wrong(&format!("{other:?} is not allowed"), None);
    }
    if text.len() > 253 {
        return wrong("it has more than 253 characters", None);
    }
    for label in text.split('.') {
        match label.len() {
            0 => return wrong("a part of it is empty", None),
            64.. => return wrong("a part of it has more than 63 characters", None),
            _ if label.starts_with('-') || label.ends_with('-') => {
                return wrong("a part of it begins or ends with `-`", None);
            }
            _ => {}
        }
    }
    if text.parse::<IpAddr>().is_ok() {
        return wrong(
            "it is an address",
            Some("addresses belong in `vips`".to_owned()),
        );
    }
    // No name ends in a number (RFC 3696): it would be an address with a slip in it.
    let last = text.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return wrong("it ends with a number", None);
    }
    Ok(text.into())
}

/// The same, or `*.` before one.
fn service_hostname(text: &str) -> Result<Box<str>, Wrong> {
    let Some(below) = text.strip_prefix("*.") else {
        return hostname(text);
    };
    match hostname(below) {
        Ok(_) if text.len() > 253 => {
            let message = format!(
                "{} is not a hostname: it has more than 253 characters",
                quote(text)
            );
            Err(Wrong::new(message))
        }
        Ok(_) => Ok(text.into()),
        Err(wrong) => Err(wrong),
    }
}

/// As RFC 6335 has it (section 5.1).
fn port_name(text: &str) -> Result<Box<str>, Wrong> {
    let wrong = |why: &str| {
        Err(Wrong::new(format!(
            "{} is no name of a port: {why}",
            quote(text)
        )))
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(other) = text.chars().find(|c| !allowed(*c)) {
        return wrong(&format!("{other:?} is not allowed"));
    }
    match text.len() {
        0 => wrong("it is empty"),
        16.. => wrong("it has more than 15 characters"),
        _ if text.starts_with('-') || text.ends_with('-') => wrong("it begins or ends with `-`"),
        _ if text.contains("--") => wrong("it has two `-` in a row"),
        _ if !text.contains(|c: char| c.is_ascii_lowercase()) => wrong("it has no letter"),
        _ => Ok(text.into()),
    }
}

/// As names are known ([`model::dns_name`]).
fn dns_name(text: &str) -> Result<String, Wrong> {
    let wrong = |why: &str, help: Option<String>| {
        Err(Wrong::new(format!("{} is not a DNS name: {why}", quote(text))).help(help))
    };
    if let Some((host, port)) = text.rsplit_once(':')
        && port.parse::<u16>().is_ok()
        && !host.contains(':')
    {
        let help = format!("write `dns = \"{host}\", port = {port}`");
        return wrong("it has a port", Some(help));
    }
    if address(text).is_ok() {
        return wrong(
            "it is an address",
            Some(format!("write `address = \"{text}\"`")),
        );
    }
    let name = model::dns_name(text);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if let Some(other) = name.chars().find(|c| !allowed(*c)) {
        let help = (!other.is_ascii()).then(|| {
            "write a name in another script as DNS has it, beginning with `xn--`".to_owned()
        });
        return wrong(&format!("{other:?} is not allowed"), help);
    }
    if name.len() > 253 {
        return wrong("it has more than 253 characters", None);
    }
    for label in name.split('.') {
        match label.len() {
            0 => return wrong("a part of it is empty", None),
            64.. => return wrong("a part of it has more than 63 characters", None),
            _ if label.starts_with('-') || label.ends_with('-') => {
                return wrong("a part of it begins or ends with `-`", None);
            }
            _ => {}
        }
    }
    // No name ends in a number (RFC 3696): it would be an address with a slip in it.
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return wrong("it ends with a number", None);
    }
    Ok(name)
}

fn log_target(text: &str) -> Result<LogTarget, Wrong> {
    match text {
        "journal" => Ok(LogTarget::Journal),
        path if path.contains(char::is_control) => Err(Wrong::new(format!(
            "{} has a control character",
            quote(path)
        ))),
        path if path.ends_with(".toml") => Err(Wrong::new(format!(
            "{} is the name of a file of the configuration",
            quote(path)
        ))),
        path if path.starts_with('/') && !path.ends_with('/') && !path.ends_with("/..") => {
            Ok(LogTarget::File(path.into()))
        }
        other => Err(Wrong::new(format!(
            "{} is neither `journal` nor the path of a file",
            quote(other)
        ))),
    }
}

/// Longer than anybody waits; all of them together are no overflow.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

fn duration(text: &str) -> Result<Duration, Wrong> {
    let wrong = || Wrong::new(format!("{} is not a time", quote(text)));
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(wrong());
    }
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => {
            let help = format!("write `{number}s` for seconds, or `{number}ms`");
            return Err(wrong().help(help));
        }
        _ => return Err(wrong()),
    };
    let long = || Wrong::new(format!("{} is more than 30 days", quote(text)));
    let number: u64 = number.parse().map_err(|_| long())?;
    let duration = number.checked_mul(milliseconds).map(Duration::from_millis);
    duration.filter(|it| *it <= LONGEST).ok_or_else(long)
}

fn token(text: &str) -> Result<String, Wrong> {
    if super::health::is_token(text) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(format!("{} is no word of HTTP", quote(text))))
}

fn url_path(text: &str) -> Result<String, Wrong> {
    let wrong = |why: &str| Err(Wrong::new(format!("{} {why}", quote(text))));
    if !text.starts_with('/') {
        return wrong("does not begin with `/`");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("has a character that has to be written as `%` and its number");
    }
    if text.contains('#') {
        return wrong("has a `#`, behind which nothing is sent");
    }
    Ok(text.to_owned())
}

fn line(text: &str) -> Result<String, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new("this is empty"));
    }
    if text.contains(char::is_control) {
        return Err(Wrong::new(format!(
            "{} has a control character",
            quote(text)
        )));
    }
    Ok(text.to_owned())
}

fn file_path(text: &str) -> Result<PathBuf, Wrong> {
    match line(text)? {
        path if path.starts_with('/') && !path.ends_with('/') => Ok(path.into()),
        _ => Err(Wrong::new(format!(
            "{} is not the path of a file",
            quote(text)
        ))),
    }
}
