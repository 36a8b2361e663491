//! What nodes say, as it may stand on a terminal.

use std::fmt::Write as _;

use crate::cli::get::{columns, listing::Headers};

/// A text without control characters, such as those that move a terminal's cursor: a node may say
/// anything.
pub(super) fn shown(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// The same of several lines.
pub(super) fn lines(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

/// JSON in which control characters are escaped: those that its grammar lets stand, too.
pub(super) fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// A table of what nodes say.
pub(super) fn table(head: &[&str], mut rows: Vec<Vec<String>>, headers: Headers) -> String {
    for cell in rows.iter_mut().flatten() {
        *cell = shown(cell);
    }
    columns::columns(head, rows, headers)
}

/// Tells on standard error what a node says there, or what is wrong with it.
pub(super) fn tell(node: &str, text: &str) {
    eprint!("{}", told(node, text));
}

fn told(node: &str, text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.strip_prefix("lb-agent: ").unwrap_or(line);
        format!("lb-agent: node {node}: {}\n", shown(line))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_node_says_moves_the_cursor() {
        let evil = "a\u{1b}[2J\r\u{9b}2Jé\n";
        assert_eq!(shown(evil), "a\u{fffd}[2J\u{fffd}\u{fffd}2Jé\u{fffd}");
        assert_eq!(lines(evil), "a\u{fffd}[2J\u{fffd}\u{fffd}2Jé\n");
        let value = serde_json::json!([evil]);
        let text = json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\n'),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
        let table = table(&["X"], vec![vec![evil.to_owned()]], Headers::Hidden);
        assert_eq!(table, shown(evil) + "\n");
        let told = told("n1", "lb-agent: names are not shown\nx\u{1b}\n");
        assert_eq!(
            told,
            "lb-agent: node n1: names are not shown\nlb-agent: node n1: x\u{fffd}\n"
        );
    }
}
