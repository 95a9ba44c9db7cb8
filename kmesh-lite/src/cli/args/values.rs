//! Values of arguments: from text to what is meant, or what is expected.

use super::Goal;
use crate::daemon::LONGEST;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use log::LevelFilter;
use std::net::SocketAddr;

pub fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    if (0.1..=3_600.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("from 0.1 to 3600".to_owned())
    }
}

pub fn level() -> impl TypedValueParser<Value = LevelFilter> {
    PossibleValuesParser::new(["error", "warn", "info", "debug", "trace"])
        .try_map(|text| text.parse::<LevelFilter>())
}

/// Other names are not read from mesh.d.
pub fn drop_in(text: &str) -> Result<String, String> {
    if text.ends_with(".toml") && !text.starts_with('.') && !text.contains('/') {
        return Ok(text.to_owned());
    }
    Err("expected the name of a drop-in, such as 20-shop.toml".to_owned())
}

/// The name of a unit; one without a type is a service, as in systemctl.
pub fn unit(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(if text.contains('.') {
        text.to_owned()
    } else {
        format!("{text}.service")
    })
}

/// Seconds of a time such as `30s`.
pub fn span(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        _ => 1,
    };
    let parsed = number.parse::<u64>().ok();
    let span = parsed.and_then(|number| number.checked_mul(seconds));
    span.filter(|span| *span <= 31_536_000)
        .ok_or_else(|| "expected a time such as 30s, 5m or 1h".to_owned())
}

/// Seconds of a time for which a confirmation is waited for.
pub fn trial(text: &str) -> Result<u64, String> {
    let longest = LONGEST.as_secs();
    match span(text)? {
        0 => Err("nobody could confirm it in time; expected 1s to 1h".to_owned()),
        seconds if seconds > longest => {
            Err("nobody waits that long for a confirmation; expected 1s to 1h".to_owned())
        }
        seconds => Ok(seconds),
    }
}

/// The number of a user.
pub fn user(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    match nix::unistd::User::from_name(text) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err("there is no user of this name".to_owned()),
        Err(error) => Err(format!("cannot look up users: {error}")),
    }
}

pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an address and a port, such as 10.96.0.10:80 or [fd00:96::10]:80".to_owned()
    })
}

/// An address and a port, or a DNS name with a port or without.
pub fn goal(text: &str) -> Result<Goal, String> {
    if let Ok(address) = text.parse() {
        return Ok(Goal::Address(address));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port.parse().ok().filter(|port| *port != 0))),
        None => (text, None),
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*');
    let has_letters = name.contains(|c: char| c.is_ascii_alphabetic());
    if name.chars().all(allowed) && has_letters && port != Some(None) {
        return Ok(Goal::Name(name.to_owned(), port.flatten()));
    }
    Err("expected an address and a port, such as 10.96.0.10:80 or [fd00:96::10]:80, or a name such as payments.mesh:80".to_owned())
}
