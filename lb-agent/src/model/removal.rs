//! What becomes of the open connections of a backend that leaves its Service.

use std::{fmt, time::Duration};

use super::duration;

/// How long a backend that has left may be back before it counts as gone: an endpoint that moves
/// from one slice to another is away between two events.
pub(crate) const BLINK: Duration = Duration::from_secs(1);

/// The removal policy: of TCP and SCTP. A UDP client cannot see its backend go, so UDP follows the
/// Service at once, whatever the policy says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Removal {
    /// They go on as long as both sides want: kube-proxy's rule.
    #[default]
    Keep,
    /// They may go on for so long, then both sides are reset.
    ResetAfter(Duration),
    /// Both sides are reset.
    Reset,
}

impl Removal {
    /// What [`Removal::parse`] takes, for messages.
    pub const FORMS: &str = "keep, reset-after=DURATION (such as reset-after=30s), reset";

    /// From an annotation or a flag.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "keep" => Some(Self::Keep),
            "reset" => Some(Self::Reset),
            other => {
                let nanos = duration::parse(other.strip_prefix("reset-after=")?)?;
                (nanos >= 0).then(|| Self::ResetAfter(duration::std(nanos)))
            }
        }
    }

    /// How long the connections of a backend that left may go on; `None`: for ever.
    #[must_use]
    pub fn grace(self) -> Option<Duration> {
        match self {
            Self::Keep => None,
            Self::ResetAfter(after) => Some(after.max(BLINK)),
            Self::Reset => Some(BLINK),
        }
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("keep"),
            Self::ResetAfter(after) => write!(f, "reset-after={after:?}"),
            Self::Reset => f.write_str("reset"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_and_shown() {
        let half_a_minute = Removal::ResetAfter(Duration::from_secs(30));
        for (text, policy) in [
            ("keep", Removal::Keep),
            (" reset ", Removal::Reset),
            ("reset-after=30s", half_a_minute),
        ] {
            assert_eq!(Removal::parse(text), Some(policy), "{text}");
            assert_eq!(Removal::parse(&policy.to_string()), Some(policy));
        }
        for bad in [
            "",
            "Reset",
            "reset-after",
            "reset-after=",
            "reset-after=-1s",
            "30s",
        ] {
            assert_eq!(Removal::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_endpoint_that_moves_between_slices_is_not_gone() {
        assert_eq!(Removal::Keep.grace(), None);
        assert_eq!(Removal::Reset.grace(), Some(BLINK));
        assert_eq!(Removal::ResetAfter(Duration::ZERO).grace(), Some(BLINK));
    }
}
