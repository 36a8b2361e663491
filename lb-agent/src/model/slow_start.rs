//! Slow start: the share of an endpoint that is new to its Service grows step by step.

use std::time::Duration;

use super::duration;

/// How long the share of a new endpoint grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlowStart(Duration);

/// A new endpoint has one part of so many of its weight at first, then two, and all in the end.
pub const PARTS: u8 = 10;
/// What an annotation may ask for.
const BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));

impl SlowStart {
    /// What [`SlowStart::parse`] takes, for messages.
    pub const FORMS: &str = "a duration from 1s to 1h, such as 30s";

    /// From an annotation.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let took = duration::parse(text.trim()).filter(|nanos| *nanos >= 0)?;
        let took = duration::std(took);
        (BOUNDS.0..=BOUNDS.1).contains(&took).then_some(Self(took))
    }

    /// The time between two steps.
    #[must_use]
    pub fn step(self) -> Duration {
        self.0 / u32::from(PARTS - 1)
    }

    /// The parts of its weight that an endpoint has at this age, and the age at which it has more;
    /// `None` when it has all of them.
    #[must_use]
    pub fn at(self, age: Duration) -> Option<(u8, Duration)> {
        (1..PARTS)
            .map(|parts| (parts, self.0 * u32::from(parts) / u32::from(PARTS - 1)))
            .find(|(_, until)| age < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_within_bounds_are_read() {
        for text in ["1s", " 30s ", "1h", "1m30s"] {
            assert!(SlowStart::parse(text).is_some(), "{text}");
        }
        for bad in ["", "on", "30", "0", "999ms", "-30s", "1h1s"] {
            assert_eq!(SlowStart::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_share_grows_in_ten_steps() {
        let slow = SlowStart::parse("18s").unwrap();
        let seconds = Duration::from_secs;
        let mut age = Duration::ZERO;
        let mut steps = Vec::new();
        while let Some((parts, until)) = slow.at(age) {
            steps.push((parts, until.as_secs()));
            assert!(until > age);
            age = until;
        }
        let expected: Vec<(u8, u64)> = (1..10).map(|n| (n, u64::from(n) * 2)).collect();
        assert_eq!(steps, expected);
        assert_eq!((age, slow.at(age)), (seconds(18), None));
    }
}
