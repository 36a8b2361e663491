//! Secrets by the words in front of them: `token: x`, `--password x`, `name: API_KEY, value: x`.

use regex::{Error, Regex};

use super::REDACTED;

/// Words of secrets, wherever they are in a key: `AWS_SECRET_ACCESS_KEY`, `clientKeyData`.
const WORDS: &str = "token|passw(?:or)?d|passphrase|pwd|secret|credential|signature|authorization\
    |dockercfg|dockerconfigjson|(?:secret|access|private|api)[-_. ]?key\
    |client[-_. ]?key[-_. ]?data";
/// Those that other words have in them, such as `compass`, are words by themselves: `MYSQL_PASS`,
/// `basicAuth`.
const SHORT: &str = "(?:^|[^a-z])(?:pass|auth|sig)|(?-i:[a-z](?:Pass|Auth|Sig))";
/// Between a key and its value, or a name and what it names.
const IS: &str = r#"["'\\\s]*[:=]"#;

/// What is known of a value by the words around it.
pub(super) struct Keys {
    /// A key, as far as its value.
    key: Regex,
    /// A key that is called by a name of its own, and the name is that of a secret.
    name: Regex,
    /// Beside such a name, as far as the value.
    value: Regex,
}

impl Keys {
    pub(super) fn new() -> Result<Self, Error> {
        let word = format!("(?:{WORDS}|{SHORT})s?");
        // The value of a flag may be the next word.
        let flag = format!(r#"(?:^|[\s"'])-[-\w]*(?:{word})(?:["'],|\s)"#);
        // The kernel has numbers of this name; those of HTTP have names.
        let cookie = format!(r#"(?<cookie>cookie{IS})["'\\\s]*[^"'\\\s,=]+="#);
        let key = format!("(?i)(?:{word}){IS}|{flag}|{cookie}");
        let name = format!(r#"(?i)\bname{IS}["'\\\s]*[-.\w]*?(?:{word})(?:[^a-z]|$)"#);
        Ok(Self {
            key: Regex::new(&key)?,
            name: Regex::new(&name)?,
            value: Regex::new(&format!("(?i)\\bvalue{IS}"))?,
        })
    }

    /// The text without values: all that is behind a key in its line, and the lines below that are
    /// farther in.
    pub(super) fn redacted(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        // The columns in front of the last line's key.
        let mut key: Option<usize> = None;
        let mut was_named = false;
        for line in text.split_inclusive('\n') {
            let (line, newline) = line.split_at(line.trim_end_matches(['\n', '\r']).len());
            let indent = line.len() - line.trim_start_matches([' ', '\t', '-']).len();
            if key.is_some_and(|of| indent > of || line.trim().is_empty()) {
                continue;
            }
            let is_named = self.name.is_match(line);
            let value = self.value_of(line, is_named || was_named);
            (key, was_named) = (value.map(|_| indent), is_named);
            match value {
                Some(at) if !line[at..].trim().is_empty() => {
                    out.extend([line[..at].trim_end(), " ", REDACTED]);
                }
                _ => out.push_str(line),
            }
            out.push_str(newline);
        }
        out
    }

    /// Where the first value of a secret begins.
    fn value_of(&self, line: &str, is_named: bool) -> Option<usize> {
        let behind = self.key.captures(line);
        let behind = behind.and_then(|found| found.name("cookie").or(found.get(0)));
        let beside = self.value.find(line).filter(|_| is_named);
        let all = [behind, beside].into_iter().flatten();
        all.map(|found| found.end()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_in_each_spelling() {
        let keys = Keys::new().unwrap();
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
            ("[\"--password\", \"abc\"]", "[\"--password\", REDACTED"),
            (".dockerconfigjson: eyJh", ".dockerconfigjson: REDACTED"),
            (".dockercfg: eyJh", ".dockercfg: REDACTED"),
            ("\"auth\": \"dXNl\"", "\"auth\": REDACTED"),
            ("basicAuth: dXNl", "basicAuth: REDACTED"),
            ("Cookie: a=b; c=d", "Cookie: REDACTED"),
            ("Set-Cookie: 12=b", "Set-Cookie: REDACTED"),
            ("https://h/x?a=b&sig=c%3D", "https://h/x?a=b&sig= REDACTED"),
            ("MYSQL_PASS=x", "MYSQL_PASS= REDACTED"),
            ("tokens: [x]", "tokens: REDACTED"),
            ("apiKeys: [x]", "apiKeys: REDACTED"),
            ("api key: x", "api key: REDACTED"),
            ("ssl.private.key=x", "ssl.private.key= REDACTED"),
            ("a token of x", "a token of x"),
            ("secretName: web", "secretName: web"),
            ("\"cookie\": 4026", "\"cookie\": 4026"),
            ("{\"cookie\":4026,\"a\":1}", "{\"cookie\":4026,\"a\":1}"),
        ] {
            assert_eq!(keys.redacted(line), expected);
        }
    }
}
