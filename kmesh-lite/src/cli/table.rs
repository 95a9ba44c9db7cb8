//! Aligned columns.

use super::output::FAINT;
use comfy_table::CellAlignment;
use comfy_table::presets::NOTHING;
use std::fmt::Write;

/// A table without lines.
pub struct Table {
    inner: comfy_table::Table,
    headed: bool,
}

impl Table {
    /// Columns whose heading begins with `>` are aligned to the right.
    pub fn new(headings: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING);
        table.set_header(headings.iter().map(|text| text.trim_start_matches('>')));
        for (column, heading) in table.column_iter_mut().zip(headings) {
            column.set_padding((0, 2));
            if heading.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self {
            inner: table,
            headed: true,
        }
    }

    /// Columns that need no headings.
    pub fn bare(columns: usize) -> Self {
        Self {
            headed: false,
            ..Self::new(&vec![""; columns])
        }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows(cells.to_vec());
    }

    pub fn rows(&mut self, cells: Vec<String>) {
        self.inner.add_row(cells);
    }

    /// Columns that the longest line takes. Styles count as text, here and in how columns are aligned: only the last
    /// column may have some.
    pub fn width(&self) -> usize {
        let lines = self.inner.lines();
        let lengths = lines.map(|line| line.trim_end().chars().count() + 2);
        lengths.max().unwrap_or(0)
    }

    /// The table, each line indented by two.
    pub fn write(&self, text: &mut String) {
        for (number, line) in self.inner.lines().enumerate() {
            let line = line.trim_end();
            // Writing to a String cannot fail.
            let _ = match number {
                0 if self.headed => writeln!(text, "  {FAINT}{line}{FAINT:#}"),
                0 => Ok(()),
                _ => writeln!(text, "  {line}"),
            };
        }
    }
}
