//! Which ranges of `lb_slots` are free, used, or wait for a barrier: best fit, coalescing.

use std::collections::{BTreeMap, BTreeSet};

/// A run of slots that belongs to one pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Range {
    /// First slot.
    pub(crate) base: u32,
    /// Slots; at least as many as are used (see [`class`]).
    pub(crate) len: u32,
}

/// The allocator.
pub(super) struct SlotRanges {
    limit: u32,
    /// First slot → length; no two touch each other.
    free: BTreeMap<u32, u32>,
    /// The same by (length, first slot).
    by_len: BTreeSet<(u32, u32)>,
    retired: Vec<Range>,
}

/// The length given out for `count` slots: four steps a doubling, so that a service that grows and
/// shrinks a little finds the holes that it left, and a hole is at most a quarter too large.
pub(super) fn class(count: u32) -> u32 {
    if count <= 4 {
        return count.next_power_of_two();
    }
    let step = 1 << (count.ilog2() - 2);
    count.next_multiple_of(step)
}

impl SlotRanges {
    /// All slots free but the given ranges, which must not overlap.
    pub(super) fn new(limit: u32, used: &BTreeSet<Range>) -> Self {
        let mut ranges = Self {
            limit,
            free: BTreeMap::new(),
            by_len: BTreeSet::new(),
            retired: Vec::new(),
        };
        let mut at = 0;
        for range in used {
            ranges.add_free(at, range.base.saturating_sub(at));
            at = range.base + range.len;
        }
        ranges.add_free(at, limit.saturating_sub(at));
        ranges
    }

    /// A range with room for `count` slots (not 0); `None` when no hole is large enough.
    pub(super) fn take(&mut self, count: u32) -> Option<Range> {
        // Near the end of the room an exact fit is better than none.
        [class(count), count].into_iter().find_map(|len| {
            let &(found, base) = self.by_len.range((len, 0)..).next()?;
            self.remove_free(base, found);
            self.add_free(base + len, found - len);
            Some(Range { base, len })
        })
    }

    /// Gives back a range that no reader has ever been led to.
    pub(super) fn give(&mut self, range: Range) {
        let Range { mut base, mut len } = range;
        if let Some((&before, &before_len)) = self.free.range(..base).next_back()
            && before + before_len == base
        {
            self.remove_free(before, before_len);
            base = before;
            len += before_len;
        }
        if let Some(&after_len) = self.free.get(&(base + len)) {
            self.remove_free(base + len, after_len);
            len += after_len;
        }
        self.add_free(base, len);
    }

    /// Nothing leads to it any more; readers may still be in it until the next barrier.
    pub(super) fn retire(&mut self, range: Range) {
        self.retired.push(range);
    }

    /// A barrier has passed: every retired range is free.
    pub(super) fn release(&mut self) {
        for range in std::mem::take(&mut self.retired) {
            self.give(range);
        }
    }

    /// SlotRanges wait for a barrier.
    pub(super) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Slots that are not free.
    pub(super) fn used(&self) -> u32 {
        self.limit - self.free.values().sum::<u32>()
    }

    fn add_free(&mut self, base: u32, len: u32) {
        if len > 0 {
            self.free.insert(base, len);
            self.by_len.insert((len, base));
        }
    }

    fn remove_free(&mut self, base: u32, len: u32) {
        self.free.remove(&base);
        self.by_len.remove(&(len, base));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn classes_waste_at_most_a_quarter() {
        for count in 1..70_000 {
            let len = class(count);
            assert!(len >= count && class(len) == len, "{count}: {len}");
            assert!(count < 4 || len * 4 <= count * 5, "{count}: {len}");
        }
    }

    #[test]
    fn neighbours_grow_together() {
        let mut r = SlotRanges::new(16, &BTreeSet::new());
        let [a, b, c] = [4, 4, 8].map(|n| r.take(n).unwrap());
        assert_eq!(r.take(1), None);
        r.give(a);
        r.give(c);
        r.give(b);
        assert_eq!(r.take(16), Some(Range { base: 0, len: 16 }));
    }

    #[test]
    fn the_last_room_is_given_out_exactly() {
        let mut r = SlotRanges::new(9, &BTreeSet::new());
        assert_eq!(r.take(9), Some(Range { base: 0, len: 9 }));
    }

    #[test]
    fn retired_ranges_wait() {
        let used = BTreeSet::from([Range { base: 0, len: 8 }]);
        let mut r = SlotRanges::new(8, &used);
        r.retire(Range { base: 0, len: 8 });
        assert!(r.take(1).is_none() && r.has_retired() && r.used() == 8);
        r.release();
        assert!(r.take(8).is_some());
    }

    proptest! {
        /// Services of all sizes that change at random, filling up to half of the room (as much as
        /// one switch needs): no request fails, nothing overlaps, nothing is lost.
        #[test]
        fn no_death_by_fragmentation(steps in prop::collection::vec((0usize..40, 1u32..1500), 1..600)) {
            const LIMIT: u32 = 40 * 1024;
            let mut r = SlotRanges::new(LIMIT, &BTreeSet::new());
            let mut live: BTreeMap<usize, Range> = BTreeMap::new();
            for (who, count) in steps {
                let total: u32 = live.values().map(|x| x.len).sum();
                if total + class(count) > LIMIT / 2 {
                    if let Some(old) = live.remove(&who) { r.give(old); }
                    continue;
                }
                let new = r.take(count);
                prop_assert!(new.is_some(), "no room for {} with {} of {} used", count, r.used(), LIMIT);
                let new = new.unwrap();
                for other in live.values() {
                    prop_assert!(new.base + new.len <= other.base || other.base + other.len <= new.base);
                }
                if let Some(old) = live.insert(who, new) { r.give(old); }
                prop_assert_eq!(r.used(), live.values().map(|x| x.len).sum::<u32>());
            }
            for (_, range) in live { r.give(range); }
            prop_assert_eq!(r.take(LIMIT), Some(Range { base: 0, len: LIMIT }));
        }
    }
}
