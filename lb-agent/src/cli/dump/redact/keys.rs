//! Secrets by the words in front of them: `token: x`, `--password x`.

use super::REDACTED;

/// Keys whose values nobody but their owner may see. A dash stands for one, for an underscore, or for
/// nothing: `clientKeyData`.
const SECRETS: [&str; 15] = [
    "token",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "secret-key",
    "access-key",
    "authorization",
    "credential",
    "credentials",
    "client-key-data",
    "private-key",
    "api-key",
    "signature",
];

/// What became of a secret's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// There is no secret, or its value is taken out.
    Gone,
    /// It is on the next lines.
    Follows,
}

/// The line without what is behind the first key of a secret: all of that may belong to it.
pub(super) fn redacted(line: &str) -> (String, Value) {
    let Some(at) = value_of(line) else {
        return (line.to_owned(), Value::Gone);
    };
    let value = line[at..].trim();
    // `|` and `>`, with what YAML allows behind them, say that a value follows; so do brackets.
    let is_text = value.starts_with(['|', '>']) && value.len() <= 3;
    let is_block = is_text || matches!(value, "{" | "[");
    let follows = if is_block || value.is_empty() {
        Value::Follows
    } else {
        Value::Gone
    };
    if value.is_empty() {
        return (line.to_owned(), follows);
    }
    (format!("{} {REDACTED}", &line[..at]), follows)
}

/// Where the first value of a secret begins.
fn value_of(line: &str) -> Option<usize> {
    let places = line.char_indices().flat_map(|(at, _)| {
        let ends = SECRETS.iter().filter_map(move |key| end_of(key, line, at));
        ends.filter_map(move |end| value_behind(line, at, end))
    });
    places.min()
}

/// Where a key ends that begins here.
fn end_of(key: &str, line: &str, at: usize) -> Option<usize> {
    let mut rest = line.as_bytes()[at..].iter().peekable();
    let mut len = 0;
    for wanted in key.bytes() {
        let found = rest.peek().map(|byte| byte.to_ascii_lowercase());
        let is_found = found == Some(wanted) || wanted == b'-' && found == Some(b'_');
        if is_found {
            rest.next();
            len += 1;
        } else if wanted != b'-' {
            return None;
        }
    }
    Some(at + len)
}

/// A value is behind a colon or an equals sign, which may be behind quotation marks; that of a flag
/// may be the next word.
fn value_behind(line: &str, at: usize, end: usize) -> Option<usize> {
    let rest = &line[end..];
    let is_filler = |c: char| matches!(c, '"' | '\'' | '\\' | ' ');
    let behind = rest.trim_start_matches(is_filler);
    if behind.starts_with([':', '=']) {
        return Some(end + (rest.len() - behind.len()) + 1);
    }
    let word = line[..at]
        .rsplit([' ', '"', '\''])
        .next()
        .unwrap_or_default();
    let is_flag = word.starts_with("--") && rest.starts_with(' ');
    is_flag.then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_in_each_spelling() {
        for (line, expected) in [
            ("client-key-data: LS0t", "client-key-data: REDACTED"),
            ("clientKeyData: LS0t", "clientKeyData: REDACTED"),
            ("{\"private_key\":\"x\"}", "{\"private_key\": REDACTED"),
            ("API_KEY=x", "API_KEY= REDACTED"),
            ("AWS_SECRET_ACCESS_KEY=x", "AWS_SECRET_ACCESS_KEY= REDACTED"),
            (
                "{\"m\": \"{\\\"password\\\":\\\"x\\\"}\"}",
                "{\"m\": \"{\\\"password\\\": REDACTED",
            ),
            ("?access_token=x&y", "?access_token= REDACTED"),
            (
                "lb-agent --bearer-token abc",
                "lb-agent --bearer-token REDACTED",
            ),
            ("a token of x", "a token of x"),
            ("secretName: web", "secretName: web"),
            ("\"cookie\": 4026", "\"cookie\": 4026"),
        ] {
            assert_eq!(redacted(line), (expected.to_owned(), Value::Gone));
        }
        for line in ["token: |", "token: >-", "token:", "\"secret\": {"] {
            assert_eq!(redacted(line).1, Value::Follows, "{line}");
        }
    }
}
