//! When the next sync is due: the first change at once, more of them after a short pause, what failed after a longer one.
//! Knows no clock; the caller brings the time.

use std::time::{Duration, Instant};

/// Between the ends of two syncs, so that a burst of changes becomes one.
const COALESCE: Duration = Duration::from_millis(10);
/// Before what failed is tried again: the first pause, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Without a change for so long, what is retired is cleared.
const IDLE: Duration = Duration::from_secs(1);

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Write what has changed and what failed.
    Sync,
    /// Clear what is retired.
    Settle,
}

/// The plan of the next steps.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    changed: bool,
    last: Option<Instant>,
    retry: Option<Instant>,
    pause: Option<Duration>,
    settle: Option<Instant>,
}

impl Schedule {
    /// Something changed.
    pub fn change(&mut self) {
        self.changed = true;
    }

    /// A sync has ended. `failed`: something is to be tried again. `unsettled`: something is retired.
    pub fn synced(&mut self, now: Instant, failed: bool, unsettled: bool) {
        self.changed = false;
        self.last = Some(now);
        self.settle = unsettled.then(|| now + IDLE);
        if failed {
            let pause = self.pause.map_or(RETRY.0, |p| RETRY.1.min(p * 2));
            self.pause = Some(pause);
            self.retry = Some(now + pause);
        } else {
            self.pause = None;
            self.retry = None;
        }
    }

    /// What is retired has been cleared, or could not be.
    pub fn settled(&mut self, now: Instant, unsettled: bool) {
        self.settle = unsettled.then(|| now + RETRY.1);
    }

    /// What comes next, and when (the past means now).
    #[must_use]
    pub fn next(&self) -> Option<(Instant, Due)> {
        let change = match (self.changed, self.last) {
            (false, _) => None,
            (true, None) => return Some((Instant::now(), Due::Sync)),
            (true, Some(last)) => Some(last + COALESCE),
        };
        let sync = change.into_iter().chain(self.retry).min().map(|at| (at, Due::Sync));
        let settle = self.settle.map(|at| (at, Due::Settle));
        sync.into_iter().chain(settle).min_by_key(|(at, _)| *at)
    }
}
