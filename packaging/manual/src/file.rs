//! mesh.toml(5) describes the file, from its JSON Schema.

use crate::{Text, authorization};
use serde_json::Value;

const EXAMPLE: &str = include_str!("../../../examples-config/localities.toml");

/// A table with fixed keys, and its place in the file.
pub struct FileTable<'a> {
    pub heading: String,
    pub definition: &'a Value,
}

/// The body of the page.
pub fn page() -> Text {
    let schema = kmesh_lite::config::schema();
    let mut text = Text::default();
    text.section("NAME")
        .words("mesh.toml - the mesh as one host sees it");
    text.section("SYNOPSIS")
        .paragraph("`/etc/kmesh/mesh.toml`")
        .paragraph("`/etc/kmesh/mesh.d/*.toml`");
    text.section("DESCRIPTION").paragraph(description(&schema));
    text.paragraph(
        "The files are TOML. Keys that are not listed here are errors. A file with an error changes \
         nothing: the last good state stays. `kmesh-lite check` prints every problem with its place, \
         `kmesh-lite schema` a JSON Schema for editors.",
    );
    text.paragraph(
        "Names that the operator chooses, such as that of a service, have 1 to 63 letters, digits, \
         `-`, `_` and `.`, and begin with a letter or a digit. Addresses are IPv4 or IPv6.",
    );
    text.section("TABLES");
    for (key, property) in properties(&schema) {
        let heading = match property["additionalProperties"].is_object() {
            true => format!("[{key}.NAME]"),
            false => format!("[{key}]"),
        };
        text.term(&heading, "").words(description(property));
        let named = resolve(&schema, &property["additionalProperties"]);
        if named["anyOf"].is_array() {
            text.words(description(named));
        }
    }
    for table in tables(&schema) {
        text.section(&table.heading);
        text.paragraph(description(table.definition));
        for (key, property) in properties(table.definition) {
            let required = table.definition["required"]
                .as_array()
                .is_some_and(|keys| keys.iter().any(|required| required == key));
            let mut kind = kind(&schema, property);
            if required {
                kind += ", required";
            }
            text.term(key, &kind).words(description(property));
            for form in short_forms(&schema, property) {
                text.words(form);
            }
            let words = words(&schema, property);
            if !words.is_empty() {
                text.nested(|text| {
                    for (word, meaning) in words {
                        text.term(word, "").words(meaning);
                    }
                });
            }
        }
    }
    authorization::section(&mut text);
    text.section("EXAMPLE").lines(EXAMPLE);
    text.section("SEE ALSO").words("`kmesh-lite`(8)");
    text
}

/// Every table with fixed keys, in the order of the file. The long form of a value follows its short ones.
pub fn tables(schema: &Value) -> Vec<FileTable<'_>> {
    let mut tables = Vec::new();
    for (key, property) in properties(schema) {
        let (heading, definition) = match &property["additionalProperties"] {
            named @ Value::Object(_) => (format!("[{key}.NAME]"), resolve(schema, named)),
            _ => (format!("[{key}]"), resolve(schema, property)),
        };
        let inner = long_forms(schema, definition);
        if definition["properties"].is_object() {
            tables.push(FileTable {
                heading: heading.clone(),
                definition,
            });
        }
        for (key, definition) in inner {
            let heading = match key {
                Some(key) => format!("[[{}.{key}]]", heading.trim_matches(['[', ']'])),
                None => heading.clone(),
            };
            tables.push(FileTable {
                heading,
                definition,
            });
        }
    }
    tables
}

/// Tables that a value can be written as: of the definition itself, or of items of its keys.
fn long_forms<'a>(schema: &'a Value, definition: &'a Value) -> Vec<(Option<&'a str>, &'a Value)> {
    let own = forms(definition).map(|form| (None, resolve(schema, form)));
    let items = properties(definition).flat_map(|(key, property)| {
        forms(resolve(schema, &property["items"]))
            .map(move |form| (Some(key), resolve(schema, form)))
    });
    own.chain(items)
        .filter(|(_, form)| form["properties"].is_object())
        .collect()
}

fn forms(definition: &Value) -> impl Iterator<Item = &Value> {
    definition["anyOf"].as_array().into_iter().flatten()
}

pub fn properties(definition: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let properties = definition["properties"].as_object().into_iter().flatten();
    properties.map(|(key, property)| (key.as_str(), property))
}

fn description(definition: &Value) -> &str {
    definition["description"].as_str().unwrap_or_default()
}

fn resolve<'a>(schema: &'a Value, definition: &'a Value) -> &'a Value {
    let reference = definition["$ref"].as_str();
    reference
        .and_then(|reference| schema.pointer(reference.strip_prefix('#')?))
        .unwrap_or(definition)
}

/// The type of a value, in words.
fn kind(schema: &Value, definition: &Value) -> String {
    let definition = resolve(schema, definition);
    match definition["type"].as_str() {
        Some("integer") => format!(
            "integer from {} to {}",
            definition["minimum"], definition["maximum"]
        ),
        Some("array") => format!("array of {}", plural(&kind(schema, &definition["items"]))),
        Some("string") if definition["oneOf"].is_array() => "word".to_owned(),
        Some("object") => "table".to_owned(),
        Some(other) => other.to_owned(),
        None if definition["const"].is_string() => "word".to_owned(),
        None => {
            let mut kinds: Vec<_> = forms(definition).map(|form| kind(schema, form)).collect();
            kinds.dedup();
            kinds.join(" or ")
        }
    }
}

fn plural(kind: &str) -> String {
    let kinds = kind.split(" or ").map(|kind| match kind.split_once(' ') {
        Some((noun, rest)) => format!("{noun}s {rest}"),
        None => format!("{kind}s"),
    });
    kinds.collect::<Vec<_>>().join(" or ")
}

/// The descriptions of a value, or of items, that can be written in several ways.
fn short_forms<'a>(schema: &'a Value, property: &'a Value) -> Vec<&'a str> {
    let value = resolve(schema, &property["items"]);
    let forms = forms(value).filter(|form| !form["$ref"].is_string());
    let said = [description(value)]
        .into_iter()
        .chain(forms.map(description));
    match value["anyOf"].is_array() {
        true => said.filter(|text| !text.is_empty()).collect(),
        false => Vec::new(),
    }
}

/// The words that a value, or an item of it, can be, with their meaning.
fn words<'a>(schema: &'a Value, definition: &'a Value) -> Vec<(&'a str, &'a str)> {
    let definition = resolve(schema, definition);
    let item = resolve(schema, &definition["items"]);
    let choices = [definition, item].into_iter();
    let choices = choices.filter_map(|definition| definition["oneOf"].as_array());
    choices
        .flatten()
        .filter_map(|choice| Some((choice["const"].as_str()?, description(choice))))
        .collect()
}
