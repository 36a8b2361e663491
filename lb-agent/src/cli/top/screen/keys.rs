//! What a key does.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    rows::Move,
    state::{Mode, State},
};
use crate::cli::args::TopSort;

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    On,
    /// Others may have the terminal meanwhile.
    Stop,
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
            // Ctrl-\, which most terminals send as they send Ctrl-4.
            KeyCode::Char('c' | '\\' | '4') => Step::End,
            KeyCode::Char('z') => Step::Stop,
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
            code if state.mode == Mode::Backends => go(state, code),
            _ => {}
        },
    }
    Step::On
}

fn in_list(state: &mut State, code: KeyCode) -> Step {
    match code {
        KeyCode::Char('q') => return Step::End,
        KeyCode::Enter => state.open(),
        KeyCode::Esc => state.change_filter(String::clear),
        KeyCode::Char('/') => state.mode = Mode::Filter,
        KeyCode::Char('?') => state.mode = Mode::Help,
        KeyCode::Char('s') => state.sort_by_next(),
        code => match sort_of(code) {
            Some(by) => state.sort_by(by),
            None => go(state, code),
        },
    }
    Step::On
}

fn go(state: &mut State, code: KeyCode) {
    state.go(match code {
        KeyCode::Down | KeyCode::Char('j') => Move::Rows(1),
        KeyCode::Up | KeyCode::Char('k') => Move::Rows(-1),
        KeyCode::PageDown => Move::Pages(1),
        KeyCode::PageUp => Move::Pages(-1),
        KeyCode::Home | KeyCode::Char('g') => Move::First,
        KeyCode::End | KeyCode::Char('G') => Move::Last,
        _ => return,
    });
}

const fn sort_of(code: KeyCode) -> Option<TopSort> {
    let KeyCode::Char(letter) = code else {
        return None;
    };
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
            state.change_filter(String::clear);
            state.mode = Mode::List;
        }
        KeyCode::Backspace => state.change_filter(|filter| {
            filter.pop();
        }),
        KeyCode::Char(letter) => state.change_filter(|filter| filter.push(letter)),
        _ => {}
    }
}
