//! What nodes say, as it may stand on a terminal.

use std::fmt::Write as _;

use crate::cli::get::{columns, listing::Headers};

/// Characters that move a terminal's cursor, change the direction of a text or are not seen.
fn is_hidden(c: char) -> bool {
    c.is_control() || c.escape_debug().nth(1) == Some('u')
}

/// A text without hidden characters: a node may say anything.
pub(super) fn shown(text: &str) -> String {
    text.replace(is_hidden, "\u{fffd}")
}

/// The same of several lines.
pub(super) fn lines(text: &str) -> String {
    text.replace(|c: char| is_hidden(c) && c != '\n', "\u{fffd}")
}

/// JSON in which hidden characters are escaped: those that its grammar lets stand, too.
pub(super) fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
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
    fn nothing_is_hidden_in_what_a_node_says() {
        // A direction, a space of no width, the end of a line, a tag, and what is like a space.
        for hidden in [
            "\u{202e}",
            "\u{2066}",
            "\u{200b}",
            "\u{feff}",
            "\u{2028}",
            "\u{e0041}",
            "\u{a0}",
        ] {
            let text = format!("a{hidden}b\n");
            assert_eq!(lines(&text), "a\u{fffd}b\n", "{text:?}");
            let value = serde_json::json!([text]);
            let escaped = json(&value.to_string());
            assert!(!escaped.contains(hidden), "{escaped:?}");
            let read: serde_json::Value = serde_json::from_str(&escaped).unwrap();
            assert_eq!(read, value);
        }
        let seen = "ünï 名前 'a' \"b\" \\u €\n";
        assert_eq!(lines(seen), seen);
        assert_eq!(json(seen), seen);
    }

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
