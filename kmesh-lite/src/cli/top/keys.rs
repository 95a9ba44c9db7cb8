//! What keys do.

use super::rates::Row;
use super::view::{Level, View};
use crate::cli::args::SortKey;
use clap::ValueEnum;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What is left to do after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    GoOn,
    Quit,
}

pub const HELP: [(&str, &str); 10] = [
    ("up, down, k, j", "choose a row"),
    (
        "Enter",
        "endpoints of the chosen service; again for its clients",
    ),
    ("Esc, Backspace", "back"),
    ("s", "sort by the next column"),
    ("r", "the other way round"),
    (
        "/",
        "show only names with what is typed; Enter or Esc ends that",
    ),
    ("Space", "stand still, and go on"),
    ("Home, End", "first and last row"),
    ("?, h", "this help"),
    ("q, Ctrl-C", "end"),
];

pub fn press(view: &mut View, rows: &[Row], key: KeyEvent) -> Then {
    if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
        return Then::Quit;
    }
    if view.typing {
        type_into_filter(view, key.code);
        return Then::GoOn;
    }
    if view.help {
        view.help = false;
        return Then::GoOn;
    }
    let many = rows.len() as isize;
    match key.code {
        KeyCode::Char('q') => return Then::Quit,
        KeyCode::Char('?' | 'h') => view.help = true,
        KeyCode::Char('s') => view.sort = next(view.sort),
        KeyCode::Char('r') => view.reversed = !view.reversed,
        KeyCode::Char('/') => view.typing = true,
        KeyCode::Char(' ') => view.frozen = !view.frozen,
        KeyCode::Up | KeyCode::Char('k') => view.go(rows, -1),
        KeyCode::Down | KeyCode::Char('j') => view.go(rows, 1),
        KeyCode::PageUp => view.go(rows, -10),
        KeyCode::PageDown => view.go(rows, 10),
        KeyCode::Home => view.go(rows, -many),
        KeyCode::End => view.go(rows, many),
        KeyCode::Enter => enter(view),
        KeyCode::Esc | KeyCode::Backspace => back(view),
        _ => {}
    }
    Then::GoOn
}

fn type_into_filter(view: &mut View, key: KeyCode) {
    match key {
        KeyCode::Enter => view.typing = false,
        KeyCode::Esc => {
            view.typing = false;
            view.filter.clear();
        }
        KeyCode::Backspace => drop(view.filter.pop()),
        KeyCode::Char(typed) => view.filter.push(typed),
        _ => {}
    }
}

fn enter(view: &mut View) {
    view.level = match (&view.level, &view.chosen) {
        (Level::Services, Some(service)) => Level::Endpoints(service.clone()),
        (Level::Endpoints(service), _) => Level::Clients(service.clone()),
        (Level::Clients(service), _) => Level::Endpoints(service.clone()),
        (Level::Services, None) => return,
    };
    view.filter.clear();
    view.chosen = None;
}

fn back(view: &mut View) {
    if let Level::Endpoints(service) | Level::Clients(service) = &view.level {
        view.chosen = Some(service.clone());
        view.level = Level::Services;
    }
    view.filter.clear();
}

fn next(key: SortKey) -> SortKey {
    let all = SortKey::value_variants();
    let place = all.iter().position(|it| *it == key).unwrap_or_default();
    all[(place + 1) % all.len()]
}
