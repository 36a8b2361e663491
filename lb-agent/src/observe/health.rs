//! Whether the agent is healthy, in kube-proxy's two meanings: `/livez` (the agent works) and
//! `/healthz` (and new traffic from outside may come to this Node). Never reads the clock: the
//! caller brings the time.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

/// Written by the event loop, read by the servers. Losing the API server changes nothing here: a
/// change that is not received is not pending.
#[derive(Debug)]
pub struct Health {
    /// A change that is pending for longer than this means that something hangs.
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// The first change that has not been written yet.
    queued: Option<Instant>,
    /// When everything was last written; the start before that, as in kube-proxy.
    updated: Timestamp,
    synced: bool,
    leaving: bool,
    refused: usize,
    missing: usize,
}

/// What the servers report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// No change has been pending for too long.
    pub alive: bool,
    /// The first full sync has ended, programs run on it, and none that was attached is missing.
    pub ready: bool,
    /// The Node is neither being deleted nor marked by the autoscaler.
    pub eligible: bool,
    /// When everything was last written.
    pub last_updated: Timestamp,
    /// Services that could not be written.
    pub refused: usize,
    /// Programs that another process detached and that could not be attached again.
    pub missing: usize,
}

/// The result of a sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Nothing is pending: what could not be written was refused, and a retry would not help.
    pub applied: bool,
    /// Every source has listed once, and programs run.
    pub complete: bool,
    /// Services that could not be written.
    pub refused: usize,
}

impl Health {
    /// Healthy from `now` on, until a change is pending for `timeout` (kube-proxy: twice its
    /// `syncPeriod`).
    #[must_use]
    pub fn new(timeout: Duration, now: Timestamp) -> Self {
        let state = State {
            queued: None,
            updated: now,
            synced: false,
            leaving: false,
            refused: 0,
            missing: 0,
        };
        Self {
            timeout,
            state: Mutex::new(state),
        }
    }

    /// A change was received that has to be written.
    pub fn queued(&self, now: Instant) {
        self.lock().queued.get_or_insert(now);
    }

    /// A sync of everything that was queued has ended.
    pub fn synced(&self, outcome: Outcome, now: Timestamp) {
        let Outcome {
            applied,
            complete,
            refused,
        } = outcome;
        let mut s = self.lock();
        if applied {
            s.queued = None;
            s.updated = now;
        }
        s.synced |= complete;
        s.refused = refused;
    }

    /// Programs run now, on maps that had been written before.
    pub fn ready(&self) {
        self.lock().synced = true;
    }

    /// How many programs another process has detached that could not be attached again.
    pub fn missing(&self, programs: usize) {
        self.lock().missing = programs;
    }

    /// Whether the Node is going away.
    pub fn leaving(&self, leaving: bool) {
        self.lock().leaving = leaving;
    }

    /// The present state.
    pub fn report(&self, now: Instant) -> Report {
        let s = *self.lock();
        let in_time = |since| now.saturating_duration_since(since) < self.timeout;
        Report {
            alive: s.queued.is_none_or(in_time),
            ready: s.synced && s.missing == 0,
            eligible: !s.leaving,
            last_updated: s.updated,
            refused: s.refused,
            missing: s.missing,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(1);
    const DONE: Outcome = Outcome {
        applied: true,
        complete: true,
        refused: 0,
    };

    fn rig() -> (Health, Instant, Timestamp) {
        let start = Timestamp::UNIX_EPOCH;
        (Health::new(TIMEOUT, start), Instant::now(), start)
    }

    #[test]
    fn a_change_that_is_pending_too_long_makes_the_agent_unhealthy() {
        let (h, t0, start) = rig();
        assert!(h.report(t0).alive && !h.report(t0).ready);
        h.queued(t0);
        h.queued(t0 + TIMEOUT / 2);
        assert!(
            h.report(t0 + TIMEOUT.checked_sub(Duration::from_nanos(1)).unwrap())
                .alive
        );
        let late = h.report(t0 + TIMEOUT);
        assert!(!late.alive && late.last_updated == start);
        let later = start + Duration::from_secs(1);
        h.synced(DONE, later);
        let well = h.report(t0 + TIMEOUT);
        assert!(well.alive && well.ready && well.last_updated == later);
    }

    #[test]
    fn a_change_stays_pending_after_a_sync_that_could_not_write() {
        let (h, t0, start) = rig();
        h.queued(t0);
        let failed = Outcome {
            applied: false,
            refused: 1,
            ..DONE
        };
        h.synced(failed, start + Duration::from_secs(1));
        h.queued(t0 + TIMEOUT / 2);
        let late = h.report(t0 + TIMEOUT);
        assert!(!late.alive && late.ready && late.last_updated == start && late.refused == 1);
    }

    #[test]
    fn a_refused_service_is_reported_and_leaves_the_agent_healthy() {
        let (h, t0, start) = rig();
        h.queued(t0);
        let refused = Outcome { refused: 3, ..DONE };
        h.synced(refused, start);
        let r = h.report(t0 + TIMEOUT);
        assert!(r.alive && r.ready && r.refused == 3);
        h.synced(DONE, start);
        assert_eq!(h.report(t0).refused, 0);
    }

    #[test]
    fn the_agent_stays_healthy_without_changes() {
        let (h, t0, start) = rig();
        h.synced(DONE, start);
        assert!(h.report(t0 + TIMEOUT * 100).alive);
    }

    #[test]
    fn the_agent_is_ready_after_a_complete_sync_and_stays_ready() {
        let (h, t0, start) = rig();
        let half = Outcome {
            complete: false,
            ..DONE
        };
        h.synced(half, start);
        assert!(!h.report(t0).ready);
        h.synced(DONE, start);
        h.synced(half, start);
        assert!(h.report(t0).ready);
    }

    #[test]
    fn a_leaving_node_is_alive_and_not_eligible() {
        let (h, t0, _) = rig();
        h.leaving(true);
        let r = h.report(t0);
        assert!(r.alive && !r.eligible);
        h.leaving(false);
        assert!(h.report(t0).eligible);
    }

    #[test]
    fn the_agent_is_not_ready_while_a_program_is_missing() {
        let (h, t0, start) = rig();
        h.synced(DONE, start);
        h.missing(2);
        let r = h.report(t0);
        assert!(r.alive && !r.ready && r.missing == 2);
        h.missing(0);
        assert!(h.report(t0).ready);
    }
}
