//! Tables of aligned words, as kubectl writes them: no lines, and `-` for what nobody knows.

use comfy_table::presets::NOTHING;
use serde::Serialize;
use serde_json::Value;

use super::listing::{Headers, Table, Width};
use crate::visible;

/// Columns of aligned words, without lines. A cell without a word is `-`, and one that
/// somebody else has written has nothing that is hidden.
pub(in crate::cli) fn columns(head: &[&str], rows: Vec<Vec<String>>, headers: Headers) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(NOTHING);
    if headers == Headers::Shown {
        table.set_header(head.iter().copied());
    }
    let rows = rows.into_iter().map(|row| {
        let known = |cell: String| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                visible::word(&cell)
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

/// A column of a table: its head, and its cell of an item's JSON, which is the same wherever the item
/// comes from.
#[derive(Clone, Copy)]
pub(in crate::cli) struct Column {
    pub(in crate::cli) head: &'static str,
    pub(in crate::cli) cell: fn(&Value) -> String,
    width: Width,
}

/// Of each table.
pub(super) const fn column(head: &'static str, cell: fn(&Value) -> String) -> Column {
    Column {
        head,
        cell,
        width: Width::Normal,
    }
}

/// Where the window is wide.
pub(super) const fn wide(head: &'static str, cell: fn(&Value) -> String) -> Column {
    Column {
        head,
        cell,
        width: Width::Wide,
    }
}

/// The columns of a table of this width.
pub(in crate::cli) fn of_width(all: &[Column], width: Width) -> Vec<Column> {
    let is_shown = |column: &&Column| width == Width::Wide || column.width == Width::Normal;
    all.iter().filter(is_shown).copied().collect()
}

/// How items are written in these columns.
pub(super) fn table<T: Serialize>(all: &'static [Column]) -> Table<T> {
    Box::new(move |items, width, headers| {
        let shown = of_width(all, width);
        let head: Vec<&str> = shown.iter().map(|column| column.head).collect();
        let rows = items.iter().map(|item| {
            let item = serde_json::to_value(item).unwrap_or_default();
            shown.iter().map(|column| (column.cell)(&item)).collect()
        });
        columns(&head, rows.collect(), headers)
    })
}

/// A field as a word.
pub(in crate::cli) fn field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A Service port: `namespace/name:port`.
pub(in crate::cli) fn service(value: &Value) -> String {
    let part = |name: &str| value[name].as_str().unwrap_or_default();
    match (part("namespace"), part("name"), part("port")) {
        (_, "", _) => String::new(),
        (namespace, name, "") => format!("{namespace}/{name}"),
        (namespace, name, port) => format!("{namespace}/{name}:{port}"),
    }
}

/// `address:port`
pub(super) fn place(item: &Value) -> String {
    format!("{}:{}", field(&item["address"]), field(&item["port"]))
}

/// A list as words.
pub(super) fn joined(list: &Value, word: impl Fn(&Value) -> String) -> String {
    let words = list.as_array().into_iter().flatten().map(word);
    words.collect::<Vec<_>>().join(",")
}

/// A number of seconds.
pub(super) fn seconds(value: &Value) -> String {
    value.as_u64().map_or_else(String::new, |n| format!("{n}s"))
}
