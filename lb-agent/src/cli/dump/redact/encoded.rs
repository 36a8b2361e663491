//! Private keys of which somebody made base64, as Secrets have them, on one line or on many.

use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine as _};
use regex::{Captures, Error, Regex};

use super::REDACTED;

/// Base64 as far as it goes, over ends of lines, of which some are escaped.
const RUN: &str = r"(?:[A-Za-z0-9+/]|\\+[rn])+=*";
/// In front of each key of PEM, and of each certificate, which is public.
const BEGIN: &str = "-----BEGIN ";
const PUBLIC: &str = "CERTIFICATE";

/// Finds them.
pub(super) struct Encoded {
    runs: Regex,
    ends_of_lines: Regex,
}

impl Encoded {
    pub(super) fn new() -> Result<Self, Error> {
        let around = r#"[ \t"',]*$"#;
        let next = format!(r#"{around}\r?\n[ \t"'-]*{RUN}{around}"#);
        Ok(Self {
            runs: Regex::new(&format!("(?mR){RUN}(?:{next})*"))?,
            ends_of_lines: Regex::new(r"\\+[rn]")?,
        })
    }

    /// The text without runs that have a key.
    pub(super) fn redacted(&self, text: &str) -> String {
        let replaced = self.runs.replace_all(text, |run: &Captures<'_>| {
            let run = &run[0];
            if self.has_key(run) { REDACTED } else { run }.to_owned()
        });
        replaced.into_owned()
    }

    /// What is in front of a key may have any length, so it begins at any of four places.
    fn has_key(&self, run: &str) -> bool {
        let bare = self.ends_of_lines.replace_all(run, "");
        let bare: Vec<u8> = bare.bytes().filter(|b| is_base64(*b)).collect();
        (0..4).any(|from| {
            let whole = bare.get(from..).unwrap_or_default();
            let whole = &whole[..whole.len() / 4 * 4];
            let text = BASE64_STANDARD_NO_PAD.decode(whole).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let mut begins = text.split(BEGIN).skip(1);
            begins.any(|label| !label.starts_with(PUBLIC) && !PUBLIC.starts_with(label))
        })
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    #[test]
    fn keys_of_pem_go_in_base64_on_many_lines_and_behind_anything() {
        let certificate = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0IHNlY3JldCBzZWNyZXQ=\n-----END EC PRIVATE KEY-----\n";
        let encoded = Encoded::new().unwrap();
        let of = |text: &str| BASE64_STANDARD.encode(text);
        for before in ["", "\n", "x\n", certificate] {
            let file = of(&(before.to_owned() + key));
            for width in [7, 64, 76, 1000] {
                let lines: Vec<&str> = file
                    .as_bytes()
                    .chunks(width)
                    .map(|line| std::str::from_utf8(line).unwrap())
                    .collect();
                // From where on the key itself is.
                let secret =
                    &file[of(&(before.to_owned() + "-----BEGIN EC PRIVATE KEY----")).len()..];
                for (begin, end) in [("", "\n"), ("  ", "\r\n"), ("", "\\n"), ("", "\\r\\\\n")] {
                    let text: String = lines.iter().flat_map(|line| [begin, line, end]).collect();
                    let shown = encoded.redacted(&format!("data:\n{text}\n- x: y\n"));
                    let left: String = shown.split(['\\', '\r', '\n', ' ']).collect();
                    assert!(
                        !left.contains(&secret[..4]) && !left.contains(&secret[8..14]),
                        "{shown}"
                    );
                    assert!(shown.starts_with("data:\n") && shown.ends_with("\n- x: y\n"));
                }
            }
        }
        let public = format!("ca: {}\nx\n", of(certificate));
        assert_eq!(encoded.redacted(&public), public);
    }

    #[test]
    fn a_key_in_base64_goes_with_what_is_cut_off() {
        let encoded = Encoded::new().unwrap();
        for (text, expected) in [
            ("key LS0tLS1CRUdJTiBFQyBQUklW+a/b== x", "key REDACTED x"),
            (
                "ca LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0= x",
                "ca LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0= x",
            ),
        ] {
            assert_eq!(encoded.redacted(text), expected);
        }
    }
}
