//! Pool indices and backend ids: small numbers that are given out, retired, and given out again
//! behind a barrier.

use std::collections::{BTreeSet, VecDeque};

/// An allocator of numbers from 1 to below its limit; 0 is never given out, so that a zero in a map
/// means "none".
pub(crate) struct Ids {
    limit: u32,
    /// Never given out yet, from here on.
    next: u32,
    /// The longest free first.
    free: VecDeque<u32>,
    retired: BTreeSet<u32>,
}

impl Ids {
    /// All numbers are free except those that the maps use.
    pub(super) fn restored(limit: u32, used: &BTreeSet<u32>) -> Self {
        let next = used.last().map_or(1, |last| last + 1);
        let free = (1..next).filter(|n| !used.contains(n)).collect();
        Self {
            limit,
            next,
            free,
            retired: BTreeSet::new(),
        }
    }

    /// A free number that no reader can still hold. A number that was in use comes as late as
    /// possible: flow and affinity entries outlive the pool or backend that they name, and must not
    /// meet another one there while they are fresh.
    pub(super) fn take(&mut self) -> Option<u32> {
        let spare = self.next < self.limit;
        let rested = self.free.len() as u64 * 8 >= u64::from(self.limit);
        if spare && !rested {
            self.next += 1;
            return Some(self.next - 1);
        }
        self.free.pop_front()
    }

    /// How many [`Ids::take`] would give out.
    pub(crate) fn free(&self) -> usize {
        let spare = self.limit.saturating_sub(self.next);
        self.free.len() + usize::try_from(spare).unwrap_or(usize::MAX)
    }

    /// Gives back a number that no reader has ever been led to.
    pub(super) fn give(&mut self, id: u32) {
        self.free.push_back(id);
    }

    /// Nothing leads to it any more; readers may still hold it until the next barrier.
    pub(super) fn retire(&mut self, id: u32) {
        self.retired.insert(id);
    }

    /// It is in use again, for the same thing as before.
    pub(super) fn revive(&mut self, id: u32) {
        self.retired.remove(&id);
    }

    /// Numbers that wait for a barrier.
    pub(crate) fn retired(&self) -> &BTreeSet<u32> {
        &self.retired
    }

    /// A barrier has passed and its entry is cleared.
    pub(super) fn release(&mut self, id: u32) {
        if self.retired.remove(&id) {
            self.free.push_back(id);
        }
    }

    /// Numbers in use or retired.
    pub(super) fn used(&self) -> u32 {
        self.next - 1 - u32::try_from(self.free.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_number_is_not_given_out() {
        let mut ids = Ids::restored(4, &BTreeSet::new());
        assert_eq!(
            [ids.take(), ids.take(), ids.take()],
            [Some(1), Some(2), Some(3)]
        );
        ids.retire(2);
        assert_eq!(ids.take(), None);
        ids.release(2);
        assert_eq!((ids.take(), ids.used()), (Some(2), 3));
        ids.release(3);
        assert_eq!(ids.take(), None, "only a retired number can be released");
    }

    #[test]
    fn what_was_given_back_is_free_at_once() {
        let mut ids = Ids::restored(3, &BTreeSet::new());
        assert_eq!((ids.free(), ids.take(), ids.take()), (2, Some(1), Some(2)));
        ids.give(1);
        assert_eq!((ids.free(), ids.used(), ids.take()), (1, 1, Some(1)));
        assert_eq!((ids.free(), ids.take()), (0, None));
    }

    #[test]
    fn restored_numbers_are_taken() {
        let mut ids = Ids::restored(6, &BTreeSet::from([2, 4]));
        assert_eq!(
            [ids.take(), ids.take(), ids.take(), ids.take()],
            [Some(1), Some(3), Some(5), None]
        );
    }

    #[test]
    fn a_number_rests_before_it_is_given_out_again() {
        let mut ids = Ids::restored(81, &BTreeSet::new());
        let mut recent = VecDeque::new();
        for _ in 0..1000 {
            let id = ids.take().unwrap();
            assert!(!recent.contains(&id), "{id} again, behind {recent:?}");
            ids.retire(id);
            ids.release(id);
            recent.push_back(id);
            if recent.len() > 10 {
                recent.pop_front();
            }
        }
    }
}
