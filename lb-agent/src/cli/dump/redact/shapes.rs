//! Secrets by their shape, wherever they are.

use super::REDACTED;

/// Base64 of `-----BEGIN `, which a whole file in PEM begins with; and how it goes on for a
/// certificate, which is public.
const PEM: &str = "LS0tLS1CRUdJTi";
const CERTIFICATE: &str = "BDRVJUSUZJQ0FUR";
/// Schemes of `Authorization`, in lower case.
const BEARER: &str = "bearer ";
const BASIC: &str = "basic ";

/// The line without its secrets.
pub(super) fn redacted(line: &str) -> String {
    let line = without(line, |rest| {
        let is_key = rest.starts_with(PEM) && !rest[PEM.len()..].starts_with(CERTIFICATE);
        is_key.then(|| {
            (
                0,
                len_of(rest, |c| c.is_ascii_alphanumeric() || "+/=".contains(c)),
            )
        })
    });
    let line = without(&line, user_of_url);
    let line = without(&line, behind_scheme);
    let words = line.split_inclusive(|c: char| !is_of_token(c));
    words.map(of_word).collect()
}

/// Takes out what is found at any place: from where and to where, from the place on.
fn without(line: &str, secret: impl Fn(&str) -> Option<(usize, usize)>) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        let (kept, len) = match secret(rest) {
            Some((from, to)) => {
                out.push_str(&rest[..from]);
                (REDACTED, to)
            }
            None => (&rest[..next.len_utf8()], next.len_utf8()),
        };
        out.push_str(kept);
        rest = &rest[len..];
    }
    out
}

fn len_of(text: &str, is_part: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is_part(c)).unwrap_or(text.len())
}

/// `user:password` of `scheme://user:password@host`.
fn user_of_url(rest: &str) -> Option<(usize, usize)> {
    let from = "://".len();
    let authority = rest.strip_prefix("://")?;
    let ends = |c: char| c.is_whitespace() || "/?#\"'<>".contains(c);
    let authority = &authority[..len_of(authority, |c| !ends(c))];
    authority.rfind('@').map(|at| (from, from + at))
}

/// A credential behind its scheme. Words stand behind `basic` too, and they are in lower case.
fn behind_scheme(rest: &str) -> Option<(usize, usize)> {
    let is_at = |scheme: &&str| {
        let begin = rest.get(..scheme.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    };
    let from = [BEARER, BASIC].iter().find(|scheme| is_at(scheme))?.len();
    let word = &rest[from..];
    let len = len_of(word, |c| c.is_ascii_alphanumeric() || "-._~+/=".contains(c));
    let is_secret = is_at(&BEARER) || word[..len].contains(|c: char| !c.is_ascii_lowercase());
    (len > 0 && is_secret).then_some((from, from + len))
}

fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

/// A JSON web token is three parts of base64, or five of an encrypted one, the first of which begins
/// with `{"`; a bootstrap token of Kubernetes is 6 and 16 letters and digits.
fn of_word(word: &str) -> String {
    let token = word.trim_end_matches(|c| !is_of_token(c));
    let is_web_token = token.starts_with("eyJ") && token.matches('.').count() >= 2;
    let is_bootstrap_token = token.split_once('.').is_some_and(|(id, secret)| {
        let mut all = id.chars().chain(secret.chars());
        id.len() == 6
            && secret.len() == 16
            && all.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
            && secret.contains(|c: char| c.is_ascii_digit())
    });
    if is_web_token || is_bootstrap_token {
        return format!("{REDACTED}{}", &word[token.len()..]);
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_shape() {
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
            ("key LS0tLS1CRUdJTiBFQyBQUklW+a/b== x", "key REDACTED x"),
            (
                "ca LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0= x",
                "ca LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0= x",
            ),
            ("eyJhbGci.eyJp.c2ln", "REDACTED"),
            ("eyJhbGci.a.b.c.d", "REDACTED"),
            ("(07401b.f395accd246ae52d)", "(REDACTED)"),
            ("docker.internalnetworks", "docker.internalnetworks"),
            ("ünïcode ://", "ünïcode ://"),
        ] {
            assert_eq!(redacted(line), expected);
        }
    }
}
