//! When new connections leave the endpoints that topology hints prefer: the layout of what stands
//! behind a pool's slots for it, and the bound. Pure: the kernel and the tests run the same code.
//!
//! Behind the slots (and the weights, if there are any) of a pool with
//! [`SPILLS`](crate::pool::flags::SPILLS) stand two words of an [`Area`], then a slot for each
//! preferred backend, then a slot for each other one.

use crate::{
    select::{hash, scale},
    slot::Slot,
};

/// What stands behind the slots.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct Area {
    /// What the preferred backends may have of all open connections, in 1/65536; 0: all of them.
    pub share: u16,
    /// How many preferred backends there are.
    pub inside: u16,
    /// How many others.
    pub outside: u16,
}

impl Area {
    /// Words before the slots.
    pub const WORDS: u32 = 2;

    /// Those words, for the pool of this index and the generation of its word 0.
    #[must_use]
    pub const fn words(self, pool: u32, generation: u16) -> [Slot; 2] {
        let pool = pool | Slot::AREA;
        [
            Slot {
                backend: self.share as u32 | (self.inside as u32) << 16,
                pool,
            },
            Slot {
                backend: self.outside as u32 | (generation as u32) << 16,
                pool,
            },
        ]
    }

    /// What those words say, if they are the pool's, and of this generation: words that an earlier
    /// one has left in the map are not.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "takes the words apart")]
    pub const fn of(pool: u32, generation: u16, words: [Slot; 2]) -> Option<Self> {
        let mark = pool | Slot::AREA;
        if words[0].pool != mark || words[1].pool != mark {
            return None;
        }
        if (words[1].backend >> 16) as u16 != generation {
            return None;
        }
        Some(Self {
            share: words[0].backend as u16,
            inside: (words[0].backend >> 16) as u16,
            outside: words[1].backend as u16,
        })
    }

    /// All of its words.
    #[must_use]
    pub const fn size(self) -> u32 {
        Self::WORDS + self.inside as u32 + self.outside as u32
    }

    /// Does the next connection leave? `inside` and `outside` are the open connections of the
    /// preferred backends and of the others.
    #[inline(always)]
    #[must_use]
    pub const fn is_full(self, inside: u64, outside: u64) -> bool {
        let all = inside + outside + 1;
        self.share != 0 && all * self.share as u64 <= inside << 16
    }

    /// Which other backend a client with this hash goes to; `None` if it stays. For clients that stay
    /// where they are without a record: by their hashes alone, in the shares that counts would have.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    pub const fn of_client(self, hash: u32) -> Option<u16> {
        if self.share == 0 || (hash as u16) < self.share {
            None
        } else {
            Some(scale(hash, self.outside))
        }
    }
}

/// The share of `percent` of the average, for backends that weigh `inside` of `all`; `None` if it is
/// all that there is, so that nothing ever leaves.
#[must_use]
pub fn share(percent: u16, inside: u64, all: u64) -> Option<u16> {
    let share = (u64::from(percent) * inside * 65_536).checked_div(100 * all)?;
    u16::try_from(share.max(1)).ok()
}

/// Of so many backends at most each is looked at.
pub const LOOKS: u32 = 64;

/// How many looks it takes to count the connections of so many backends.
#[inline(always)]
#[must_use]
pub const fn looks(backends: u16) -> u32 {
    if backends as u32 <= LOOKS {
        backends as u32
    } else {
        LOOKS
    }
}

/// The backend of this look, less than `backends` unless that is 0: each one, from a random one on,
/// or some at even distances.
#[inline(always)]
#[must_use]
pub const fn place(backends: u16, look: u32, random: u32) -> u32 {
    let first = scale(hash([random]), backends) as u32;
    let backends = backends as u32;
    if backends <= LOOKS {
        let place = look + first;
        return if place < backends {
            place
        } else {
            place - backends
        };
    }
    let place = (look * backends + random % backends) / LOOKS;
    if place < backends { place } else { 0 }
}

/// The connections of so many backends, by what the looks have found.
#[inline(always)]
#[must_use]
pub const fn estimate(backends: u16, found: u64) -> u64 {
    if backends as u32 <= LOOKS {
        found
    } else {
        found * backends as u64 / LOOKS as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_are_read_back(share in 1u16.., inside: u16, outside: u16, pool in 1u32..1 << 20) {
            let area = Area { share, inside, outside };
            prop_assert_eq!(Area::of(pool, 7, area.words(pool, 7)), Some(area));
            prop_assert_eq!(Area::of(pool + 1, 7, area.words(pool, 7)), None);
            prop_assert_eq!(Area::of(pool, 8, area.words(pool, 7)), None);
        }

        #[test]
        fn every_look_is_at_a_backend_and_none_is_at_one_twice(backends in 1u16.., random: u32) {
            let places: Vec<u32> = (0..looks(backends)).map(|look| place(backends, look, random)).collect();
            prop_assert!(places.iter().all(|at| *at < u32::from(backends)));
            let once: std::collections::BTreeSet<u32> = places.iter().copied().collect();
            prop_assert_eq!(once.len(), places.len());
        }

        /// Whatever comes, the preferred backends have no more than the next whole number above
        /// their share, and what leaves leaves only then.
        #[test]
        fn the_preferred_ones_have_their_share_and_no_more(
            percent in 100u16..1000,
            inside in 1u64..50,
            others in 1u64..50,
            connections in 1u64..500,
        ) {
            let all = inside + others;
            let Some(share) = share(percent, inside, all) else {
                prop_assert!(u64::from(percent) * inside >= 100 * all);
                return Ok(());
            };
            let area = Area { share, inside: 1, outside: 1 };
            let (mut here, mut there) = (0_u64, 0_u64);
            for _ in 0..connections {
                if area.is_full(here, there) { there += 1 } else { here += 1 }
            }
            let bound = (connections * u64::from(percent) * inside).div_ceil(100 * all);
            prop_assert!(here <= bound && here + 2 >= bound.min(connections), "{} of {}, bound {}", here, connections, bound);
        }
    }

    #[test]
    fn clients_by_their_hashes_have_the_same_shares() {
        let area = Area {
            share: share(150, 1, 4).unwrap(),
            inside: 1,
            outside: 3,
        };
        let mut seen = [0_u32; 4];
        for n in 0..40_000 {
            let at = area
                .of_client(hash([n]))
                .map_or(0, |at| 1 + usize::from(at));
            seen[at] += 1;
        }
        assert!(seen[0].abs_diff(15_000) < 500, "{seen:?}");
        assert!(
            seen[1..].iter().all(|n| n.abs_diff(8_333) < 400),
            "{seen:?}"
        );
        assert_eq!(Area { share: 0, ..area }.of_client(u32::MAX), None);
        assert!(!Area { share: 0, ..area }.is_full(1000, 0));
    }

    #[test]
    fn samples_stand_for_all() {
        assert_eq!(estimate(64, 640), 640);
        assert_eq!(estimate(128, 640), 1280);
        assert_eq!(looks(1000), 64);
    }

    #[test]
    fn the_first_connection_stays() {
        let area = Area {
            share: share(150, 1, 4).unwrap(),
            inside: 1,
            outside: 3,
        };
        assert!(!area.is_full(0, 0));
        assert!(area.is_full(1, 0));
        assert!(!area.is_full(1, 2));
        assert_eq!(share(300, 1, 3), None);
        assert_eq!(share(150, 0, 0), None);
    }
}
