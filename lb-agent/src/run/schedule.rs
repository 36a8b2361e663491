//! When the next step is due: the first change at once, more of them after a short pause, what
//! failed after a longer one. Never reads the clock: the caller brings the time.

use std::time::{Duration, Instant};

/// Between the ends of two syncs, so that a burst of changes becomes one.
const COALESCE: Duration = Duration::from_millis(10);
/// Pause before what failed is retried: the first one, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// Between two looks at the processes that serve cluster IPs which this machine has itself.
const HELD: Duration = Duration::from_secs(2);
/// After this long without a change, what is retired is cleared.
const IDLE: Duration = Duration::from_secs(1);
/// Pause before programs that could not be attached are retried.
const REATTACH: Duration = Duration::from_secs(10);

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// Write what has changed and what failed.
    Sync,
    /// Clear what is retired.
    Settle,
    /// Verify the next page of a map.
    Audit,
    /// Attach what could not be attached.
    Attach,
    /// Verify that what was attached is still attached, and that no process uses node ports.
    Verify,
    /// Look which ports of cluster IPs that this machine has itself are served.
    Held,
}

/// What a sync leaves to do.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct SyncOutcome {
    /// Something has to be retried.
    pub(super) failed: bool,
    /// Room was freed, which may be what a failed write lacked.
    pub(super) freed: bool,
    /// Something is retired, and waits to be cleared.
    pub(super) unsettled: bool,
    /// Every source is listed, and all of it is written: audits may begin.
    pub(super) complete: bool,
    /// When a sync has something to do though nothing changes.
    pub(super) due: Option<Instant>,
}

/// Whether a step has to be followed by another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// Everything is done.
    Nothing,
    /// There is more to do.
    Something,
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
    /// See [`SyncOutcome::due`].
    due: Option<Instant>,
    pause: Option<Duration>,
    settle: Option<Instant>,
    audit: Option<Instant>,
    attach: Option<Instant>,
    verify: Option<Instant>,
    held: Option<Instant>,
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
            due: None,
            pause: None,
            settle: None,
            audit: None,
            attach: None,
            verify: None,
            held: None,
        }
    }

    /// Something changed.
    pub(super) fn change(&mut self, now: Instant) {
        self.changed.get_or_insert(now);
    }

    /// A sync begins; true if it has to retry what failed.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        self.retry.take_if(|at| *at <= now).is_some()
    }

    /// A sync has ended. What failed is retried soon where room was freed.
    pub(super) fn synced(&mut self, now: Instant, outcome: SyncOutcome) {
        let SyncOutcome {
            failed,
            freed,
            unsettled,
            complete,
            due,
        } = outcome;
        self.due = due;
        if complete {
            self.audit.get_or_insert(now + self.period);
        }
        self.changed = None;
        self.last = Some(now);
        self.settle = unsettled.then(|| now + IDLE);
        let before = self.pause.filter(|_| !freed);
        // Syncs that only write what has changed do not delay the retry.
        let known = self.retry.filter(|_| failed);
        if known.is_none() || freed {
            self.pause = failed.then(|| before.map_or(RETRY.0, |p| RETRY.1.min(p * 2)));
            let next = self.pause.map(|p| now + p);
            self.retry = known.into_iter().chain(next).min();
        }
    }

    /// What was retired has been cleared. Something left over is not urgent.
    pub(super) fn settled(&mut self, now: Instant, left: Left) {
        self.settle = (left == Left::Something).then(|| now + RETRY.1);
    }

    /// A step of an audit has ended.
    pub(super) fn audited(&mut self, now: Instant, left: Left) {
        let pause = match left {
            Left::Something => Duration::ZERO,
            Left::Nothing => self.period,
        };
        self.audit = Some(now + pause);
    }

    /// The programs are being attached.
    pub(super) fn attaching(&mut self) {
        self.attach = None;
    }

    /// Programs belong on other devices than before.
    pub(super) fn attach(&mut self, now: Instant) {
        self.attach = Some(now);
    }

    /// Some programs could not be attached.
    pub(super) fn attach_failed(&mut self, now: Instant) {
        self.attach = Some(now + REATTACH);
    }

    /// The programs are attached, as far as they could be: they are verified from now on.
    pub(super) fn attached(&mut self, now: Instant) {
        self.verify.get_or_insert(now + self.period);
    }

    /// Something has changed that is to be verified, together with what changes soon after.
    pub(super) fn verify_soon(&mut self, now: Instant) {
        let soon = now + IDLE;
        self.verify = self.verify.map(|at| at.min(soon)).or(Some(soon));
    }

    /// What was attached has been verified.
    pub(super) fn verified(&mut self, now: Instant) {
        self.verify = Some(now + self.period);
    }

    /// The machine has cluster IPs itself, or none.
    pub(super) fn held(&mut self, now: Instant, left: Left) {
        self.held = (left == Left::Something).then(|| now + HELD);
    }

    /// What comes next, and when (the past means now).
    pub(super) fn next(&self) -> Option<(Instant, Due)> {
        let wanted = self.changed.into_iter().chain(self.retry);
        let wanted = wanted.chain(self.due).min();
        let sync = wanted.map(|at| {
            let at = self.last.map_or(at, |last| at.max(last + self.coalesce));
            (at, Due::Sync)
        });
        let settle = self.settle.map(|at| (at, Due::Settle));
        let audit = self.audit.map(|at| (at, Due::Audit));
        let attach = self.attach.map(|at| (at, Due::Attach));
        let verify = self.verify.map(|at| (at, Due::Verify));
        let all = sync.into_iter().chain(settle).chain(audit);
        let held = self.held.map(|at| (at, Due::Held));
        let all = all.chain(attach).chain(verify).chain(held);
        all.min_by_key(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: SyncOutcome = SyncOutcome {
        failed: false,
        freed: false,
        unsettled: false,
        complete: false,
        due: None,
    };
    const COMPLETE: SyncOutcome = SyncOutcome {
        complete: true,
        ..CLEAN
    };
    const FAILED: SyncOutcome = SyncOutcome {
        failed: true,
        ..CLEAN
    };
    const FAILED_AND_FREED: SyncOutcome = SyncOutcome {
        freed: true,
        ..FAILED
    };
    const UNSETTLED: SyncOutcome = SyncOutcome {
        unsettled: true,
        ..CLEAN
    };

    impl Default for Schedule {
        fn default() -> Self {
            Self::new(None, Duration::from_secs(30))
        }
    }

    #[test]
    fn a_longer_pause_between_two_syncs_can_be_configured() {
        let (min, t) = (Duration::from_secs(2), Instant::now());
        let mut s = Schedule::new(Some(min), Duration::from_secs(30));
        s.change(t);
        assert_eq!(s.next(), Some((t, Due::Sync)), "the first one at once");
        s.synced(t, CLEAN);
        s.change(t + min / 2);
        assert_eq!(s.next(), Some((t + min, Due::Sync)));
        // One that is shorter than ours makes no difference.
        let s = Schedule::new(Some(Duration::from_nanos(1)), Duration::from_secs(30));
        assert_eq!(s.coalesce, COALESCE);
    }

    #[test]
    fn audits_repeat_and_do_not_hold_up_a_change() {
        let (mut s, t, period) = (Schedule::default(), Instant::now(), Duration::from_secs(30));
        s.synced(t, COMPLETE);
        s.synced(t + period / 2, COMPLETE);
        assert_eq!(s.next(), Some((t + period, Due::Audit)));
        s.audited(t + period, Left::Something);
        assert_eq!(s.next(), Some((t + period, Due::Audit)));
        s.change(t);
        let soon = t + period / 2 + COALESCE;
        assert_eq!(s.next(), Some((soon, Due::Sync)));
        s.synced(t + period, CLEAN);
        s.audited(t + period, Left::Nothing);
        assert_eq!(s.next(), Some((t + period * 2, Due::Audit)));
    }

    #[test]
    fn the_first_change_is_written_at_once_and_the_next_ones_together() {
        let (mut s, t) = (Schedule::default(), Instant::now());
        assert_eq!(s.next(), None);
        s.change(t);
        assert_eq!(s.next(), Some((t, Due::Sync)));
        s.synced(t, CLEAN);
        assert_eq!(s.next(), None);
        s.change(t + COALESCE / 2);
        s.change(t + COALESCE);
        assert_eq!(s.next(), Some((t + COALESCE, Due::Sync)));
        s.synced(t + COALESCE, CLEAN);
        s.change(t + COALESCE * 9);
        assert_eq!(s.next(), Some((t + COALESCE * 9, Due::Sync)));
    }

    #[test]
    fn what_failed_is_retried_after_longer_and_longer_pauses() {
        let (mut s, mut t) = (Schedule::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            s.synced(t, FAILED);
            let (at, due) = s.next().unwrap();
            assert_eq!(due, Due::Sync);
            pauses.push((at - t).as_secs());
            t = at;
            assert!(!s.begin(t.checked_sub(COALESCE).unwrap()) && s.begin(t));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        s.synced(t, CLEAN);
        assert_eq!(s.next(), None);
        s.synced(t, FAILED);
        assert_eq!(s.next(), Some((t + RETRY.0, Due::Sync)));
    }

    #[test]
    fn changes_do_not_delay_a_retry() {
        let (mut s, start) = (Schedule::default(), Instant::now());
        s.synced(start, FAILED);
        let mut t = start;
        while t < start + RETRY.0 {
            assert!(!s.begin(t));
            // Nor does room that is freed again and again.
            s.synced(t, FAILED_AND_FREED);
            t += COALESCE;
        }
        assert_eq!(s.next(), Some((start + RETRY.0, Due::Sync)));
        assert!(s.begin(start + RETRY.0));
    }

    #[test]
    fn a_retry_keeps_to_the_configured_pause() {
        let (min, t) = (RETRY.0 * 5, Instant::now());
        let mut s = Schedule::new(Some(min), Duration::from_secs(30));
        s.synced(t, FAILED);
        assert_eq!(s.next(), Some((t + min, Due::Sync)));
        s.change(t);
        assert_eq!(s.next(), Some((t + min, Due::Sync)), "one for both");
    }

    #[test]
    fn what_failed_is_retried_soon_where_room_was_freed() {
        let (mut s, t) = (Schedule::default(), Instant::now());
        for _ in 0..8 {
            s.retry = None;
            s.synced(t, FAILED);
        }
        assert_eq!(s.next(), Some((t + RETRY.1, Due::Sync)));
        s.synced(t, FAILED_AND_FREED);
        assert_eq!(s.next(), Some((t + RETRY.0, Due::Sync)));
        let t = t + RETRY.0;
        assert!(s.begin(t));
        s.synced(t, FAILED);
        assert_eq!(s.next(), Some((t + RETRY.0 * 2, Due::Sync)));
    }

    #[test]
    fn a_change_does_not_wait_for_the_retry() {
        let (mut s, t) = (Schedule::default(), Instant::now());
        s.synced(t, FAILED);
        s.change(t);
        assert_eq!(s.next(), Some((t + COALESCE, Due::Sync)));
    }

    #[test]
    fn what_is_retired_is_cleared_when_nothing_happens() {
        let (mut s, t) = (Schedule::default(), Instant::now());
        s.synced(t, UNSETTLED);
        assert_eq!(s.next(), Some((t + IDLE, Due::Settle)));
        s.change(t);
        assert_eq!(s.next(), Some((t + COALESCE, Due::Sync)));
        s.synced(t, UNSETTLED);
        s.settled(t + IDLE, Left::Nothing);
        assert_eq!(s.next(), None);
    }

    #[test]
    fn what_could_not_be_attached_is_retried_until_it_is() {
        let (mut s, t) = (Schedule::default(), Instant::now());
        s.attach_failed(t);
        assert_eq!(s.next(), Some((t + REATTACH, Due::Attach)));
        s.attaching();
        assert_eq!(s.next(), None);
    }

    #[test]
    fn what_is_attached_is_verified_once_a_period() {
        let (mut s, t0) = (Schedule::default(), Instant::now());
        s.attached(t0);
        // Devices come and go; that delays nothing.
        s.attached(t0 + Duration::from_secs(20));
        assert_eq!(s.next(), Some((t0 + Duration::from_secs(30), Due::Verify)));
        let then = t0 + Duration::from_secs(31);
        s.verified(then);
        s.attached(then);
        assert_eq!(
            s.next(),
            Some((then + Duration::from_secs(30), Due::Verify))
        );
    }

    #[test]
    fn a_change_is_verified_soon_and_once() {
        let (mut s, t0) = (Schedule::default(), Instant::now());
        s.attached(t0);
        s.verify_soon(t0);
        s.verify_soon(t0 + Duration::from_millis(500));
        assert_eq!(s.next(), Some((t0 + IDLE, Due::Verify)));
        s.verified(t0 + IDLE);
        let next = t0 + IDLE + Duration::from_secs(30);
        assert_eq!(s.next(), Some((next, Due::Verify)));
    }
}
