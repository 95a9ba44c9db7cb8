//! From a parsed TOML document to text types, going on after every problem.
//!
//! serde stops at the first error, so the document is walked by hand. [`text!`] declares a table
//! once and yields its struct, its JSON Schema, its known keys and its reader: what the schema
//! allows and what is read cannot differ.

use super::fragment::Fragment;
use super::piece::Anchor;
use super::problem::{Problem, Severity};
use super::schema::belongs;
use super::span::Span;
use super::suggest::{closest, either, meant, quote};
use crate::model::Name;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

pub type Value<'i> = toml::Spanned<DeValue<'i>>;

/// Collects problems of one document while it is read.
pub struct DocumentReader {
    fragment: Arc<Fragment>,
    /// Where the document begins in the text of the fragment.
    start: u32,
    pub problems: Vec<Problem>,
    words: HashSet<Arc<str>>,
    /// Says nothing about missing keys.
    pub forgive_missing: bool,
}

impl DocumentReader {
    pub fn new(anchor: Anchor<'_>) -> Self {
        Self {
            fragment: Arc::clone(anchor.fragment),
            start: anchor.start,
            problems: Vec::new(),
            words: HashSet::new(),
            forgive_missing: false,
        }
    }

    /// One allocation for each distinct word: a hundred thousand endpoints name few localities.
    pub fn intern(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.words.get(word) {
            return Arc::clone(known);
        }
        let word: Arc<str> = Arc::from(word);
        self.words.insert(Arc::clone(&word));
        word
    }

    pub fn error(&mut self, span: Span, message: impl Into<String>, expected: impl Into<String>) {
        self.wrong(span, Wrong::new(message).expected(expected));
    }

    pub fn wrong(&mut self, span: Span, wrong: Wrong) {
        let anchor = Anchor {
            fragment: &self.fragment,
            start: self.start,
        };
        let place = anchor.place(span);
        let mut problem = Problem::new(Severity::Error, place, wrong.message).help_if(wrong.help);
        problem.expected = wrong.expected;
        self.problems.push(problem);
    }

    /// A value of another type than the key takes.
    pub fn wrong_type(&mut self, value: &Value<'_>, expected: &str) {
        let help = match value.get_ref() {
            DeValue::String(text) if expected.starts_with(ARRAY) => Some(in_brackets(text)),
            DeValue::Integer(_) | DeValue::Table(_) if expected.starts_with(ARRAY) => {
                Some("put it in brackets, `[` and `]`".to_owned())
            }
            DeValue::Array(items) if items.len() == 1 => {
                Some("remove the brackets `[` and `]`".to_owned())
            }
            DeValue::Integer(_) | DeValue::Float(_) if expected.contains("string") => {
                Some("put it in quotes".to_owned())
            }
            _ => None,
        };
        let message = match value.get_ref() {
            DeValue::Integer(n) => format!("`{n}` is an integer"),
            DeValue::Float(n) => format!("`{n}` is a float"),
            DeValue::Boolean(b) => format!("`{b}` is a boolean"),
            DeValue::Datetime(d) => format!("`{d}` is a date or time"),
            DeValue::String(s) => format!("{} is a string", quote(s)),
            DeValue::Array(_) => "this is an array".to_owned(),
            DeValue::Table(_) => "this is a table".to_owned(),
        };
        let mut wrong = Wrong::new(message).expected(expected);
        wrong.help = help;
        self.wrong(value.span().into(), wrong);
    }

    fn missing<T: Read>(&mut self, table: Span, key: &str) {
        if !self.forgive_missing {
            let wrong = Wrong::new(format!("missing key `{key}`"));
            self.wrong(table, wrong.expected(T::what()).help(T::advice()));
        }
    }

    fn unknown_key(&mut self, span: Span, key: &str, known: &'static [&'static str]) {
        let near = closest(key, known.iter().copied());
        let help = match near {
            // One `s` is a slip, not another table.
            Some(near) if near.strip_suffix('s') == Some(key) => Some(meant(near)),
            _ => belongs(key).or_else(|| near.map(meant)),
        };
        let wrong = Wrong::new(format!("unknown key {}", quote(key)))
            .expected(either(known.iter().copied()))
            .help(help);
        self.wrong(span, wrong);
    }
}

const ARRAY: &str = "an array";

/// How the items of a text are written as an array.
fn in_brackets(text: &str) -> String {
    let items = text.split([',', ' ']).filter(|item| !item.is_empty());
    let items: Vec<_> = items.map(|item| format!("\"{item}\"")).collect();
    let array = items.join(", ");
    if array.len() > 100 || text.contains(char::is_control) {
        return "put its items in brackets, `[` and `]`, each in quotes".to_owned();
    }
    format!("write `[{array}]`")
}

/// Why a value cannot be meant.
#[derive(Debug)]
pub struct Wrong {
    pub message: String,
    pub expected: Option<String>,
    pub help: Option<String>,
}

impl Wrong {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            expected: None,
            help: None,
        }
    }

    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }
}

/// What a value of the document can be read as.
pub trait Read: Sized {
    /// What is expected, as the end of "expected ...".
    const WHAT: &'static str;

    /// The same at greater length, where it stands alone.
    fn what() -> String {
        Self::WHAT.to_owned()
    }

    /// What to write where it is missing, if that needs an explanation.
    fn advice() -> Option<String> {
        None
    }

    /// `None` after reporting why not.
    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self>;
}

/// What a key of a table can hold: a value that may be absent, or one that may not.
pub trait Field: Sized {
    fn found(value: &Value<'_>, reader: &mut DocumentReader) -> Self;
    fn absent(table: Span, key: &'static str, reader: &mut DocumentReader) -> Self;
    /// Present, and no problem in it.
    fn is_some(&self) -> bool;
}

impl<T: Read> Field for Option<T> {
    fn found(value: &Value<'_>, reader: &mut DocumentReader) -> Self {
        T::read(value, reader)
    }

    fn absent(_: Span, _: &'static str, _: &mut DocumentReader) -> Self {
        None
    }

    fn is_some(&self) -> bool {
        Option::is_some(self)
    }
}

/// The value of a key that must be there. When it is not, that has been reported.
#[derive(Debug)]
pub struct Required<T>(pub Option<T>);

impl<T: Read> Field for Required<T> {
    fn found(value: &Value<'_>, reader: &mut DocumentReader) -> Self {
        Self(T::read(value, reader))
    }

    fn absent(table: Span, key: &'static str, reader: &mut DocumentReader) -> Self {
        reader.missing::<T>(table, key);
        Self(None)
    }

    fn is_some(&self) -> bool {
        self.0.is_some()
    }
}

/// A value and where it stands.
#[derive(Debug)]
pub struct At<T> {
    pub span: Span,
    pub value: T,
}

impl<T: Read> Read for At<T> {
    const WHAT: &'static str = T::WHAT;

    fn what() -> String {
        T::what()
    }

    fn advice() -> Option<String> {
        T::advice()
    }

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        let span = value.span().into();
        T::read(value, reader).map(|value| Self { span, value })
    }
}

/// An array.
#[derive(Debug)]
pub struct List<T> {
    pub span: Span,
    pub items: Vec<At<T>>,
    /// Whether every item could be read; else what is missing here proves nothing.
    pub whole: bool,
}

impl<T: Read> Read for List<T> {
    const WHAT: &'static str = ARRAY;

    fn what() -> String {
        format!("{ARRAY}, each item {}", T::WHAT)
    }

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        let DeValue::Array(array) = value.get_ref() else {
            reader.wrong_type(value, &Self::what());
            return None;
        };
        let items: Vec<_> = array.iter().filter_map(|v| At::read(v, reader)).collect();
        Some(Self {
            span: value.span().into(),
            whole: items.len() == array.len(),
            items,
        })
    }
}

/// One value, or an array of them.
#[derive(Debug)]
pub struct OneOrMore<T> {
    pub span: Span,
    pub items: Vec<At<T>>,
    /// Whether every item could be read; else what is missing here proves nothing.
    pub whole: bool,
}

impl<T: Read> Read for OneOrMore<T> {
    const WHAT: &'static str = T::WHAT;

    fn what() -> String {
        format!("{}, or an array of such", T::what())
    }

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        if matches!(value.get_ref(), DeValue::Array(_)) {
            let List { span, items, whole } = List::read(value, reader)?;
            return Some(Self { span, items, whole });
        }
        let only = At::read(value, reader)?;
        Some(Self {
            span: only.span,
            items: vec![only],
            whole: true,
        })
    }
}

/// A table whose keys are names that the operator chooses.
#[derive(Debug)]
pub struct Named<T> {
    /// An entry that could not be read still has its name: others may refer to it.
    pub entries: Vec<(At<Name>, Option<T>)>,
}

impl<T: Read> Read for Named<T> {
    const WHAT: &'static str = "a table";

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            reader.wrong_type(value, "a table whose keys are names");
            return None;
        };
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            let span = key.span().into();
            let name = name(key.get_ref(), span, reader);
            let value = T::read(value, reader);
            if let Some(value_name) = name {
                let key = At {
                    span,
                    value: value_name,
                };
                entries.push((key, value));
            }
        }
        Some(Self { entries })
    }
}

/// A name, or its problem reported.
pub fn name(text: &str, span: Span, reader: &mut DocumentReader) -> Option<Name> {
    match text.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            reader.error(
                span,
                format!("{} is not a name: {error}", quote(text)),
                NAME,
            );
            None
        }
    }
}

pub const NAME: &str =
    "1 to 63 letters, digits, `-`, `_` and `.`, beginning with a letter or digit";
pub const NAME_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$";

/// Reads the keys of a table. `read` is handed each known key's index and value.
pub fn table<'v, 'i>(
    value: &'v Value<'i>,
    what: &str,
    known: &'static [&'static str],
    reader: &mut DocumentReader,
    mut read: impl FnMut(&str, &'v Value<'i>, &mut DocumentReader) -> bool,
) -> Option<(Span, bool)> {
    let DeValue::Table(table) = value.get_ref() else {
        reader.wrong_type(value, what);
        return None;
    };
    Some((value.span().into(), keys(table, known, reader, &mut read)))
}

/// Whether every key was known and could be read.
pub fn keys<'v, 'i>(
    table: &'v DeTable<'i>,
    known: &'static [&'static str],
    reader: &mut DocumentReader,
    read: &mut impl FnMut(&str, &'v Value<'i>, &mut DocumentReader) -> bool,
) -> bool {
    let mut sound = true;
    for (key, value) in table {
        if known.contains(&key.get_ref().as_ref()) {
            sound &= read(key.get_ref(), value, reader);
        } else {
            reader.unknown_key(key.span().into(), key.get_ref(), known);
            sound = false;
        }
    }
    sound
}

/// Declares a table of the file: its struct, JSON Schema (the comments are its descriptions), known
/// keys and reader. A field is an `Option` if the key may be absent, else a [`Required`].
macro_rules! text {
    ($(#[$doc:meta])* $name:ident $what:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub struct $name {
            /// Where the table begins.
            #[schemars(skip)]
            #[allow(dead_code, reason = "every table has it, not every one needs it")]
            pub span: $crate::config::span::Span,
            /// Whether every key that is there could be read.
            #[schemars(skip)]
            #[allow(dead_code, reason = "every table has it, not every one needs it")]
            pub sound: bool,
            $($(#[$field_doc])* pub $field: $type,)+
        }

        impl $name {
            pub const KEYS: &'static [&'static str] = &[$(stringify!($field)),+];
        }

        impl $crate::config::read::Read for $name {
            const WHAT: &'static str = $what;

            fn read(
                value: &$crate::config::read::Value<'_>,
                reader: &mut $crate::config::read::DocumentReader,
            ) -> Option<Self> {
                use $crate::config::read::{Field, table};
                $(let mut $field: Option<$type> = None;)+
                let (span, sound) = table(value, $what, Self::KEYS, reader, |key, value, reader| {
                    match key {
                        $(stringify!($field) => {
                            let read = <$type as Field>::found(value, reader);
                            let sound = read.is_some();
                            $field = Some(read);
                            sound
                        })+
                        _ => false,
                    }
                })?;
                Some(Self {
                    $($field: $field.unwrap_or_else(|| {
                        <$type as Field>::absent(span, stringify!($field), reader)
                    }),)+
                    span,
                    sound,
                })
            }
        }
    };
}
pub(super) use text;

/// Schemas of wrappers are those of what they wrap.
macro_rules! transparent {
    ($($name:ident => $inner:ty;)+) => {$(
        impl<T: JsonSchema> JsonSchema for $name<T> {
            fn inline_schema() -> bool {
                <$inner>::inline_schema()
            }

            fn schema_name() -> Cow<'static, str> {
                <$inner>::schema_name()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                <$inner>::json_schema(generator)
            }
        }
    )+};
}

transparent! {
    At => T;
    Required => T;
    List => Vec<T>;
}

impl<T: JsonSchema> JsonSchema for OneOrMore<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMore_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Named_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": { "pattern": NAME_PATTERN },
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}
