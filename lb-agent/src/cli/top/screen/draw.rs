//! How the screen looks. What is selected or sorted by is marked without colour too.

use std::env;

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
use crate::inventory::Member;

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
    frame.render_widget(Paragraph::new(title(state)), top);
    match state.mode {
        Mode::List | Mode::Filter => list(frame, middle, state),
        Mode::Backends => backends(frame, middle, state),
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

fn title(state: &State) -> Line<'static> {
    let shown = state.rows().len();
    let words = match (state.mode, state.row()) {
        (Mode::Backends, Some(row)) => format!("{} {}", row.name(), row.protocol),
        _ if !state.has_seen => "waiting for the first interval".to_owned(),
        _ if shown == 1 => "1 Service port".to_owned(),
        _ => format!("{shown} Service ports"),
    };
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
        Mode::Filter => Line::raw(format!("/{}_", state.filter)),
        Mode::List if !state.filter.is_empty() => Line::raw(format!(
            "filter: {}   Esc without it   ? keys   q end",
            state.filter
        )),
        Mode::List => Line::raw("Enter backends   / filter   s sort   ? keys   q end"),
        Mode::Backends | Mode::Help => Line::raw("Esc back   q end"),
    }
}

fn list(frame: &mut Frame<'_>, area: Rect, state: &mut State) {
    let at = state.at();
    let rows: Vec<[String; HEAD.len()]> = state.rows().into_iter().map(cells).collect();
    let sorted = SORTS.iter().position(|by| *by == state.sort).map(|n| n + 2);
    let head = HEAD.iter().enumerate().map(|(n, word)| {
        let mark = if Some(n) == sorted { "▼" } else { "" };
        (n, format!("{word}{mark}"))
    });
    let head: Vec<(usize, String)> = head.collect();
    let widths = head.iter().map(|(n, word)| {
        let cells = rows.iter().map(|row| row[*n].chars().count());
        let most = cells.max().unwrap_or_default().max(word.chars().count());
        Constraint::Length(u16::try_from(most).unwrap_or(u16::MAX))
    });
    let widths: Vec<Constraint> = widths.collect();
    let header = Row::new(head.into_iter().map(|(_, word)| Cell::from(word))).style(bold());
    let is_empty = rows.is_empty();
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
    let table = Table::new(body, widths)
        .header(header)
        .column_spacing(2)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut selected = TableState::new().with_selected((!is_empty).then_some(at));
    frame.render_stateful_widget(table, area, &mut selected);
    state.page = usize::from(area.height.saturating_sub(1)).max(1);
}

fn backends(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let rows: Vec<[String; BACKENDS.len()]> = state.backends().map(of_backend).collect();
    let widths = BACKENDS.iter().enumerate().map(|(n, head)| {
        let cells = rows.iter().map(|row| row[n].chars().count());
        let most = cells.max().unwrap_or_default().max(head.len());
        Constraint::Length(u16::try_from(most).unwrap_or(u16::MAX))
    });
    let widths: Vec<Constraint> = widths.collect();
    let body = rows.into_iter().map(|row| {
        let style = if row[5] == "ready" {
            Style::new()
        } else {
            coloured(state, Color::Yellow)
        };
        Row::new(row).style(style)
    });
    let table = Table::new(body, widths)
        .header(Row::new(BACKENDS).style(bold()))
        .column_spacing(2);
    frame.render_widget(table, area);
}

fn of_backend(b: &Member) -> [String; BACKENDS.len()] {
    let word = |word: Option<&String>| word.cloned().unwrap_or_else(|| "-".to_owned());
    [
        format!("{}:{}", b.address, b.port),
        word(b.place.pod.as_ref()),
        word(b.place.node.as_ref()),
        b.weight.to_string(),
        b.active_connections.to_string(),
        b.state.to_owned(),
    ]
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let rows = HELP.iter().map(|(keys, what)| Row::new([*keys, *what]));
    let widths = [Constraint::Length(14), Constraint::Min(0)];
    frame.render_widget(Table::new(rows, widths).column_spacing(2), area);
}

#[cfg(test)]
mod tests;
