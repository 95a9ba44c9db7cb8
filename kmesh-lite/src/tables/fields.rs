//! A row as named values.

use crate::model::Table;

/// The columns of a row, in order.
pub type Fields = Vec<(&'static str, Field)>;

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Text(String),
    Number(u64),
    /// A row of another table, by its index there.
    Reference(Option<(Table, u32)>),
    List(Vec<Fields>),
}
