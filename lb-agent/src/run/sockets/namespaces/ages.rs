//! Which namespaces are looked into again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// A young namespace is still being furnished: it is looked into at each look.
pub(super) const YOUNG: Duration = Duration::from_mins(1);
/// An older one is looked into this often.
pub(super) const AGAIN: Duration = Duration::from_secs(15);

/// When each was seen first, and when it was looked into last, by cookie.
#[derive(Debug, Default)]
pub(super) struct Ages(BTreeMap<u64, (Instant, Instant)>);

impl Ages {
    /// Those that need no look now.
    pub(super) fn settled(&self, now: Instant) -> BTreeSet<u64> {
        let settled = self.0.iter().filter(|(_, times)| is_settled(times, now));
        settled.map(|(cookie, _)| *cookie).collect()
    }

    /// After a look that began at `start` and saw `cookies`.
    pub(super) fn update<'c>(&mut self, cookies: impl Iterator<Item = &'c u64>, start: Instant) {
        let before = std::mem::take(&mut self.0);
        let times = cookies.map(|cookie| {
            let times = match before.get(cookie) {
                Some(times) if is_settled(times, start) => *times,
                Some((first, _)) => (*first, start),
                None => (start, start),
            };
            (*cookie, times)
        });
        self.0 = times.collect();
    }
}

fn is_settled((first, last): &(Instant, Instant), now: Instant) -> bool {
    now.duration_since(*first) > YOUNG && now.duration_since(*last) < AGAIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_young_one_is_looked_into_each_time_and_an_old_one_now_and_then() {
        let start = Instant::now();
        let mut ages = Ages::default();
        let mut looks = Vec::new();
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            if !ages.settled(now).contains(&7) {
                looks.push(second);
            }
            ages.update([7].iter(), now);
        }
        let expected: Vec<u64> = (0..=60).chain([75, 90]).collect();
        assert_eq!(looks, expected);
        ages.update([].iter(), start);
        ages.update([7].iter(), start + 2 * YOUNG);
        assert!(ages.settled(start + 2 * YOUNG).is_empty());
    }
}
