//! How plans and dumps show how an endpoint is picked. They say nothing of what most services have.

use super::fields::{Field, Fields};
use kmesh_lite_common::{Balance, EachClient, Picking};
use std::fmt;
use std::time::Duration;

pub fn describe(picking: &Picking, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if picking.balance != Balance::default() {
        write!(f, ", {}", picking.balance)?;
    }
    if picking.hashes() {
        write!(f, " by {}", picking.clients_by())?;
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

/// What a service asks of each client, in the same way.
pub fn describe_clients(clients: &EachClient, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&clients_words(clients))
}

fn clients_words(clients: &EachClient) -> String {
    let mut words = String::new();
    if clients.affinity != 0 {
        let time = Duration::from_millis(clients.affinity.into());
        words += &format!(", kept for {time:?}");
    }
    if clients.connects_per_second() != 0 {
        let connects = clients.connects_per_second();
        words += &format!(", at most {connects} connects a second of a unit");
    }
    words
}

pub fn clients_fields(clients: &EachClient) -> Fields {
    let numbers = [
        ("affinity_ms", clients.affinity),
        ("client_connects_per_second", clients.connects_per_second()),
    ];
    let given = numbers.into_iter().filter(|(_, number)| *number != 0);
    given
        .map(|(name, number)| (name, Field::Number(number.into())))
        .collect()
}

/// The same for operators: what the file says.
pub fn words(picking: &Picking, clients: &EachClient) -> String {
    let mut words = picking.balance.to_string();
    if picking.hashes() {
        words += &format!(" by {}", picking.clients_by());
    }
    if picking.max_connections != 0 {
        words += &format!(", at most {} connections", picking.max_connections);
    }
    if picking.connects_per_second() != 0 {
        words += &format!(
            ", at most {} connects a second",
            picking.connects_per_second()
        );
    }
    words + &clients_words(clients)
}

pub fn fields(picking: &Picking) -> Fields {
    let mut fields = Fields::new();
    if picking.balance != Balance::default() {
        fields.push(("balance", Field::Text(picking.balance.to_string())));
    }
    if picking.is_by_client() {
        fields.push(("clients_by", Field::Text(picking.clients_by().to_string())));
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
