//! What nodes say, as it may stand on a terminal.

use std::fmt::Write as _;

use crate::visible::{is_hidden, word};

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

/// Tells on standard error what a node says there, or what is wrong with it.
pub(super) fn tell(node: &str, text: &str) {
    eprint!("{}", told(node, text));
}

fn told(node: &str, text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.strip_prefix("lb-agent: ").unwrap_or(line);
        format!("lb-agent: node {node}: {}\n", word(line))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::get::{columns::columns, listing::Headers},
        visible::lines,
    };

    #[test]
    fn json_says_the_same_with_nothing_hidden() {
        for hidden in ["\u{202e}", "\u{200b}", "\u{2028}", "\u{e0041}", "\u{a0}"] {
            let value = serde_json::json!([format!("a{hidden}b\n")]);
            let escaped = json(&value.to_string());
            assert!(!escaped.contains(hidden), "{escaped:?}");
            let read: serde_json::Value = serde_json::from_str(&escaped).unwrap();
            assert_eq!(read, value);
        }
        let seen = "ünï 名前 'a' \"b\" \\u €\n";
        assert_eq!(json(seen), seen);
    }

    #[test]
    fn nothing_that_a_node_says_moves_the_cursor() {
        let evil = "a\u{1b}[2J\r\u{9b}2Jé\n";
        assert_eq!(word(evil), "a\u{fffd}[2J\u{fffd}\u{fffd}2Jé\u{fffd}");
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
        let table = columns(&["X"], vec![vec![evil.to_owned()]], Headers::Hidden);
        assert_eq!(table, word(evil) + "\n");
        let told = told("n1", "lb-agent: names are not shown\nx\u{1b}\n");
        assert_eq!(
            told,
            "lb-agent: node n1: names are not shown\nlb-agent: node n1: x\u{fffd}\n"
        );
    }
}
