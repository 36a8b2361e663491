//! Secrets by their shape, wherever they are.

use regex::{Captures, Error, Regex};

use super::REDACTED;

/// What a secret looks like; its group `secret` is taken out, if it is one.
type Shape = (&'static str, IsSecret);
type IsSecret = fn(&str) -> bool;

const SHAPES: [Shape; 6] = [
    // A JSON web token is three parts of base64, or five of an encrypted one, the first of which
    // begins with `{"`.
    (r"(?<secret>eyJ[-\w]*(?:\.[-\w]*){2,4})", |_| true),
    // A bootstrap token of Kubernetes; an escaped end of a line may be in front of it.
    (
        r"(?:\b|\\[nrt]|\\u[0-9a-f]{4}|%[0-9A-Fa-f]{2})(?<secret>[a-z0-9]{6}\.[a-z0-9]{16})\b",
        has_digit,
    ),
    // What `Authorization` has behind its scheme. Other words may stand there, too.
    (
        r#"(?i)\bbearer(?:%20|[ \t"'\\:=])+(?<secret>[-\w.~+/=]+)"#,
        |word| word != "token",
    ),
    (
        r#"(?i)\b(?:basic|negotiate|ntlm|token)(?:%20|[ \t"'\\])+(?<secret>[-\w.~+/=]{8,})"#,
        |word| {
            // A path is none.
            !word.starts_with('/')
                && (has_digit(word) || word.contains(|c: char| c.is_ascii_uppercase()))
        },
    ),
    // `user:password` of a URL. A password may have what else ends a host, but a port is a number.
    (
        r#"://(?<secret>[^\s"'<>/?#]*|[^\s"'<>/?#:\[]*:[^\s"'<>/?#]*[^\d\s"'<>/?#][^\s"'<>]*)@"#,
        |_| true,
    ),
    // The same of curl.
    (
        r#"(?:^|[\s"'])(?:-u|--user|--proxy-user)["']?[\s,=]+(?<secret>"[^"]*:[^"]*"|'[^']*:[^']*'|[^\s"']+:[^\s"']*)"#,
        |_| true,
    ),
];

/// All of them.
pub(super) struct Shapes(Vec<(Regex, IsSecret)>);

impl Shapes {
    pub(super) fn new() -> Result<Self, Error> {
        let all = SHAPES.into_iter();
        let all = all.map(|(shape, is_secret)| Ok((Regex::new(shape)?, is_secret)));
        all.collect::<Result<_, _>>().map(Self)
    }

    /// The text without secrets.
    pub(super) fn redacted(&self, text: String) -> String {
        self.0.iter().fold(text, |text, (shape, is_secret)| {
            let replaced = shape.replace_all(&text, |found: &Captures<'_>| {
                let whole = &found[0];
                match found.name("secret") {
                    Some(secret) if is_secret(secret.as_str()) => {
                        let begin = found.get(0).map_or(0, |whole| whole.start());
                        let (from, to) = (secret.start() - begin, secret.end() - begin);
                        format!("{}{REDACTED}{}", &whole[..from], &whole[to..])
                    }
                    _ => whole.to_owned(),
                }
            });
            replaced.into_owned()
        })
    }
}

fn has_digit(word: &str) -> bool {
    word.contains(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_shape() {
        let shapes = Shapes::new().unwrap();
        for (line, expected) in [
            (
                "curl -H \"x: Bearer aB3-d.e/f=\" y",
                "curl -H \"x: Bearer REDACTED\" y",
            ),
            ("basic dXNlcjpwYXNz,", "basic REDACTED,"),
            ("Bearer abc", "Bearer REDACTED"),
            ("basic rules, bearers", "basic rules, bearers"),
            (
                "get https://u:p%40ss@host:6443/a@b?c",
                "get https://REDACTED@host:6443/a@b?c",
            ),
            (
                "http://u:p@s@h and ftp://token@h",
                "http://REDACTED@h and ftp://REDACTED@h",
            ),
            ("https://10.0.0.1:6443/x a@b", "https://10.0.0.1:6443/x a@b"),
            ("eyJhbGci.eyJp.c2ln", "REDACTED"),
            ("eyJhbGci.a.b.c.d", "REDACTED"),
            ("(07401b.f395accd246ae52d)", "(REDACTED)"),
            (
                "m\": \"x\\neyJhbGci.eyJpc3Mi.c2ln\"",
                "m\": \"x\\nREDACTED\"",
            ),
            ("Bearer%20eyJhbGci.eyJp.c2ln", "Bearer%20REDACTED"),
            ("jwt-eyJhbGci.a.b", "jwt-REDACTED"),
            ("it is 07401b.f395accd246ae52d.", "it is REDACTED."),
            ("x\\n07401b.f395accd246ae52d y", "x\\nREDACTED y"),
            ("x%2007401b.f395accd246ae52d", "x%20REDACTED"),
            ("kube-07401b.f395accd246ae52d", "kube-REDACTED"),
            (
                "web1707401b.f395accd246ae52d",
                "web1707401b.f395accd246ae52d",
            ),
            ("Bearer  abc", "Bearer  REDACTED"),
            ("Bearer \\\"abc\\\"", "Bearer \\\"REDACTED\\\""),
            ("bearer%20abc", "bearer%20REDACTED"),
            ("Token 9944b09199c62bcf", "Token REDACTED"),
            ("Negotiate YIIabc==, x", "Negotiate REDACTED, x"),
            ("https://u:p/ss@h x", "https://REDACTED@h x"),
            ("https://u:p?s#s@h/x", "https://REDACTED@h/x"),
            (
                "https://h:80/a@b https://[fd00::1]:80/a@b",
                "https://h:80/a@b https://[fd00::1]:80/a@b",
            ),
            ("curl -u u:p https://h", "curl -u REDACTED https://h"),
            ("curl -u \"u:p q\" h", "curl -u REDACTED h"),
            (
                "curl --user=u:p --proxy-user u:p",
                "curl --user=REDACTED --proxy-user REDACTED",
            ),
            ("[\"-u\", \"u:p\"]", "[\"-u\", REDACTED]"),
            ("-u user --user-agent a:b", "-u user --user-agent a:b"),
            ("a token of x", "a token of x"),
            ("docker.internalnetworks", "docker.internalnetworks"),
            ("ünïcode ://", "ünïcode ://"),
        ] {
            assert_eq!(shapes.redacted(line.to_owned()), expected);
        }
    }
}
