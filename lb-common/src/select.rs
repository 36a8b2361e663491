//! The choice of a slot, as pure functions: the same code runs in the kernel and in the tests.

use crate::scheduler::{Need, Scheduler};

/// What the scheduler of this number looks at. A number that is not in the list of [`Scheduler`] is
/// treated as [`Scheduler::Random`]. Written out, and held to the list by a test: the verifier
/// follows each branch, and a match over all rows costs it a tenth more.
#[inline(always)]
#[must_use]
pub const fn needs(scheduler: u8) -> Need {
    const ROUND_ROBIN: u8 = Scheduler::RoundRobin.number();
    const WEIGHTED_ROUND_ROBIN: u8 = Scheduler::WeightedRoundRobin.number();
    const LEAST: u8 = Scheduler::LeastConnections.number();
    const WEIGHTED_LEAST: u8 = Scheduler::WeightedLeastConnections.number();
    const TWO_CHOICES: u8 = Scheduler::TwoChoices.number();
    const SOURCE_HASH: u8 = Scheduler::SourceHash.number();
    match scheduler {
        ROUND_ROBIN | WEIGHTED_ROUND_ROBIN => Need::Cursor,
        SOURCE_HASH => Need::SourceHash,
        LEAST | WEIGHTED_LEAST | TWO_CHOICES => Need::Load,
        _ => Need::Random,
    }
}

/// The slot's offset from the pool's base: less than `count` for every number, 0 when `count` is 0.
/// The number is what the scheduler [`needs`]. Of a scheduler that needs loads it is the answer of
/// one that knows none: see [`least`](crate::least).
#[inline(always)]
#[must_use]
pub const fn offset(scheduler: u8, count: u16, number: u32) -> u16 {
    match needs(scheduler) {
        Need::Random | Need::Load | Need::SourceHash => scale(number, count),
        Need::Cursor => {
            if count == 0 {
                0
            } else {
                #[expect(clippy::cast_possible_truncation, reason = "less than count")]
                {
                    (number % count as u32) as u16
                }
            }
        }
    }
}

/// Maps a 32-bit number evenly onto `0..count`: the bias is at most `count`/2³².
#[inline(always)]
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the product's upper half is less than count"
)]
pub const fn scale(n: u32, count: u16) -> u16 {
    ((n as u64 * count as u64) >> 32) as u16
}

/// A 32-bit hash of words, by multiply and rotate with a final avalanche: for what nobody gains by
/// predicting. What places packets is keyed ([`crate::hash`]).
#[inline(always)]
#[must_use]
pub const fn hash<const N: usize>(words: [u32; N]) -> u32 {
    let mut h: u32 = 0x9e37_79b9;
    let mut i = 0;
    while i < N {
        let mut k = words[i].wrapping_mul(0xcc9e_2d51);
        k = k.rotate_left(15).wrapping_mul(0x1b87_3593);
        h = (h ^ k)
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
        i += 1;
    }
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn offset_is_always_a_slot_of_the_pool(s in 0u8..8, count in 1u16.., number: u32) {
            prop_assert!(offset(s, count, number) < count);
        }

        #[test]
        fn an_empty_pool_has_offset_zero(s in 0u8..8, number: u32) {
            prop_assert_eq!(offset(s, 0, number), 0);
        }
    }

    #[test]
    fn an_unknown_number_chooses_at_random() {
        assert_eq!(needs(200), Need::Random);
        for scheduler in Scheduler::ALL {
            assert_eq!(needs(scheduler.number()), scheduler.needs());
        }
    }

    #[test]
    fn round_robin_visits_all_in_turn() {
        let seen: Vec<u16> = (7..13)
            .map(|cursor| offset(Scheduler::RoundRobin.number(), 3, cursor))
            .collect();
        assert_eq!(seen, [1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn hashes_spread_evenly_over_the_slots() {
        for count in [2u16, 3, 7, 10, 100] {
            let n = 100_000u32;
            let mut bins = vec![0f64; count.into()];
            for i in 0..n {
                bins[usize::from(scale(hash([i, 0x0a00_0001, 443]), count))] += 1.0;
            }
            let expect = f64::from(n) / f64::from(count);
            let chi: f64 = bins.iter().map(|b| (b - expect).powi(2) / expect).sum();
            // Mean count-1, deviation sqrt(2(count-1)): five deviations.
            let dof = f64::from(count - 1);
            assert!(chi < dof + 5.0 * (2.0 * dof).sqrt(), "{count}: chi² {chi}");
        }
    }
}
