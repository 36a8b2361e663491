//! Takes secrets out of a text: tokens, passwords and keys, by the words in front of them and by
//! their shape. What is doubtful goes.

mod encoded;
mod keys;
mod shapes;
#[cfg(test)]
mod tests;

use encoded::Encoded;
use keys::Keys;
use regex::{Error, Regex};
use shapes::Shapes;

/// In place of a secret.
const REDACTED: &str = "REDACTED";
/// A private key in PEM, whatever its kind: `BEGIN EC PRIVATE KEY`. What its lines have in front of it
/// and behind it belongs to it in JSON. One without an end goes as far as the text.
const PEM: &str = r"(?s)[^\n]*-----BEGIN [^\n-]*PRIVATE KEY.*?(?:-----END [^\n]*\n?|\z)";

/// The rules.
pub(super) struct Redactor {
    pem: Regex,
    encoded: Encoded,
    keys: Keys,
    shapes: Shapes,
}

impl Redactor {
    /// All of them; fails for a rule that is no regular expression.
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self {
            pem: Regex::new(PEM)?,
            encoded: Encoded::new()?,
            keys: Keys::new()?,
            shapes: Shapes::new()?,
        })
    }

    /// The text without its secrets.
    pub(super) fn redacted(&self, text: &str) -> String {
        let text = self.pem.replace_all(text, format!("{REDACTED}\n"));
        let text = self.encoded.redacted(&text);
        let text = self.keys.redacted(&text);
        self.shapes.redacted(text)
    }
}
