//! Durations as Kubernetes writes them: `1h30m`, `500ms`, `0`.

use std::time::Duration;

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Nanoseconds. Numbers with a unit each, added up, with a sign in front of all; a lone `0` needs
/// no unit.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let at = rest.find(|c| !is_number(c))?;
        let (number, behind) = rest.split_at(at);
        let end = behind.find(is_number).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, *scale)?)?;
        rest = behind;
    }
    Some(sign * total)
}

/// What is finer than a nanosecond is cut off.
fn scaled(number: &str, scale: i64) -> Option<i64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() || part.contains('.') {
        return None;
    }
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut total = whole.checked_mul(scale)?;
    let mut digit_scale = scale;
    for digit in part.bytes() {
        digit_scale /= 10;
        total = total.checked_add(i64::from(digit - b'0') * digit_scale)?;
    }
    Some(total)
}

/// For those that are not negative.
pub(crate) fn std(nanos: i64) -> Duration {
    Duration::from_nanos(nanos.unsigned_abs())
}

/// For people.
pub(crate) fn show(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    format!("{sign}{:?}", std(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_kubernetes_writes_them() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("30s", 30_000_000_000),
            ("15m0s", 900_000_000_000),
            ("1h1.5m", 3_690_000_000_000),
            ("-1s", -1_000_000_000),
            ("+.5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("100ms", 100_000_000),
            ("1us2µs3μs4ns", 6_004),
        ] {
            assert_eq!(parse(text), Some(nanos), "{text}");
        }
        for bad in [
            "", "1", "s", "1x", "1 s", "1s ", ".s", "1..5s", "--1s", "3000000h", "30S",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(show(-1_500_000_000), "-1.5s");
    }
}
