//! Values that are one number, or true and false.

use super::super::read::{DocumentReader, Read, Value};
use super::super::suggest::quote;
use crate::model::{AccessLog, Limits};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;
use toml::de::DeValue;

/// Statuses of HTTP: one, or a range with its ends.
#[derive(Clone, Copy, Debug)]
pub struct StatusNumber(pub (u16, u16));

impl Read for StatusNumber {
    const WHAT: &'static str = "a status like `200`, or a range like `\"200-399\"`";

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            DeValue::Integer(number) => number.as_str(),
            _ => {
                reader.wrong_type(value, Self::WHAT);
                return None;
            }
        };
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| {
            let number = text.parse::<u16>().ok();
            number.filter(|it| (100..=599).contains(it))
        };
        match (number(low), number(high)) {
            (Some(low), Some(high)) if low <= high => Some(Self((low, high))),
            _ => {
                let message = format!("{} is no status of HTTP", quote(text));
                reader.error(value.span().into(), message, Self::WHAT);
                None
            }
        }
    }
}

impl JsonSchema for StatusNumber {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StatusNumber".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 599 },
            { "type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$" },
        ] })
    }
}

/// A share of everything, in millionths.
#[derive(Clone, Copy, Debug)]
pub struct Share(pub u32);

impl Read for Share {
    const WHAT: &'static str = "a number above 0 and up to 1, like `0.1`";

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        let number = match value.get_ref() {
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
            _ => {
                reader.wrong_type(value, Self::WHAT);
                return None;
            }
        };
        let share = number.map(|number| number * f64::from(AccessLog::WHOLE));
        match share {
            Some(share) if share > 0.0 && share <= f64::from(AccessLog::WHOLE) => {
                Some(Self((share.round() as u32).max(1)))
            }
            _ => {
                reader.error(value.span().into(), "this is no share", Self::WHAT);
                None
            }
        }
    }
}

impl JsonSchema for Share {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 })
    }
}

/// How much more than its share an endpoint can bear, in hundredths.
#[derive(Clone, Copy, Debug)]
pub struct Overprovision(pub u32);

impl Read for Overprovision {
    const WHAT: &'static str = "a number from 1 to 10, like `1.4`";

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        let number = match value.get_ref() {
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
            _ => {
                reader.wrong_type(value, Self::WHAT);
                return None;
            }
        };
        match number {
            Some(factor) if (1.0..=10.0).contains(&factor) => {
                Some(Self((factor * 100.0).round() as u32))
            }
            _ => {
                reader.error(value.span().into(), "this is out of range", Self::WHAT);
                None
            }
        }
    }
}

impl JsonSchema for Overprovision {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Overprovision".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 1, "maximum": 10 })
    }
}

/// Reads an integer in `low..=high`.
pub fn integer(
    value: &Value<'_>,
    what: &str,
    low: u32,
    high: u32,
    reader: &mut DocumentReader,
) -> Option<u32> {
    let span = value.span().into();
    let DeValue::Integer(number) = value.get_ref() else {
        reader.wrong_type(value, what);
        return None;
    };
    let found = i128::from_str_radix(number.as_str(), number.radix());
    match found.ok().and_then(|n| u32::try_from(n).ok()) {
        Some(n) if (low..=high).contains(&n) => Some(n),
        _ => {
            reader.error(span, format!("`{number}` is out of range"), what);
            None
        }
    }
}

macro_rules! integers {
    ($($(#[$doc:meta])* $name:ident: $what:expr, $low:expr, $high:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(pub u32);

        impl Read for $name {
            const WHAT: &'static str = $what;

            fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
                integer(value, $what, $low, $high, reader).map(Self)
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
                json_schema!({ "type": "integer", "minimum": $low, "maximum": $high })
            }
        }
    )+};
}

integers! {
    /// Share of new connections.
    Weight: "an integer from 0 to 4294967295", 0, u32::MAX;
    /// Rows of a table.
    Limit: "an integer from 1 to 16000000", 1, Limits::MAX;
    /// Lines a second.
    LineRate: "an integer from 1 to 1000000", 1, 1_000_000;
    /// How often something has to happen in a row.
    Count: "an integer from 1 to 1000", 1, 1000;
    /// By how much something differs, in percent.
    Spread: "an integer from 0 to 50", 0, 50;
    /// Connections that may be open.
    Connections: "an integer from 1 to 4294967295", 1, u32::MAX;
    /// Connects a second.
    ConnectRate: "an integer from 1 to 1000000", 1, 1_000_000;
    /// Slots of a service.
    Slots: "an integer from 1 to 1000000", 1, 1_000_000;
    /// How often somebody is asked.
    Attempts: "an integer from 1 to 10", 1, 10;
    /// Answers that are remembered.
    CacheSize: "an integer from 0 to 1000000", 0, 1_000_000;
    /// A port.
    PortNumber: "a port from 1 to 65535", 1, 65_535;
}

/// Yes or no.
#[derive(Debug)]
pub struct Flag(pub bool);

impl Read for Flag {
    const WHAT: &'static str = "`true` or `false`";

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        let DeValue::Boolean(flag) = value.get_ref() else {
            reader.wrong_type(value, Self::WHAT);
            return None;
        };
        Some(Self(*flag))
    }
}

impl JsonSchema for Flag {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Flag".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

const _: () = assert!(Limits::MAX == 16_000_000, "as `Limit` says");
