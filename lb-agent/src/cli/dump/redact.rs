//! Takes secrets out of a text: tokens, passwords and keys, by the words in front of them and by
//! their shape.

/// In place of a secret.
const REDACTED: &str = "REDACTED";

/// Keys whose values nobody but their owner may see, in lower case.
const SECRETS: [&str; 8] = [
    "token",
    "password",
    "passwd",
    "secret",
    "authorization",
    "client-key-data",
    "private-key",
    "api-key",
];

/// The text without its secrets.
pub(super) fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        if line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----") {
            in_key = true;
            out.push_str(REDACTED);
            out.push('\n');
        }
        if !in_key {
            out.push_str(&of_line(line));
        }
        in_key &= !line.contains("-----END ");
    }
    out
}

fn of_line(line: &str) -> String {
    let end = line.len() - line.trim_end_matches(['\n', '\r']).len();
    let (line, newline) = line.split_at(line.len() - end);
    let line = match value_of(line) {
        Some(at) if !line[at..].trim().is_empty() => format!("{} {REDACTED}", &line[..at]),
        _ => line.to_owned(),
    };
    let words = line.split_inclusive(|c: char| !is_of_token(c));
    let mut out: String = words.map(of_word).collect();
    out.push_str(newline);
    out
}

/// Where the first value of a secret begins: what is behind it may belong to it, and goes too.
fn value_of(line: &str) -> Option<usize> {
    // Of the same length as the line, whatever its letters are.
    let lower = line.to_ascii_lowercase();
    let places = SECRETS.iter().flat_map(|key| {
        let ends = lower.match_indices(key).map(|(at, _)| at + key.len());
        ends.filter_map(|end| {
            // The value is behind a colon or an equals sign, which may be behind a quotation mark.
            let rest = &line[end..];
            let sign = rest.find([':', '='])?;
            rest[..sign]
                .chars()
                .all(|c| matches!(c, '"' | '\'' | ' '))
                .then_some(end + sign + 1)
        })
    });
    places.min()
}

fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

/// A JSON web token is three parts of base64, the first of which begins with `{"`.
fn of_word(word: &str) -> String {
    let token = word.trim_end_matches(|c| !is_of_token(c));
    if token.starts_with("eyJ") && token.matches('.').count() == 2 {
        return format!("{REDACTED}{}", &word[token.len()..]);
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_and_the_rest_stays() {
        for (text, expected) in [
            ("token: abc\n", "token: REDACTED\n"),
            ("  \"password\": \"x\",\n", "  \"password\": REDACTED\n"),
            ("--api-key=x y\n", "--api-key= REDACTED\n"),
            ("password=hunter2 token=abc\n", "password= REDACTED\n"),
            ("token=abc password=hunter2\n", "token= REDACTED\n"),
            (
                "token refresh failed, token=abc\n",
                "token refresh failed, token= REDACTED\n",
            ),
            ("İ Token: tokens token=ß\n", "İ Token: REDACTED\n"),
            ("Authorization: Bearer x", "Authorization: REDACTED"),
            ("a eyJhbGciOi.eyJpc3Mi.c2ln b\n", "a REDACTED b\n"),
            ("a eyJ.b c\n", "a eyJ.b c\n"),
            ("tokens are not shown\n", "tokens are not shown\n"),
            ("10.96.0.1:80 default/web\n", "10.96.0.1:80 default/web\n"),
            (
                "x\n-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\ny\n",
                "x\nREDACTED\ny\n",
            ),
        ] {
            assert_eq!(redacted(text), expected);
        }
    }
}
