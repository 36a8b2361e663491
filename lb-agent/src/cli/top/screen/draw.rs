//! How the screen looks. What is selected or sorted by is marked without colour too.

use std::{env, ops::Range};

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row, Table, TableState},
};

use super::{
    super::table::{HEAD, SORTS, cells},
    keys::HELP,
    state::{Mode, State},
};
use crate::{cli::get::columns::word, inventory::Member, model::BackendState, visible};

/// Columns of the backends of a Service port.
const BACKENDS: [&str; 6] = ["BACKEND", "POD", "NODE", "WEIGHT", "ACTIVE", "STATE"];
/// Cells of more than 0 in these columns say that something is wrong.
const BAD: [&str; 3] = ["REJECTS/S", "FAILED/S", "RETRANS/S"];

/// Whether colour is wanted (<https://no-color.org>).
pub(super) fn has_colour() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State) {
    let [top, middle, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    // Without the heads of columns.
    let visible = state.visible(usize::from(middle.height.saturating_sub(1)));
    frame.render_widget(Paragraph::new(title(state, &visible)), top);
    match state.mode {
        Mode::List | Mode::Filter => list(frame, middle, state, visible),
        Mode::Backends => backends(frame, middle, state, visible),
        Mode::Help => help(frame, middle),
    }
    frame.render_widget(Paragraph::new(footer(state)), bottom);
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn coloured(state: &State, colour: Color) -> Style {
    if state.has_colour {
        Style::new().fg(colour)
    } else {
        Style::new()
    }
}

fn title(state: &State, visible: &Range<usize>) -> Line<'static> {
    let (count, _) = state.count_and_place();
    let mut words = match state.opened() {
        Some((protocol, name)) => format!("{} {protocol}", visible::word(name)),
        None if !state.has_seen => "waiting for the first interval".to_owned(),
        None if count == 1 => "1 Service port".to_owned(),
        None => format!("{count} Service ports"),
    };
    if visible.len() < count && state.mode != Mode::Help {
        let Range { start, end } = visible;
        words = format!("{words}  rows {}-{end} of {count}", start + 1);
    }
    let mut spans = vec![Span::styled("lb-agent top", bold()), Span::raw("  ")];
    spans.push(Span::raw(words));
    if let Some(problem) = &state.problem {
        let style = coloured(state, Color::Red).add_modifier(Modifier::BOLD);
        spans.push(Span::styled(format!("  {problem}"), style));
    }
    Line::from(spans)
}

fn footer(state: &State) -> Line<'static> {
    match state.mode {
        Mode::Filter => Line::raw(format!("/{}_", state.filter())),
        Mode::List if !state.filter().is_empty() => Line::raw(format!(
            "filter: {}   Esc without it   ? keys   q end",
            state.filter()
        )),
        Mode::List => Line::raw("Enter backends   / filter   s sort   ? keys   q end"),
        Mode::Backends | Mode::Help => Line::raw("Esc back   q end"),
    }
}

fn list(frame: &mut Frame<'_>, area: Rect, state: &State, visible: Range<usize>) {
    let sorted = SORTS.iter().position(|by| *by == state.sort).map(|n| n + 2);
    let mut head = HEAD.map(str::to_owned);
    if let Some(word) = sorted.and_then(|n| head.get_mut(n)) {
        word.push('▼');
    }
    let start = visible.start;
    let rows = readable(state.rates(visible).map(cells));
    let widths = widths(&head, &rows);
    let body = rows.into_iter().map(|row| {
        let cells = HEAD.iter().zip(row).map(|(head, cell)| {
            let is_bad = BAD.contains(head) && cell != "-" && cell != "0.0";
            let style = if is_bad {
                coloured(state, Color::Yellow)
            } else {
                Style::new()
            };
            Cell::from(cell).style(style)
        });
        Row::new(cells.collect::<Vec<_>>())
    });
    let table = Table::new(body, widths).header(Row::new(head).style(bold()));
    render(frame, area, table, state, start);
}

fn backends(frame: &mut Frame<'_>, area: Rect, state: &State, visible: Range<usize>) {
    let head = BACKENDS.map(str::to_owned);
    let start = visible.start;
    let rows = readable(state.backends(visible).map(of_backend));
    let widths = widths(&head, &rows);
    let body = rows.into_iter().map(|row| {
        let style = if row[5] == BackendState::Ready.name() {
            Style::new()
        } else {
            coloured(state, Color::Yellow)
        };
        Row::new(row).style(style)
    });
    let table = Table::new(body, widths).header(Row::new(head).style(bold()));
    render(frame, area, table, state, start);
}

/// Rows without hidden characters: anybody may have chosen a name.
fn readable<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> Vec<[String; N]> {
    rows.map(|row| row.map(|cell| visible::word(&cell)))
        .collect()
}

/// Of columns: as wide as their head, and as their longest visible cell.
fn widths<const N: usize>(head: &[String; N], rows: &[[String; N]]) -> [Constraint; N] {
    std::array::from_fn(|n| {
        let cells = rows.iter().chain([head]).map(|row| row[n].chars().count());
        let most = cells.max().unwrap_or_default();
        Constraint::Length(u16::try_from(most).unwrap_or(u16::MAX))
    })
}

/// The visible rows of what is shown, the first of which has this place.
fn render(frame: &mut Frame<'_>, area: Rect, table: Table<'_>, state: &State, start: usize) {
    let (count, at) = state.count_and_place();
    let selected = at.checked_sub(start).filter(|_| count > 0);
    let table = table
        .column_spacing(2)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut marked = TableState::new().with_selected(selected);
    frame.render_stateful_widget(table, area, &mut marked);
}

fn of_backend(b: &Member) -> [String; BACKENDS.len()] {
    [
        format!("{}:{}", b.address, b.port),
        word(b.place.pod.as_ref()),
        word(b.place.node.as_ref()),
        b.weight.to_string(),
        b.active_connections.to_string(),
        b.state.name().to_owned(),
    ]
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let rows = HELP.iter().map(|(keys, what)| Row::new([*keys, *what]));
    let widths = [Constraint::Length(14), Constraint::Min(0)];
    frame.render_widget(Table::new(rows, widths).column_spacing(2), area);
}

#[cfg(test)]
mod tests;
