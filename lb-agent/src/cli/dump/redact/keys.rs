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
    /// A flag at the end of its line: its value is the next one.
    flag: Regex,
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
            flag: Regex::new(&format!(r#"(?i)(?:^|[\s"'])-[-\w]*(?:{word})["']?,?\s*$"#))?,
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
        let (mut was_named, mut was_flag) = (false, false);
        for line in text.split_inclusive('\n') {
            let (line, newline) = line.split_at(line.trim_end_matches(['\n', '\r']).len());
            let indent = line.len() - line.trim_start_matches([' ', '\t', '-']).len();
            if key.is_some_and(|of| indent > of || line.trim().is_empty()) {
                continue;
            }
            if was_flag && !is_flag(line) {
                was_flag = line.trim().is_empty();
                if !was_flag {
                    out.extend([&line[..indent], REDACTED]);
                }
                out.push_str(newline);
                continue;
            }
            was_flag = self.flag.is_match(line);
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
        let keys = self.key.captures_iter(line);
        let mut keys = keys.filter_map(|found| found.name("cookie").or(found.get(0)));
        let behind = keys.find(|found| !is_of_path(&line[..found.end()]));
        let beside = self.value.find(line).filter(|_| is_named);
        let all = [behind, beside].into_iter().flatten();
        all.map(|found| found.end()).min()
    }
}

/// Is it an argument with a dash, perhaps an item of a list?
fn is_flag(line: &str) -> bool {
    let line = line.trim_start();
    let line = line.strip_prefix("- ").unwrap_or(line);
    line.trim_start_matches([' ', '"', '\'']).starts_with('-')
}

/// Is a key that ends here, before a colon, the end of a path or of an object's name? `shop/auth:http`,
/// `/run/secrets/token: Permission denied`.
fn is_of_path(line: &str) -> bool {
    let Some(key) = line.strip_suffix(':') else {
        return false;
    };
    let key = key.trim_end_matches(['"', '\'', '\\', ' ']);
    let is_name = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    key.trim_end_matches(is_name).ends_with('/')
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
