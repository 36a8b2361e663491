//! Events on our Node, for what an operator has to do on this machine. Each is written once an hour
//! at most, and their total is limited, so that a machine with many problems does not flood the API
//! server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::events::{About, EventQueue, EventRequest};

/// The same Event is not written again before.
const AGAIN: Duration = Duration::from_hours(1);
/// Distinct Events within that time; the rest is in the log, in metrics and in `lb-agent check`.
const MOST: usize = 20;

/// When each Event was requested, by its reason and subject.
type Requested = HashMap<(&'static str, String), Instant>;

/// Requests Events on our Node; every task may have a clone.
#[derive(Clone, Debug)]
pub(crate) struct EventRecorder {
    queue: EventQueue,
    requested: Arc<Mutex<Requested>>,
}

impl EventRecorder {
    /// Nothing has been requested.
    pub(crate) fn new(queue: EventQueue) -> Self {
        Self {
            queue,
            requested: Arc::default(),
        }
    }

    /// `subject` distinguishes Events of one reason, such as the name of a device; `text` may
    /// contain numbers that change.
    pub(crate) fn node(
        &self,
        reason: &'static str,
        action: &'static str,
        subject: &str,
        text: String,
    ) {
        let mut requested = self
            .requested
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (what, now) = ((reason, subject.to_owned()), Instant::now());
        if !is_due(&mut requested, &what, now) {
            return;
        }
        let request = EventRequest {
            about: About::Node,
            reason,
            action,
            text,
        };
        // One that found the queue full is requested the next time.
        if self.queue.push(request) {
            requested.insert(what, now);
        }
    }
}

fn is_due(requested: &mut Requested, what: &(&'static str, String), now: Instant) -> bool {
    requested.retain(|_, at| now.duration_since(*at) < AGAIN);
    !requested.contains_key(what) && requested.len() < MOST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_once_an_hour_and_their_number_is_limited() {
        let (mut requested, start) = (Requested::new(), Instant::now());
        let mut request = |n: usize, now| {
            let what = ("DeviceMissing", format!("eth{n}"));
            let due = is_due(&mut requested, &what, now);
            if due {
                requested.insert(what, now);
            }
            due
        };
        assert!(request(0, start));
        assert!(!request(0, start + AGAIN / 2));
        assert!(request(0, start + AGAIN));
        let due = (1..100).filter(|n| request(*n, start + AGAIN));
        assert_eq!(due.count(), MOST - 1);
    }

    #[test]
    fn an_event_that_a_full_queue_refused_is_written_the_next_time() {
        let (queue, mut receiver) = EventQueue::new(1);
        let recorder = EventRecorder::new(queue);
        for device in ["eth0", "eth1", "eth1"] {
            recorder.node("DeviceMissing", "Attach", device, device.to_owned());
        }
        assert_eq!(receiver.try_recv().unwrap().text, "eth0");
        assert!(receiver.try_recv().is_err());
        for device in ["eth0", "eth1"] {
            recorder.node("DeviceMissing", "Attach", device, device.to_owned());
        }
        assert_eq!(receiver.try_recv().unwrap().text, "eth1");
    }
}
