//! Numbers and times as people read them. What a template passes is a number, or a reference to one.

use std::{borrow::Borrow, time::Duration};

/// [`whole`], of things.
pub(super) fn count(n: impl Borrow<usize>) -> String {
    whole(*n.borrow() as u64)
}

/// With a comma at each thousand.
pub(super) fn whole(n: impl Borrow<u64>) -> String {
    let digits = n.borrow().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Events a second: with one decimal while they are few.
pub(super) fn rate(n: impl Borrow<f64>) -> String {
    let n = *n.borrow();
    if n <= 0.0 {
        "0".to_owned()
    } else if n < 0.05 {
        "<0.1".to_owned()
    } else if n < 99.95 {
        format!("{n:.1}")
    } else {
        whole(rounded(n))
    }
}

/// Bytes a second, in units of a thousand.
pub(super) fn bytes(n: f64) -> String {
    let (mut n, mut unit) = (n.max(0.0), "B");
    for larger in ["kB", "MB", "GB", "TB"] {
        if n < 999.5 {
            break;
        }
        (n, unit) = (n / 1000.0, larger);
    }
    if unit == "B" || n >= 99.95 {
        format!("{n:.0} {unit}")
    } else {
        format!("{n:.1} {unit}")
    }
}

/// In the two largest units.
pub(super) fn time(passed: Duration) -> String {
    let s = passed.as_secs();
    let (m, h, d) = (s / 60, s / 3600, s / 86_400);
    match (d, h, m) {
        (0, 0, 0) => format!("{s} s"),
        (0, 0, _) => format!("{m} min {} s", s % 60),
        (0, _, _) => format!("{h} h {} min", m % 60),
        _ => format!("{d} d {} h", h % 24),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "of something counted: neither negative nor near 2^64"
)]
fn rounded(n: f64) -> u64 {
    n.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_exact_where_they_are_small() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(whole(n), text);
        }
        for (n, text) in [
            (0.0, "0"),
            (0.01, "<0.1"),
            (0.25, "0.2"),
            (99.94, "99.9"),
            (99.96, "100"),
            (1234.5, "1,235"),
        ] {
            assert_eq!(rate(n), text);
        }
        for (n, text) in [
            (0.0, "0 B"),
            (999.0, "999 B"),
            (1500.0, "1.5 kB"),
            (999_960.0, "1.0 MB"),
            (2.5e11, "250 GB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        for (s, text) in [
            (5, "5 s"),
            (65, "1 min 5 s"),
            (3700, "1 h 1 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(time(Duration::from_secs(s)), text);
        }
    }
}
