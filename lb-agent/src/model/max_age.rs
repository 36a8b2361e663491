//! How old TCP connections may become before their clients are to connect again.

use std::ops::RangeInclusive;

use super::duration;

/// The greatest age of a connection, in whole seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MaxAge(u32);

/// What an annotation may ask for, in seconds.
const BOUNDS: RangeInclusive<u32> = 10..=7 * 24 * 3600;

impl MaxAge {
    /// What [`MaxAge::parse`] takes, for messages.
    pub const FORMS: &str = "a duration from 10s to 168h, such as 30m";

    /// From an annotation. A part of a second counts as a whole one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let nanos = duration::parse(text.trim()).filter(|nanos| *nanos >= 0)?;
        let age = duration::std(nanos);
        let more = u64::from(age.subsec_nanos() > 0);
        let seconds = u32::try_from(age.as_secs() + more).ok()?;
        BOUNDS.contains(&seconds).then_some(Self(seconds))
    }

    /// In seconds.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_within_bounds_are_read() {
        for (text, seconds) in [
            ("10s", 10),
            (" 30m ", 1800),
            ("1h30m", 5400),
            ("10.5s", 11),
            ("168h", 604_800),
        ] {
            assert_eq!(MaxAge::parse(text).map(MaxAge::seconds), Some(seconds));
        }
        for bad in ["", "on", "30", "0", "9s", "-30m", "168h1s", "9000000h"] {
            assert_eq!(MaxAge::parse(bad), None, "{bad}");
        }
    }
}
