//! What is looked at: which rows, in which order.

use super::rates::{Rates, Row};
use crate::cli::args::{self, SortKey};

/// What the rows are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    Services,
    Endpoints(String),
    Clients(String),
}

/// What a key changes, and nothing of a screen.
#[derive(Clone, Debug)]
pub struct View {
    pub level: Level,
    pub sort: SortKey,
    pub reversed: bool,
    /// Rows whose names have this in them.
    pub filter: String,
    /// Whether what is typed goes into the filter.
    pub typing: bool,
    pub frozen: bool,
    pub help: bool,
    /// The row that is chosen, by name: its place changes with every sample.
    pub chosen: Option<String>,
}

impl View {
    pub fn new(args: &args::Top) -> Self {
        Self {
            level: Level::Services,
            sort: args.sort,
            reversed: false,
            filter: String::new(),
            typing: false,
            frozen: false,
            help: false,
            chosen: None,
        }
    }

    /// The rows to show. One of them is chosen afterwards, if there are any.
    pub fn rows(&mut self, rates: &Rates) -> Vec<Row> {
        let mut rows = match &self.level {
            Level::Services => rates.services(),
            Level::Endpoints(service) => rates.endpoints(service),
            Level::Clients(service) => rates.clients(service),
        };
        rows.retain(|row| row.name.contains(&self.filter));
        rows.sort_by(|a, b| {
            let order = match self.sort {
                SortKey::Name => a.name.cmp(&b.name),
                SortKey::Connects => b.connects_per_second.total_cmp(&a.connects_per_second),
                SortKey::Active => b.active.cmp(&a.active),
                SortKey::Failed => b.failed_per_second.total_cmp(&a.failed_per_second),
                SortKey::Latency => {
                    let p99 = |row: &Row| row.connect_p99_seconds.unwrap_or(-1.0);
                    p99(b).total_cmp(&p99(a))
                }
                SortKey::Bytes => {
                    let both =
                        |row: &Row| row.sent_bytes_per_second + row.received_bytes_per_second;
                    both(b).total_cmp(&both(a))
                }
            };
            order.then_with(|| a.name.cmp(&b.name))
        });
        if self.reversed {
            rows.reverse();
        }
        if self.place(&rows).is_none() {
            self.chosen = rows.first().map(|row| row.name.clone());
        }
        rows
    }

    /// The place of the chosen row.
    pub fn place(&self, rows: &[Row]) -> Option<usize> {
        let chosen = self.chosen.as_ref()?;
        rows.iter().position(|row| row.name == *chosen)
    }

    /// Chooses the row that is so many below, or above.
    pub fn go(&mut self, rows: &[Row], by: isize) {
        let place = self.place(rows).unwrap_or_default();
        let to = place
            .saturating_add_signed(by)
            .min(rows.len().saturating_sub(1));
        self.chosen = rows.get(to).map(|row| row.name.clone());
    }
}
