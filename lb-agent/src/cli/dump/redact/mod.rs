//! Takes secrets out of a text: tokens, passwords and keys, by the words in front of them and by
//! their shape. What is doubtful goes.

mod keys;
mod shapes;

use keys::Value;

/// In place of a secret.
const REDACTED: &str = "REDACTED";
/// What stands in front of each key of PEM, whatever its kind: `BEGIN EC PRIVATE KEY`.
const BEGIN: &str = "-----BEGIN ";
const PRIVATE_KEY: &str = "PRIVATE KEY";
const END: &str = "-----END ";

/// The text without its secrets.
pub(super) fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_key = false;
    // The key of a value on the next lines, by the columns in front of it.
    let mut block: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        if let Some(from) = private_key(line) {
            // What a line has in front of a key belongs to it in JSON.
            in_key = !line[from..].contains(END);
            out.push_str(REDACTED);
            out.push('\n');
            continue;
        }
        if in_key {
            in_key = !line.contains(END);
            continue;
        }
        let indent = line.len() - line.trim_start_matches([' ', '-']).len();
        if block.is_some_and(|of| indent > of || line.trim().is_empty()) {
            continue;
        }
        let (line, value) = of_line(line);
        block = (value == Value::Follows).then_some(indent);
        out.push_str(&line);
    }
    out
}

/// Where the first private key of a line begins.
fn private_key(line: &str) -> Option<usize> {
    let mut begins = line.match_indices(BEGIN).map(|(at, _)| at + BEGIN.len());
    begins.find(|at| {
        let label = line[*at..].split("-----").next();
        label.is_some_and(|label| label.contains(PRIVATE_KEY))
    })
}

fn of_line(line: &str) -> (String, Value) {
    let (line, newline) = line.split_at(line.trim_end_matches(['\n', '\r']).len());
    let (line, value) = keys::redacted(line);
    (shapes::redacted(&line) + newline, value)
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

    #[test]
    fn keys_of_pem_go_wherever_their_lines_end() {
        for (text, expected) in [
            (
                "{\"a\": \"-----BEGIN EC PRIVATE KEY-----\\nabc\\n-----END EC PRIVATE KEY-----\\n\"}\ny\n",
                "REDACTED\ny\n",
            ),
            (
                "-----BEGIN PGP PRIVATE KEY BLOCK-----\nabc\n-----END PGP PRIVATE KEY BLOCK-----\ny\n",
                "REDACTED\ny\n",
            ),
            (
                "-----END CERTIFICATE----------BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\ny\n",
                "REDACTED\ny\n",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n",
                "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n",
            ),
            ("-----BEGIN PRIVATE KEY-----\nabc\n", "REDACTED\n"),
        ] {
            assert_eq!(redacted(text), expected);
        }
    }

    #[test]
    fn a_value_on_the_next_lines_goes_as_far_as_it_is_indented() {
        for (text, expected) in [
            (
                "users:\n- user:\n    client-key-data: |\n      LS0t\n\n      abc\n    x: y\n",
                "users:\n- user:\n    client-key-data: REDACTED\n    x: y\n",
            ),
            ("token:\n  abc\nx: y\n", "token:\nx: y\n"),
            ("  password: >-\n    abc\n", "  password: REDACTED\n"),
            ("token:\nx: y\n", "token:\nx: y\n"),
        ] {
            assert_eq!(redacted(text), expected);
        }
    }
}
