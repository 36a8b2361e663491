//! Is the agent well? Owns kube-proxy's two meanings: `/livez` (the agent does its work) and `/healthz` (and new traffic
//! from outside may come to this Node). Knows nothing of HTTP; the caller brings the time.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A change that waited longer than this has not been written, so something hangs (kube-proxy: twice its sync period).
pub const STALE: Duration = Duration::from_mins(1);

/// Written by the event loop, read by the servers. Losing the API server changes nothing here.
#[derive(Debug, Default)]
pub struct Health(Mutex<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// The first change that has not been through a sync yet.
    queued: Option<Instant>,
    /// The end of the last sync.
    updated: Option<jiff::Timestamp>,
    synced: bool,
    leaving: bool,
}

/// What the servers tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// No change has been waiting for too long.
    pub alive: bool,
    /// The first full sync has been written.
    pub ready: bool,
    /// The Node is neither being deleted nor marked by the autoscaler.
    pub eligible: bool,
    /// The end of the last sync; the present while nothing waits too long, as kube-proxy has it.
    pub last_updated: Option<jiff::Timestamp>,
}

impl Health {
    /// A change came that has to be written.
    pub fn queued(&self, now: Instant) {
        self.lock().queued.get_or_insert(now);
    }

    /// Everything that was queued has been through a sync. `complete`: every source has listed once.
    pub fn updated(&self, complete: bool, now: jiff::Timestamp) {
        let mut s = self.lock();
        s.queued = None;
        s.updated = Some(now);
        s.synced |= complete;
    }

    /// Is the Node going away?
    pub fn leaving(&self, leaving: bool) {
        self.lock().leaving = leaving;
    }

    /// The present state.
    pub fn report(&self, now: Instant, wall: jiff::Timestamp) -> Report {
        let s = *self.lock();
        let alive = s
            .queued
            .is_none_or(|since| now.saturating_duration_since(since) < STALE);
        Report {
            alive,
            ready: s.synced,
            eligible: !s.leaving,
            last_updated: if alive { Some(wall) } else { s.updated },
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_waits_too_long_is_the_end_of_health() {
        let (h, t0, wall) = (
            Health::default(),
            Instant::now(),
            jiff::Timestamp::UNIX_EPOCH,
        );
        assert!(h.report(t0, wall).alive && !h.report(t0, wall).ready);
        h.queued(t0);
        h.queued(t0 + STALE / 2);
        assert!(h.report(t0 + STALE / 2, wall).alive);
        let late = h.report(t0 + STALE, wall);
        assert!(!late.alive && late.last_updated.is_none());
        h.updated(true, wall);
        let well = h.report(t0 + STALE, wall);
        assert!(well.alive && well.ready && well.last_updated == Some(wall));
    }

    #[test]
    fn silence_is_healthy() {
        let (h, t0, wall) = (
            Health::default(),
            Instant::now(),
            jiff::Timestamp::UNIX_EPOCH,
        );
        h.updated(true, wall);
        assert!(h.report(t0 + STALE * 100, wall).alive);
    }

    #[test]
    fn ready_waits_for_a_complete_sync_and_stays() {
        let (h, t0, wall) = (
            Health::default(),
            Instant::now(),
            jiff::Timestamp::UNIX_EPOCH,
        );
        h.updated(false, wall);
        assert!(!h.report(t0, wall).ready);
        h.updated(true, wall);
        h.updated(false, wall);
        assert!(h.report(t0, wall).ready);
    }

    #[test]
    fn a_leaving_node_is_alive_and_not_eligible() {
        let (h, t0, wall) = (
            Health::default(),
            Instant::now(),
            jiff::Timestamp::UNIX_EPOCH,
        );
        h.leaving(true);
        let r = h.report(t0, wall);
        assert!(r.alive && !r.eligible);
        h.leaving(false);
        assert!(h.report(t0, wall).eligible);
    }
}
