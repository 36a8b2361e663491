//! Tables of aligned words, as kubectl writes them: no lines, and `-` for what nobody knows.

use comfy_table::{Table, presets::NOTHING};

use super::{
    Place, ServicePort,
    listing::{Headers, Width},
};

/// Columns of aligned words, without lines. A cell without a word is `-`.
pub(in crate::cli) fn columns(head: &[&str], rows: Vec<Vec<String>>, headers: Headers) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if headers == Headers::Shown {
        table.set_header(head.iter().copied());
    }
    let rows = rows.into_iter().map(|row| {
        let known = |cell: String| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell
            }
        };
        row.into_iter().map(known).collect::<Vec<String>>()
    });
    table.add_rows(rows);
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim());
        text.push('\n');
    }
    text
}

/// Columns of aligned words with their heads, without lines.
pub(in crate::cli) fn borderless(head: &[&str], rows: Vec<Vec<String>>) -> String {
    columns(head, rows, Headers::Shown)
}

/// A name, or a dash.
pub(in crate::cli) fn word(name: Option<&String>) -> String {
    let known = name.filter(|name| !name.is_empty());
    known.cloned().unwrap_or_else(|| "-".to_owned())
}

/// The names in the columns of a table, or no columns where it is too narrow for them.
pub(super) fn of_width(
    width: Width,
    normal: &[&'static str],
    wide: &[&'static str],
) -> Vec<&'static str> {
    let wide = if width == Width::Wide { wide } else { &[] };
    normal.iter().chain(wide).copied().collect()
}

/// The cell of a Service port.
pub(super) fn service(port: Option<&ServicePort>) -> String {
    port.map_or_else(String::new, ToString::to_string)
}

/// The cells of a pod, its node and its zone.
pub(super) fn place(place: &Place) -> [String; 3] {
    let Place { pod, node, zone } = place;
    [pod, node, zone].map(|name| name.clone().unwrap_or_default())
}
