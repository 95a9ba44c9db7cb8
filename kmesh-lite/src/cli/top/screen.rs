//! The screen: drawn anew for each sample and each key.

use super::keys::{HELP, Then, press};
use super::rates::{Rates, Row};
use super::view::{Level, View};
use super::{COLUMNS, CliError};
use crate::api::TrafficSums;
use clap::ValueEnum;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Clear, Paragraph, Table, TableState};
use ratatui::{DefaultTerminal, Frame};
use std::io;
use std::time::{Duration, Instant};

type Ask<'a> = dyn Fn() -> Result<TrafficSums, CliError> + 'a;

/// Shows it until somebody has seen enough. The terminal is as before afterwards, whatever happened.
pub fn show(view: View, rates: Rates, pause: Duration, ask: &Ask<'_>) -> Result<(), CliError> {
    let mut terminal = ratatui::try_init().map_err(CliError::Terminal)?;
    let shown = run(&mut terminal, view, rates, pause, ask);
    ratatui::restore();
    shown
}

fn run(
    terminal: &mut DefaultTerminal,
    mut view: View,
    mut rates: Rates,
    pause: Duration,
    ask: &Ask<'_>,
) -> Result<(), CliError> {
    let colors = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
    let mut failure = None;
    let mut due = Instant::now() + pause;
    let mut place = TableState::default();
    loop {
        let rows = view.rows(&rates);
        let screen = Screen {
            view: &view,
            rows: &rows,
            failure: failure.as_deref(),
            colors,
        };
        let drawn = terminal.draw(|frame| screen.draw(frame, &mut place));
        drawn.map_err(CliError::Terminal)?;
        let left = due.saturating_duration_since(Instant::now());
        if event::poll(left).map_err(CliError::Terminal)? {
            if let Event::Key(key) = event::read().map_err(CliError::Terminal)?
                && key.kind == KeyEventKind::Press
                && press(&mut view, &rows, key) == Then::Quit
            {
                return Ok(());
            }
            continue;
        }
        due = Instant::now() + pause;
        if view.frozen {
            continue;
        }
        // A daemon that restarts is back in a moment.
        match ask() {
            Ok(sums) => {
                rates.add(sums);
                failure = None;
            }
            Err(error) => failure = Some(error.to_string()),
        }
    }
}

struct Screen<'a> {
    view: &'a View,
    rows: &'a [Row],
    failure: Option<&'a str>,
    colors: bool,
}

impl Screen<'_> {
    fn draw(&self, frame: &mut Frame<'_>, place: &mut TableState) {
        let [head, body, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(2),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(self.head(), head);
        place.select(self.view.place(self.rows));
        frame.render_stateful_widget(self.table(), body, place);
        frame.render_widget(self.foot(), foot);
        if self.view.help {
            help(frame);
        }
    }

    fn style(&self, color: Color) -> Style {
        if self.colors {
            Style::new().fg(color)
        } else {
            Style::new()
        }
    }

    fn head(&self) -> Paragraph<'_> {
        let what = match &self.view.level {
            Level::Services => "services".to_owned(),
            Level::Endpoints(service) => format!("endpoints of {service}"),
            Level::Clients(service) => format!("clients of {service}"),
        };
        // Not by `sum`, by which nothing is -0.
        let all = |of: fn(&Row) -> f64| self.rows.iter().map(of).fold(0.0, |sum, it| sum + it);
        let connects = all(|row| row.connects_per_second);
        let active: u64 = self.rows.iter().map(|row| row.active).sum();
        let failed = all(|row| row.failed_per_second);
        let mut text = format!(
            "kmesh-lite top: {} {what}, {connects:.0} connects/s, {active} active, {failed:.0} failed/s",
            self.rows.len()
        );
        if self.view.frozen {
            text += " [standing still]";
        }
        Paragraph::new(text).style(Style::new().add_modifier(Modifier::BOLD))
    }

    fn foot(&self) -> Paragraph<'_> {
        if let Some(failure) = self.failure {
            return Paragraph::new(failure).style(self.style(Color::Red));
        }
        let sort = self.view.sort.to_possible_value();
        let sort = sort.map_or_else(String::new, |sort| sort.get_name().to_owned());
        let filter = match (self.view.typing, self.view.filter.as_str()) {
            (true, filter) => format!("  show: {filter}_"),
            (false, "") => String::new(),
            (false, filter) => format!("  show: {filter}"),
        };
        let text = format!(
            "by {sort}{filter}   Enter: inside  Esc: back  s: sort  /: show  Space: stand still  ?: help  q: end"
        );
        Paragraph::new(text).style(Style::new().add_modifier(Modifier::DIM))
    }

    fn table(&self) -> Table<'_> {
        let mut headings: Vec<_> = COLUMNS.iter().map(|it| heading(it)).collect();
        headings.push(Cell::from("last minute"));
        let rows = self.rows.iter().map(|row| {
            let style = if row.failure_ratio > 0.0 {
                self.style(Color::Red)
            } else {
                Style::new()
            };
            let cells = row.cells().into_iter().zip(COLUMNS);
            let mut cells: Vec<_> = cells.map(|(text, column)| cell(text, column)).collect();
            cells.push(Cell::from(sparkline(&row.history)).style(self.style(Color::Cyan)));
            ratatui::widgets::Row::new(cells).style(style)
        });
        let name = self.rows.iter().map(|row| row.name.chars().count()).max();
        let name = name.unwrap_or_default().clamp(8, 40) as u16;
        let mut widths = vec![Constraint::Length(name)];
        widths.extend([10, 8, 8, 8, 8, 8, 9, 10].map(Constraint::Length));
        widths.push(Constraint::Fill(1));
        Table::new(rows, widths)
            .header(
                ratatui::widgets::Row::new(headings)
                    .style(Style::new().add_modifier(Modifier::DIM)),
            )
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
    }
}

fn heading(column: &'static str) -> Cell<'static> {
    cell(column.trim_start_matches('>').to_owned(), column)
}

fn cell(text: String, column: &str) -> Cell<'static> {
    let alignment = if column.starts_with('>') {
        Alignment::Right
    } else {
        Alignment::Left
    };
    Cell::from(Text::from(Line::from(text).alignment(alignment)))
}

/// A column for each sample, eighths of a line high.
fn sparkline(history: &[u64]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = history.iter().copied().max().unwrap_or_default().max(1);
    let height = |value: &u64| match value {
        0 => ' ',
        value => HEIGHTS[(value * 7 / most) as usize],
    };
    history.iter().map(height).collect()
}

fn help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let width = area.width.min(72);
    let height = area.height.min(HELP.len() as u16);
    let inside = Rect {
        x: (area.width - width) / 2,
        y: (area.height - height) / 2,
        width,
        height,
    };
    let lines = HELP
        .iter()
        .map(|(keys, what)| Line::from(format!(" {keys:<16}{what}")));
    frame.render_widget(Clear, inside);
    frame.render_widget(
        Paragraph::new(lines.collect::<Vec<_>>())
            .style(Style::new().add_modifier(Modifier::REVERSED)),
        inside,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_is_as_high_as_its_greatest_value() {
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[0, 1, 4, 8]), " ▁▄█");
        assert_eq!(sparkline(&[0, 0]), "  ");
    }
}
