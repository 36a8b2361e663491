//! Spill: when connections leave the endpoints that topology hints prefer.

/// How many of its connections a node keeps where topology hints prefer them: per endpoint, so much
/// of the average.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spill(u16);

/// What an annotation may ask for, in percent.
const BOUNDS: (u16, u16) = (100, 10_000);

impl Spill {
    /// What [`Spill::parse`] takes, for messages.
    pub const FORMS: &str = "a percentage from 100% to 10000%, such as 150%";

    /// From an annotation.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().strip_suffix('%')?.trim_end();
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let percent = digits.parse().ok()?;
        (BOUNDS.0..=BOUNDS.1)
            .contains(&percent)
            .then_some(Self(percent))
    }

    /// Of the average of open connections.
    #[must_use]
    pub fn percent(self) -> u16 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_within_bounds_are_read() {
        for (text, percent) in [("150%", 150), (" 100 % ", 100), ("10000%", 10_000)] {
            assert_eq!(
                Spill::parse(text).map(Spill::percent),
                Some(percent),
                "{text}"
            );
        }
        for bad in [
            "", "%", "150", "1.5", "99%", "+150%", "-150%", "10001%", "150%%", "70000%",
        ] {
            assert_eq!(Spill::parse(bad), None, "{bad}");
        }
    }
}
