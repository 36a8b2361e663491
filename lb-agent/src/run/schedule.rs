//! When the next sync is due: the first change at once, more of them after a short pause, what failed after a longer one.
//! Knows no clock; the caller brings the time.

use std::time::{Duration, Instant};

/// Between the ends of two syncs, so that a burst of changes becomes one.
const COALESCE: Duration = Duration::from_millis(10);
/// Before what failed is tried again: the first pause, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// Without a change for so long, what is retired is cleared.
const IDLE: Duration = Duration::from_secs(1);

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// Write what has changed and what failed.
    Sync,
    /// Clear what is retired.
    Settle,
    /// Prove the next map.
    Audit,
}

/// The plan of the next steps.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    /// Between the ends of two syncs at least.
    coalesce: Duration,
    /// Between two audits.
    period: Duration,
    changed: Option<Instant>,
    last: Option<Instant>,
    retry: Option<Instant>,
    pause: Option<Duration>,
    settle: Option<Instant>,
    audit: Option<Instant>,
}

impl Schedule {
    /// Nothing is due. `min`: the pause between two syncs, if it is longer than ours.
    pub(super) fn new(min: Option<Duration>, period: Duration) -> Self {
        Self {
            coalesce: min.map_or(COALESCE, |min| min.max(COALESCE)),
            period,
            changed: None,
            last: None,
            retry: None,
            pause: None,
            settle: None,
            audit: None,
        }
    }

    /// Something changed.
    pub(super) fn change(&mut self, now: Instant) {
        self.changed.get_or_insert(now);
    }

    /// A sync begins; true if it is to try again what failed.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        self.retry.take_if(|at| *at <= now).is_some()
    }

    /// A sync has ended. `failed`: something is to be tried again, soon if room was `freed` meanwhile, which may be what it
    /// lacked. `unsettled`: something is retired.
    pub(super) fn synced(&mut self, now: Instant, failed: bool, freed: bool, unsettled: bool) {
        self.changed = None;
        self.last = Some(now);
        self.settle = unsettled.then(|| now + IDLE);
        let before = self.pause.filter(|_| !freed);
        // Syncs that only write what has changed do not put it off.
        let known = self.retry.filter(|_| failed);
        if known.is_none() || freed {
            self.pause = failed.then(|| before.map_or(RETRY.0, |p| RETRY.1.min(p * 2)));
            let next = self.pause.map(|p| now + p);
            self.retry = known.into_iter().chain(next).min();
        }
    }

    /// What was retired has been cleared; `unsettled` if not, and then it has time.
    pub(super) fn settled(&mut self, now: Instant, unsettled: bool) {
        self.settle = unsettled.then(|| now + RETRY.1);
    }

    /// Everything has been written once: from now on it is proved.
    pub(super) fn complete(&mut self, now: Instant) {
        self.audit.get_or_insert(now + self.period);
    }

    /// One map has been proved; `more`: others are left.
    pub(super) fn audited(&mut self, now: Instant, more: bool) {
        let pause = if more { Duration::ZERO } else { self.period };
        self.audit = Some(now + pause);
    }

    /// What comes next, and when (the past means now).
    pub(super) fn next(&self) -> Option<(Instant, Due)> {
        let wanted = self.changed.into_iter().chain(self.retry).min();
        let sync = wanted.map(|at| {
            let at = self.last.map_or(at, |last| at.max(last + self.coalesce));
            (at, Due::Sync)
        });
        let settle = self.settle.map(|at| (at, Due::Settle));
        let audit = self.audit.map(|at| (at, Due::Audit));
        let all = sync.into_iter().chain(settle).chain(audit);
        all.min_by_key(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Default for Schedule {
        fn default() -> Self {
            Self::new(None, Duration::from_secs(30))
        }
    }

    #[test]
    fn a_longer_pause_between_two_syncs_can_be_asked_for() {
        let (min, t) = (Duration::from_secs(2), Instant::now());
        let mut s = Schedule::new(Some(min), Duration::from_secs(30));
        s.change(t);
        assert_eq!(s.next(), Some((t, Due::Sync)), "the first one at once");
        s.synced(t, false, false, false);
        s.change(t + min / 2);
        assert_eq!(s.next(), Some((t + min, Due::Sync)));
        // One that is shorter than ours makes no difference.
        let s = Schedule::new(Some(Duration::from_nanos(1)), Duration::from_secs(30));
        assert_eq!(s.coalesce, COALESCE);
    }

    #[test]
    fn audits_come_again_and_again_and_do_not_hold_up_a_change() {
        let (mut s, t, period) = (Schedule::default(), Instant::now(), Duration::from_secs(30));
        s.complete(t);
        s.complete(t + period);
        assert_eq!(s.next(), Some((t + period, Due::Audit)));
        s.audited(t + period, true);
        assert_eq!(s.next(), Some((t + period, Due::Audit)));
        s.change(t);
        assert_eq!(s.next(), Some((t, Due::Sync)));
        s.synced(t + period, false, false, false);
        s.audited(t + period, false);
        assert_eq!(s.next(), Some((t + period * 2, Due::Audit)));
    }

    #[test]
    fn the_first_change_is_written_at_once_and_the_next_ones_together() {
        let (mut s, t) = (Schedule::default(), Instant::now());
        assert_eq!(s.next(), None);
        s.change(t);
        assert_eq!(s.next(), Some((t, Due::Sync)));
        s.synced(t, false, false, false);
        assert_eq!(s.next(), None);
        s.change(t + COALESCE / 2);
        s.change(t + COALESCE);
        assert_eq!(s.next(), Some((t + COALESCE, Due::Sync)));
        s.synced(t + COALESCE, false, false, false);
        s.change(t + COALESCE * 9);
        assert_eq!(s.next(), Some((t + COALESCE * 9, Due::Sync)));
    }

    #[test]
    fn what_failed_is_tried_again_after_longer_and_longer_pauses() {
        let (mut s, mut t) = (Schedule::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            s.synced(t, true, false, false);
            let (at, due) = s.next().unwrap();
            assert_eq!(due, Due::Sync);
            pauses.push((at - t).as_secs());
            t = at;
            assert!(!s.begin(t.checked_sub(COALESCE).unwrap()) && s.begin(t));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        s.synced(t, false, false, false);
        assert_eq!(s.next(), None);
        s.synced(t, true, false, false);
        assert_eq!(s.next(), Some((t + RETRY.0, Due::Sync)));
    }

    #[test]
    fn changes_do_not_put_off_what_is_to_be_tried_again() {
        let (mut s, start) = (Schedule::default(), Instant::now());
        s.synced(start, true, false, false);
        let mut t = start;
        while t < start + RETRY.0 {
            assert!(!s.begin(t));
            // Nor does room that is made again and again.
            s.synced(t, true, true, false);
            t += COALESCE;
        }
        assert_eq!(s.next(), Some((start + RETRY.0, Due::Sync)));
        assert!(s.begin(start + RETRY.0));
    }

    #[test]
    fn what_is_tried_again_keeps_to_the_pause_that_was_asked_for() {
        let (min, t) = (RETRY.0 * 5, Instant::now());
        let mut s = Schedule::new(Some(min), Duration::from_secs(30));
        s.synced(t, true, false, false);
        assert_eq!(s.next(), Some((t + min, Due::Sync)));
        s.change(t);
        assert_eq!(s.next(), Some((t + min, Due::Sync)), "one for both");
    }

    #[test]
    fn where_room_was_made_what_failed_is_tried_again_soon() {
        let (mut s, t) = (Schedule::default(), Instant::now());
        for _ in 0..8 {
            s.retry = None;
            s.synced(t, true, false, false);
        }
        assert_eq!(s.next(), Some((t + RETRY.1, Due::Sync)));
        s.synced(t, true, true, false);
        assert_eq!(s.next(), Some((t + RETRY.0, Due::Sync)));
        let t = t + RETRY.0;
        assert!(s.begin(t));
        s.synced(t, true, false, false);
        assert_eq!(s.next(), Some((t + RETRY.0 * 2, Due::Sync)));
    }

    #[test]
    fn a_change_does_not_wait_for_the_retry() {
        let (mut s, t) = (Schedule::default(), Instant::now());
        s.synced(t, true, false, false);
        s.change(t);
        assert_eq!(s.next(), Some((t + COALESCE, Due::Sync)));
    }

    #[test]
    fn what_is_retired_is_cleared_when_nothing_happens() {
        let (mut s, t) = (Schedule::default(), Instant::now());
        s.synced(t, false, false, true);
        assert_eq!(s.next(), Some((t + IDLE, Due::Settle)));
        s.change(t);
        assert_eq!(s.next(), Some((t + COALESCE, Due::Sync)));
        s.synced(t, false, false, true);
        s.settled(t + IDLE, false);
        assert_eq!(s.next(), None);
    }
}
