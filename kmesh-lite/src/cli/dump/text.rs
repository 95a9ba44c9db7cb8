//! A dump as aligned text, made while the JSON comes in.

use crate::api::Row;
use crate::cli::error::CliError;
use crate::cli::explain::cell;
use crate::cli::output::{BOLD, Output, WriteError};
use crate::cli::table::Table;
use crate::control::ClientError;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use std::fmt;
use std::io::{BufReader, Read};

/// Rows that are aligned with one another, under a heading of their own.
const BLOCK: usize = 1000;

/// Shows every table of a dump.
pub fn show(json: impl Read, output: &mut Output) -> Result<(), CliError> {
    let mut shown = Shown {
        output,
        tables: 0,
        failure: None,
    };
    let mut json = Deserializer::from_reader(BufReader::new(json));
    let read = Tables(&mut shown).deserialize(&mut json);
    match (shown.failure, read) {
        (Some(failure), _) => Err(failure.into()),
        (None, Err(error)) => Err(ClientError::Answer(error).into()),
        (None, Ok(())) => Ok(()),
    }
}

/// What has been shown so far.
struct Shown<'a> {
    output: &'a mut Output,
    tables: usize,
    /// Why nothing more can be shown.
    failure: Option<WriteError>,
}

impl Shown<'_> {
    fn text<E: Error>(&mut self, text: &str) -> Result<(), E> {
        self.output.text(text).map_err(|failure| {
            let error = E::custom(&failure);
            self.failure = Some(failure);
            error
        })
    }
}

/// The whole: a version, and the tables.
struct Tables<'a, 'b>(&'a mut Shown<'b>);

impl<'de> DeserializeSeed<'de> for Tables<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tables<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the tables of a dump")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "tables" {
                map.next_value_seed(Tables(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tables: A) -> Result<(), A::Error> {
        while tables.next_element_seed(OneTable(self.0))?.is_some() {}
        Ok(())
    }
}

/// A table: a name, and then the rows.
struct OneTable<'a, 'b>(&'a mut Shown<'b>);

impl<'de> DeserializeSeed<'de> for OneTable<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneTable<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a table with its rows")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut name = String::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" => name = map.next_value()?,
                "rows" => map.next_value_seed(TableRows(self.0, &name))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The rows of the table of this name.
struct TableRows<'a, 'b>(&'a mut Shown<'b>, &'a str);

impl<'de> DeserializeSeed<'de> for TableRows<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for TableRows<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        let Self(shown, name) = self;
        let mut count = 0;
        loop {
            let mut block: Vec<Row> = Vec::new();
            while block.len() < BLOCK
                && let Some(row) = rows.next_element()?
            {
                block.push(row);
            }
            // A further row would have made the block a full one.
            let last = block.len() < BLOCK;
            if count > 0 && block.is_empty() {
                return Ok(());
            }
            let gap = if shown.tables == 0 { "" } else { "\n" };
            let heading = match (count, last) {
                (0, true) if block.len() == 1 => "1 row".to_owned(),
                (0, true) => format!("{} rows", block.len()),
                _ => format!("rows {} to {}", count + 1, count + block.len()),
            };
            shown.text(&format!(
                "{gap}{BOLD}{name}{BOLD:#} {heading}\n{}",
                text(&block)
            ))?;
            shown.tables += 1;
            count += block.len();
            if last {
                return Ok(());
            }
        }
    }
}

fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    if rows.is_empty() {
        return text;
    }
    // Rows of a table may have different columns: in the order in which they first appear.
    let mut columns: Vec<&str> = Vec::new();
    for key in rows.iter().flat_map(|row| row.keys()) {
        if !columns.contains(&key.as_str()) {
            columns.push(key);
        }
    }
    let mut aligned = Table::new(&columns);
    for row in rows {
        let cells = columns.iter().map(|column| row.get(*column));
        aligned.rows(
            cells
                .map(|value| value.map_or_else(String::new, cell))
                .collect(),
        );
    }
    aligned.write(&mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_that_breaks_off_is_an_error() {
        let whole = br#"{"layout_version":1,"tables":[{"name":"settings","rows":[{"id":1}]}]}"#;
        show(whole.as_slice(), &mut Output::default()).unwrap();
        let part = &whole[..whole.len() - 4];
        show(part, &mut Output::default()).unwrap_err();
    }
}
