//! How many connections a backend has, as IPVS counts them: open ones weigh 256 times as much as
//! those that are opening or over. Layout of `lb_flow_counts`.

use crate::flow::State;

/// A word of `lb_flow_counts`: the flows of a backend, open ones in the lower half, the others in
/// the upper one. Programs and the agent only ever add to the word ([`FlowCounts::moved`]), so a
/// count may fall below zero for a while: then the upper half lends to the lower one, and
/// [`FlowCounts::from_word`] gives it back.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct FlowCounts {
    /// Flows that are open.
    pub active: i32,
    /// Flows that are not open yet, or over.
    pub inactive: i32,
}

impl FlowCounts {
    /// What a word says.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "takes the word apart")]
    pub const fn from_word(word: u64) -> Self {
        let active = (word as u32).cast_signed();
        let rest = word.wrapping_sub((active as i64).cast_unsigned());
        Self {
            active,
            inactive: ((rest >> 32) as u32).cast_signed(),
        }
    }

    /// What is to be added to a word to add these counts, which may be negative.
    #[inline(always)]
    #[must_use]
    pub const fn to_word(self) -> u64 {
        let upper = (self.inactive.cast_unsigned() as u64) << 32;
        upper.wrapping_add((self.active as i64).cast_unsigned())
    }

    /// One flow in this state. As in IPVS, TCP and SCTP are active while they are established, and
    /// every flow of UDP is.
    #[inline(always)]
    #[must_use]
    pub const fn one(state: State) -> Self {
        match state {
            State::Established | State::Unanswered | State::Answered | State::Stream => Self {
                active: 1,
                inactive: 0,
            },
            _ => Self {
                active: 0,
                inactive: 1,
            },
        }
    }

    /// What is to be added to the word of a backend when one of its flows changes its state; 0 if
    /// it counts as before.
    #[inline(always)]
    #[must_use]
    pub const fn moved(before: State, now: State) -> u64 {
        let (before, now) = (Self::one(before).to_word(), Self::one(now).to_word());
        now.wrapping_sub(before)
    }
}

/// The load of a backend with so many open connections of sockets and these flows (`lb_active` and
/// the word of `lb_flow_counts`): IPVS's `ip_vs_dest_conn_overhead`, active * 256 + inactive.
#[inline(always)]
#[must_use]
pub const fn load(sockets: u64, flows: u64) -> u64 {
    let inactive = positive(FlowCounts::from_word(flows).inactive);
    (open(sockets, flows) << 8) + inactive
}

/// How many open connections that backend has.
#[inline(always)]
#[must_use]
pub const fn open(sockets: u64, flows: u64) -> u64 {
    let sockets = if sockets >> 32 == 0 { sockets } else { 0 };
    sockets + positive(FlowCounts::from_word(flows).active)
}

/// A count that is below zero for a while is none.
#[inline(always)]
const fn positive(count: i32) -> u64 {
    if count < 0 {
        0
    } else {
        count.cast_unsigned() as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_sum_of_changes_is_read_back(changes in prop::collection::vec((-3i32..4, -3i32..4), 0..60)) {
            let (mut word, mut sum) = (0_u64, FlowCounts::default());
            for (active, inactive) in changes {
                word = word.wrapping_add(FlowCounts { active, inactive }.to_word());
                sum = FlowCounts { active: sum.active + active, inactive: sum.inactive + inactive };
                prop_assert_eq!(FlowCounts::from_word(word), sum);
            }
        }
    }

    #[test]
    fn a_flow_counts_once_in_each_state() {
        let mut word = FlowCounts::one(State::SynSent).to_word();
        for (from, to, active) in [
            (State::SynSent, State::SynReceived, 0),
            (State::SynReceived, State::Established, 1),
            (State::Established, State::FinWait, 0),
            (State::FinWait, State::TimeWait, 0),
        ] {
            word = word.wrapping_add(FlowCounts::moved(from, to));
            let counts = FlowCounts::from_word(word);
            assert_eq!((counts.active, counts.inactive), (active, 1 - active));
        }
        assert_eq!(FlowCounts::one(State::Unanswered).active, 1);
    }

    #[test]
    fn an_open_connection_weighs_256_others() {
        let flows = FlowCounts {
            active: 2,
            inactive: 7,
        };
        assert_eq!(load(3, flows.to_word()), 5 * 256 + 7);
        assert_eq!(open(3, flows.to_word()), 5);
        let below = FlowCounts {
            active: -1,
            inactive: -5,
        };
        assert_eq!(load(3, below.to_word()), 3 * 256);
        assert_eq!(load(u64::MAX, 0), 0, "one below zero");
    }
}
