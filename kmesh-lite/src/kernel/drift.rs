//! What somebody else did to the tables, in words.

use crate::plan::words;
use crate::tables::{Actual, Tables};
use std::net::SocketAddr;

/// How `actual` differs from what the last pass left; empty when it does not.
pub fn drift(written: &Tables, actual: &Actual) -> Vec<String> {
    if actual.tables == *written && actual.leftovers.is_empty() {
        return Vec::new();
    }
    let mut lines = words(written, &actual.tables);
    for (id, row) in &written.addresses {
        match actual.tables.addresses.get(id) {
            None => lines.push(format!("address {}: gone", row.address)),
            Some(now) if now != row => lines.push(format!("address {}: changed", row.address)),
            Some(_) => {}
        }
    }
    for address in &actual.leftovers.addresses {
        lines.push(format!("address {address}: a key that leads nowhere"));
    }
    for key in &actual.leftovers.frontends {
        let address = SocketAddr::new(key.address.into(), key.port.get());
        let protocol = key.protocol;
        lines.push(format!(
            "frontend {address}/{protocol}: a key that leads nowhere"
        ));
    }
    if lines.is_empty() {
        lines.push(
            "rows of the tables were changed or deleted, with no effect that has a name".to_owned(),
        );
    }
    lines
}
