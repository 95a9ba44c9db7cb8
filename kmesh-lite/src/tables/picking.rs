//! How plans and dumps show how an endpoint is picked. They say nothing of what most services have.

use super::fields::{Field, Fields};
use kmesh_lite_common::{Balance, Picking};
use std::fmt;

pub fn describe(picking: &Picking, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if picking.balance != Balance::default() {
        write!(f, ", {}", picking.balance)?;
    }
    match picking.max_connections {
        0 if picking.counts() => f.write_str(", connections counted")?,
        0 => {}
        limit => write!(f, ", at most {limit} connections")?,
    }
    match picking.connects_per_second() {
        0 => Ok(()),
        rate => write!(f, ", at most {rate} connects a second"),
    }
}

/// The same for operators: what the file says.
pub fn words(picking: &Picking) -> String {
    let mut words = picking.balance.to_string();
    if picking.max_connections != 0 {
        words += &format!(", at most {} connections", picking.max_connections);
    }
    if picking.connects_per_second() != 0 {
        words += &format!(
            ", at most {} connects a second",
            picking.connects_per_second()
        );
    }
    words
}

pub fn fields(picking: &Picking) -> Fields {
    let mut fields = Fields::new();
    if picking.balance != Balance::default() {
        fields.push(("balance", Field::Text(picking.balance.to_string())));
    }
    let numbers = [
        ("counted", u32::from(picking.counts())),
        ("max_connections", picking.max_connections),
        ("connects_per_second", picking.connects_per_second()),
    ];
    let given = numbers.into_iter().filter(|(_, number)| *number != 0);
    fields.extend(given.map(|(name, number)| (name, Field::Number(number.into()))));
    fields
}
