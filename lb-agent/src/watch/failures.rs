//! Failures of a watch in a row. A kind whose objects rarely change shows no event after a failure,
//! so that the answer of the API server itself has to count: without it, each restart of the API
//! server would add to failures of weeks ago.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::Client;
use tower::service_fn;

/// A watch that was answered and failed sooner than this has failed at once: a server that answers
/// and then breaks off is no better than one that is silent.
pub(super) const STANDS: Duration = Duration::from_secs(10);

/// Counts failures in a row.
#[derive(Debug)]
pub(super) struct Failures {
    stands: Duration,
    answered: Answered,
    count: u32,
}

/// When the API server last answered with success, since the last failure.
#[derive(Clone, Debug, Default)]
pub(super) struct Answered(Arc<Mutex<Option<Instant>>>);

/// What a failure means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    /// So many in a row, this one included.
    pub(super) count: u32,
    /// The watch had stood before it: whatever failed earlier was over.
    pub(super) is_first: bool,
}

impl Answered {
    /// The client, with its successful answers recorded here.
    pub(super) fn record(&self, client: &Client) -> Client {
        let (answered, inner) = (self.clone(), client.clone());
        let recorded = service_fn(move |request| {
            let (answered, inner) = (answered.clone(), inner.clone());
            async move {
                let response = inner.send(request).await?;
                if response.status().is_success() {
                    answered.set(Some(Instant::now()));
                }
                Ok::<_, kube::Error>(response)
            }
        });
        Client::new(recorded, client.default_namespace())
    }

    fn set(&self, at: Option<Instant>) -> Option<Instant> {
        let mut answered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut answered, at)
    }
}

impl Failures {
    /// None yet. A watch has stood if it fails no sooner than `stands` after an answer.
    pub(super) fn new(stands: Duration, answered: Answered) -> Self {
        Self {
            stands,
            answered,
            count: 0,
        }
    }

    /// An event or a whole list was received.
    pub(super) fn received(&mut self) {
        self.count = 0;
    }

    /// One more.
    pub(super) fn failed(&mut self, now: Instant) -> Failure {
        let answered = self.answered.set(None);
        let has_stood = answered.is_some_and(|at| now.saturating_duration_since(at) >= self.stands);
        if has_stood {
            self.count = 0;
        }
        self.count += 1;
        Failure {
            count: self.count,
            is_first: self.count == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_between_which_the_watch_stood_are_not_in_a_row() {
        let answered = Answered::default();
        let mut failures = Failures::new(STANDS, answered.clone());
        let start = Instant::now();
        let mut failed = |now| failures.failed(now).count;
        // The API server restarts every hour, and this kind never changes.
        for hour in 0..9 {
            let now = start + Duration::from_hours(hour);
            assert_eq!((failed(now), failed(now)), (1, 2), "{hour}");
            answered.set(Some(now + Duration::from_secs(3)));
        }
        // What is answered and breaks off at once counts on.
        let now = start + Duration::from_hours(9);
        assert_eq!(failed(now), 1);
        answered.set(Some(now));
        assert_eq!(failed(now + Duration::from_secs(1)), 2);
        // One answer counts once, however long ago it was.
        assert_eq!(failed(now + Duration::from_hours(1)), 3);
    }

    #[test]
    fn an_event_ends_the_row() {
        let mut failures = Failures::new(STANDS, Answered::default());
        let now = Instant::now();
        for _ in 0..2 {
            let (first, second) = (failures.failed(now), failures.failed(now));
            assert!(first.is_first && !second.is_first && second.count == 2);
            failures.received();
        }
    }
}
