//! How old a connection may become where its Service says so (`lb-agent.io/max-connection-age`): its
//! client is to connect again, and to be given a backend anew.

use super::{Flow, flags, units, units_of};
use crate::pool::Pool;

/// How old the TCP connections of a pool may become.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct AgeLimit {
    /// In [`units`], never less than the pool says; 0: any age.
    pub max_age: u32,
    /// Since when the limit holds, in units.
    pub since: u32,
}

const SIGN: u32 = 1 << 31;

impl AgeLimit {
    /// Any age.
    pub const NONE: Self = Self {
        max_age: 0,
        since: 0,
    };

    /// Of a pool.
    #[inline(always)]
    #[must_use]
    pub const fn of(pool: &Pool) -> Self {
        Self {
            max_age: units_of(pool.max_age_secs),
            since: pool.aged_since,
        }
    }

    /// Of the last word of a pool's entry: its limit and since when, as they stand in memory on a
    /// little-endian machine.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "takes the word apart")]
    pub const fn from_u64(word: u64) -> Self {
        Self {
            max_age: units_of(word as u32),
            since: (word >> 32) as u32,
        }
    }

    /// Is a connection too old that began then, in units? Each may be up to half as old again, by a
    /// number of its own: those that began together do not end together.
    #[inline(always)]
    #[must_use]
    pub const fn is_over(self, began: u32, number: u32, now_ns: u64) -> bool {
        if self.max_age == 0 {
            return false;
        }
        let now = units(now_ns);
        let (age, holds) = (now.wrapping_sub(began), now.wrapping_sub(self.since));
        let more = ((self.max_age / 2 + 1) as u64 * number as u64) >> 32;
        let most = self.max_age + more as u32;
        // Both are more than that, and neither is a time of another CPU that lies ahead: told by signs,
        // since the verifier reads what follows anew for each comparison.
        most.wrapping_sub(age) & most.wrapping_sub(holds) & !age & !holds & SIGN != 0
    }

    /// Is the TCP connection of this reply entry too old?
    #[inline(always)]
    #[must_use]
    pub const fn is_over_for(self, flow: &Flow, now_ns: u64) -> bool {
        flow.flags & flags::DATED != 0 && self.is_over(flow.proof, flow.generation, now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::testing;

    const LIMIT: AgeLimit = AgeLimit {
        max_age: 100,
        since: 1000,
    };

    const fn at(unit: u64) -> u64 {
        unit << 32
    }

    #[test]
    fn connections_that_began_together_end_one_after_another() {
        for (number, first) in [(0, 1101), (u32::MAX / 2 + 1, 1126), (u32::MAX, 1151)] {
            assert!(!LIMIT.is_over(1000, number, at(first - 1)), "{number}");
            assert!(LIMIT.is_over(1000, number, at(first)), "{number}");
        }
    }

    #[test]
    fn the_limit_looks_forward_from_when_it_was_set() {
        assert!(!LIMIT.is_over(3, 0, at(1100)) && LIMIT.is_over(3, 0, at(1101)));
        assert!(!LIMIT.is_over(1050, 0, at(1150)) && LIMIT.is_over(1050, 0, at(1151)));
        // Written by another CPU, a unit later.
        assert!(!LIMIT.is_over(1201, 0, at(1200)));
        let later = AgeLimit {
            since: 1201,
            ..LIMIT
        };
        assert!(!later.is_over(3, 0, at(1200)));
        assert!(!AgeLimit::NONE.is_over(3, 0, at(1 << 31)));
    }

    #[test]
    fn a_pools_last_word_is_its_limit() {
        let pool = Pool {
            max_age_secs: 100,
            aged_since: 7,
            ..Pool::EMPTY
        };
        let limit = AgeLimit::of(&pool);
        assert_eq!((limit.max_age, limit.since), (units_of(100), 7));
        assert_eq!(AgeLimit::from_u64(7 << 32 | 0x64), limit);
        let end = core::mem::offset_of!(Pool, max_age_secs);
        assert_eq!((end + 8, end % 8), (size_of::<Pool>(), 0));
    }

    #[test]
    fn only_an_entry_that_says_when_it_was_confirmed_has_an_age() {
        let mut flow = testing::reply();
        flow.proof = 1000;
        assert!(!LIMIT.is_over_for(&flow, at(2000)));
        flow.flags |= flags::DATED;
        assert!(LIMIT.is_over_for(&flow, at(2000)));
        assert!(!AgeLimit::NONE.is_over_for(&flow, at(2000)));
    }
}
