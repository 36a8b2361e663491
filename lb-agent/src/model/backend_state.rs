//! What a backend gets of a pool's new connections. Owns the names of the states, as outputs and
//! metrics have them, and which of them it is where several facts speak.

use lb_common::backend::state;
use serde::Serialize;

/// What a backend gets. In this order: of one that several pools have, the first of these that it
/// is to any counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendState {
    /// New connections.
    Ready,
    /// What leaves the endpoints that topology hints prefer.
    Spill,
    /// New connections, though it terminates: no ready one is left.
    Terminating,
    /// Nothing new until it answers handshakes again.
    Quarantined,
    /// Nothing new; it keeps what it has.
    Draining,
}

/// May new connections of a pool choose a backend?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Eligibility {
    /// Yes: it has a slot.
    Eligible,
    /// Only those that leave the ones that topology hints prefer.
    Outside,
    /// No: it keeps what it has.
    Draining,
}

impl BackendState {
    /// Of a backend whose entry has this [`Backend::state`](lb_common::backend::Backend::state).
    /// Quarantine beats draining, since it is why nothing chooses the backend; draining beats the
    /// rest.
    #[must_use]
    pub const fn of(entry: u8, eligibility: Eligibility) -> Self {
        match (entry, eligibility) {
            (state::QUARANTINED, _) => Self::Quarantined,
            (state::ACTIVE, Eligibility::Eligible) => Self::Ready,
            (state::ACTIVE, Eligibility::Outside) => Self::Spill,
            (state::TERMINATING, Eligibility::Eligible) => Self::Terminating,
            // Who terminates is never outside for long: hints keep out ready ones alone. And another
            // version's agent may have written numbers of its own.
            _ => Self::Draining,
        }
    }

    /// As `get backends` and metrics call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Spill => "spill",
            Self::Terminating => "terminating",
            Self::Quarantined => "quarantined",
            Self::Draining => "draining",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarantine_beats_draining_beats_the_rest() {
        use BackendState::{Draining, Quarantined, Ready, Spill, Terminating};
        let of = |entry| {
            [
                Eligibility::Eligible,
                Eligibility::Outside,
                Eligibility::Draining,
            ]
            .map(|eligibility| BackendState::of(entry, eligibility))
        };
        assert_eq!(of(state::ACTIVE), [Ready, Spill, Draining]);
        assert_eq!(of(state::TERMINATING), [Terminating, Draining, Draining]);
        assert_eq!(of(state::QUARANTINED), [Quarantined; 3]);
        assert_eq!(of(u8::MAX), [Draining; 3], "of another version");
    }

    #[test]
    fn of_several_pools_the_one_that_gives_most_counts() {
        use BackendState::{Draining, Quarantined, Ready, Spill, Terminating};
        let all = [Ready, Spill, Terminating, Quarantined, Draining];
        assert!(all.is_sorted());
        for state in all {
            let json = serde_json::to_value(state).unwrap();
            assert_eq!(json, state.name());
        }
    }
}
