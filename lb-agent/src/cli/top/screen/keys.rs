//! What a key does.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::state::{Mode, State};
use crate::cli::args::TopSort;

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    On,
    End,
}

/// A line of help for each key of the list.
pub(super) const HELP: [(&str, &str); 10] = [
    ("↓ ↑  j k", "the next row, the one before"),
    ("PgDn PgUp", "a page"),
    ("Home End  g G", "the first row, the last one"),
    ("Enter", "the backends of a Service port"),
    ("/", "filter: words of names; Enter keeps it, Esc drops it"),
    (
        "c a p b r",
        "sort by connections, active, packets, bytes, rejects",
    ),
    (
        "t f x",
        "sort by round trip time, failed connects, retransmits",
    ),
    ("s", "sort by the next column"),
    ("Esc", "back; without the filter"),
    ("q", "end"),
];

/// Does what a key is for.
pub(super) fn press(state: &mut State, key: KeyEvent) -> Step {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        // In this mode the terminal makes no signal of it.
        return match key.code {
            KeyCode::Char('c') => Step::End,
            _ => Step::On,
        };
    }
    match state.mode {
        Mode::List => return in_list(state, key.code),
        Mode::Filter => in_filter(state, key.code),
        Mode::Backends | Mode::Help => match key.code {
            KeyCode::Char('q') => return Step::End,
            KeyCode::Esc
            | KeyCode::Enter
            | KeyCode::Left
            | KeyCode::Backspace
            | KeyCode::Char('?') => {
                state.mode = Mode::List;
            }
            _ => {}
        },
    }
    Step::On
}

fn in_list(state: &mut State, code: KeyCode) -> Step {
    let page = isize::try_from(state.page).unwrap_or(1);
    match code {
        KeyCode::Char('q') => return Step::End,
        KeyCode::Down | KeyCode::Char('j') => state.step(1),
        KeyCode::Up | KeyCode::Char('k') => state.step(-1),
        KeyCode::PageDown => state.step(page),
        KeyCode::PageUp => state.step(-page),
        KeyCode::Home | KeyCode::Char('g') => state.select(0),
        KeyCode::End | KeyCode::Char('G') => state.select(usize::MAX),
        KeyCode::Enter if state.row().is_some() => {
            // It stays the one that is looked at.
            state.step(0);
            state.mode = Mode::Backends;
        }
        KeyCode::Esc => state.filter.clear(),
        KeyCode::Char('/') => state.mode = Mode::Filter,
        KeyCode::Char('?') => state.mode = Mode::Help,
        KeyCode::Char('s') => state.sort_by_next(),
        KeyCode::Char(letter) => {
            if let Some(by) = sort_of(letter) {
                state.sort_by(by);
            }
        }
        _ => {}
    }
    Step::On
}

const fn sort_of(letter: char) -> Option<TopSort> {
    Some(match letter {
        'c' => TopSort::Connections,
        'a' => TopSort::Active,
        'p' => TopSort::Packets,
        'b' => TopSort::Bytes,
        'r' => TopSort::Rejects,
        't' => TopSort::Rtt,
        'f' => TopSort::Failures,
        'x' => TopSort::Retransmits,
        _ => return None,
    })
}

fn in_filter(state: &mut State, code: KeyCode) {
    match code {
        KeyCode::Enter => state.mode = Mode::List,
        KeyCode::Esc => {
            state.filter.clear();
            state.mode = Mode::List;
        }
        KeyCode::Backspace => {
            state.filter.pop();
        }
        KeyCode::Char(letter) => state.filter.push(letter),
        _ => {}
    }
}
