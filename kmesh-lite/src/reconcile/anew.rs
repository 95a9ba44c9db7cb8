//! Tables that take the place of those in charge.

use crate::model::{Limits, Table};
use std::fmt;

/// The room in the tables that are there, and in those that take their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anew {
    pub before: Limits,
    pub after: Limits,
}

impl fmt::Display for Anew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grows = |table: &Table| self.after.of(*table) > self.before.of(*table);
        let mut grown = Table::ALL.iter().filter(|table| grows(table)).peekable();
        if grown.peek().is_none() {
            return f.write_str("the tables are replaced by new ones, with every connection kept");
        }
        f.write_str(
            "the tables are replaced by larger ones, with every connection kept: room for",
        )?;
        for (number, table) in grown.enumerate() {
            let comma = if number == 0 { "" } else { "," };
            let (before, after) = (self.before.of(*table), self.after.of(*table));
            write!(f, "{comma} {after} {table} (was {before})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_which_tables_are_larger() {
        let before = Limits::each(|_| 128, 1, 1);
        let same = Anew {
            before,
            after: before,
        };
        assert_eq!(
            same.to_string(),
            "the tables are replaced by new ones, with every connection kept"
        );
        let after = Limits {
            services: 256,
            endpoints: 2048,
            ..before
        };
        assert_eq!(
            Anew { before, after }.to_string(),
            "the tables are replaced by larger ones, with every connection kept: room for 2048 endpoints (was 128), \
             256 services (was 128)"
        );
    }
}
