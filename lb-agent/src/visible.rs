//! Texts of others as they may be shown, on a terminal or in a page: anybody may have written them.

use std::borrow::Cow;

/// Instead of a character that is not shown.
const HIDDEN: &str = "\u{fffd}";

/// Characters that move a terminal's cursor, change the direction of a text or are not seen.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control() || c.escape_debug().nth(1) == Some('u')
}

/// A text without hidden characters.
pub(crate) fn word(text: &str) -> String {
    text.replace(is_hidden, HIDDEN)
}

/// The same of several lines.
pub(crate) fn lines(text: &str) -> String {
    text.replace(|c: char| is_hidden(c) && c != '\n', HIDDEN)
}

/// So many letters of a text at most.
pub(crate) fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => text.into(),
        Some((end, _)) => format!("{}...", &text[..end]).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_hidden() {
        // A direction, a space of no width, the end of a line, a tag, and what is like a space.
        for hidden in [
            "\u{202e}",
            "\u{2066}",
            "\u{200b}",
            "\u{feff}",
            "\u{2028}",
            "\u{e0041}",
            "\u{a0}",
            "\0",
        ] {
            let text = format!("a{hidden}b\n");
            assert_eq!(lines(&text), "a\u{fffd}b\n", "{text:?}");
            assert_eq!(word(&text), "a\u{fffd}b\u{fffd}", "{text:?}");
        }
        let seen = "ünï 名前 'a' \"b\" \\u € –\n";
        assert_eq!(lines(seen), seen);
    }

    #[test]
    fn a_text_is_cut_between_letters() {
        assert_eq!(shortened("né", 2), "né");
        assert_eq!(shortened("néü", 2), "né...");
    }
}
