//! Events on our Node, for what somebody has to do on this machine. Owns that each is written once an hour at most, and that
//! a machine in trouble does not flood the API server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tracing::debug;

use super::events::{About, Notice};

/// The same is not said again before.
const AGAIN: Duration = Duration::from_hours(1);
/// So many different ones within that time; the rest is in the log, in metrics and in `lb-agent check`.
const MOST: usize = 20;

/// When what was said, by its reason and what it is about.
type Said = HashMap<(&'static str, String), Instant>;

/// May be given to every task.
#[derive(Clone, Debug)]
pub(crate) struct Announce {
    notices: mpsc::Sender<Notice>,
    said: Arc<Mutex<Said>>,
}

impl Announce {
    /// Nothing has been said.
    pub(crate) fn new(notices: mpsc::Sender<Notice>) -> Self {
        Self {
            notices,
            said: Arc::default(),
        }
    }

    /// `subject` tells Events of one reason apart, such as the name of a device; `text` may contain numbers that change.
    pub(crate) fn node(
        &self,
        reason: &'static str,
        action: &'static str,
        subject: &str,
        text: String,
    ) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (what, now) = ((reason, subject.to_owned()), Instant::now());
        if !is_new(&mut said, &what, now) {
            return;
        }
        let notice = Notice {
            about: About::Node,
            reason,
            action,
            text,
        };
        if self.notices.try_send(notice).is_err() {
            // Not said, so that it is when it comes again.
            debug!(
                reason,
                "too many Events at once: this one is only in the log"
            );
            return;
        }
        said.insert(what, now);
    }
}

/// Is it to be said now?
fn is_new(said: &mut Said, what: &(&'static str, String), now: Instant) -> bool {
    said.retain(|_, at| now.duration_since(*at) < AGAIN);
    !said.contains_key(what) && said.len() < MOST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_an_hour_and_not_too_much_in_all() {
        let (mut said, start) = (Said::new(), Instant::now());
        let mut says = |n: usize, now| {
            let what = ("DeviceMissing", format!("eth{n}"));
            let new = is_new(&mut said, &what, now);
            if new {
                said.insert(what, now);
            }
            new
        };
        assert!(says(0, start));
        assert!(!says(0, start + AGAIN / 2));
        assert!(says(0, start + AGAIN));
        let new = (1..100).filter(|n| says(*n, start + AGAIN));
        assert_eq!(new.count(), MOST - 1);
    }

    #[test]
    fn what_a_full_queue_refused_is_said_the_next_time() {
        let (sender, mut receiver) = mpsc::channel(1);
        let announce = Announce::new(sender);
        for device in ["eth0", "eth1", "eth1"] {
            announce.node("DeviceMissing", "Attach", device, device.to_owned());
        }
        assert_eq!(receiver.try_recv().unwrap().text, "eth0");
        assert!(receiver.try_recv().is_err());
        for device in ["eth0", "eth1"] {
            announce.node("DeviceMissing", "Attach", device, device.to_owned());
        }
        assert_eq!(receiver.try_recv().unwrap().text, "eth1");
    }
}
