//! The file in which a running agent keeps its last Events, for `get events` and bug reports: also
//! where no API server takes them, and after the agent's end.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::warn;

use super::{
    events::{About, EventRequest},
    once::Once,
};
use crate::kept::{Content, KeptFile};

/// Events that are kept.
const MOST: usize = 200;
/// Between two writes of the file.
const PAUSE: Duration = Duration::from_secs(1);

/// Where an agent keeps its Events.
pub type EventFile = KeptFile<LastEvents>;

/// An Event, as often as it came.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// When it came last.
    pub last_seen: jiff::Timestamp,
    /// When it came first.
    pub first_seen: jiff::Timestamp,
    /// How often it came.
    pub count: u64,
    /// `Service`, `Node` or `Pod`.
    pub kind: String,
    /// Of a Service or a Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Of the object.
    pub name: String,
    /// One word, for machines.
    pub reason: String,
    /// The problem and the remedy.
    pub message: String,
}

impl Recorded {
    /// Kind and name, as kubectl shows them.
    #[must_use]
    pub fn object(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.key())
    }

    /// `namespace/name`, or the name of a Node.
    #[must_use]
    pub fn key(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }

    fn of(request: EventRequest, node: &str) -> Self {
        let EventRequest {
            about,
            reason,
            action: _,
            text,
        } = request;
        let now = jiff::Timestamp::now();
        let (kind, namespace, name) = match about {
            About::Service(key) => (
                "Service",
                Some(key.namespace.to_string()),
                key.name.to_string(),
            ),
            About::Node => ("Node", None, node.to_owned()),
            About::Pod(key, _) => ("Pod", Some(key.namespace.to_string()), key.name.to_string()),
        };
        Self {
            last_seen: now,
            first_seen: now,
            count: 1,
            kind: kind.to_owned(),
            namespace,
            name,
            reason: reason.to_owned(),
            message: text,
        }
    }

    fn is_again(&self, other: &Self) -> bool {
        let of = |e: &Self| (e.key(), e.reason.clone(), e.message.clone());
        of(self) == of(other)
    }
}

/// What the file holds.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub struct LastEvents {
    /// The oldest first.
    pub events: VecDeque<Recorded>,
}

impl Content for LastEvents {
    const NAME: &'static str = "events.json";
}

/// Writes what comes, beside everything else, since the disk may be slow; one write a second at
/// most.
pub async fn keep(file: EventFile, node: String, mut requests: mpsc::Receiver<EventRequest>) {
    let mut failing = Once::default();
    let mut last = file.load().unwrap_or_default();
    while let Some(first) = requests.recv().await {
        add(&mut last.events, Recorded::of(first, &node));
        while let Ok(more) = requests.try_recv() {
            add(&mut last.events, Recorded::of(more, &node));
        }
        let (of, now) = (file.clone(), last.clone());
        let stored = tokio::task::spawn_blocking(move || of.store(now)).await;
        if let Ok(stored) = stored {
            let (appeared, _) = failing.update(stored.err().map(|error| format!("{error:#}")));
            for error in appeared {
                warn!(
                    error,
                    "`get events` cannot show the last Events: see --state-dir"
                );
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn add(events: &mut VecDeque<Recorded>, mut new: Recorded) {
    if let Some(at) = events.iter().position(|e| e.is_again(&new))
        && let Some(known) = events.remove(at)
    {
        new.first_seen = known.first_seen;
        new.count = known.count + 1;
    }
    if events.len() == MOST {
        events.pop_front();
    }
    events.push_back(new);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{kept, model::ObjectKey};

    fn event(n: usize) -> Recorded {
        let request = EventRequest {
            about: About::Service(ObjectKey::new("shop", "web")),
            reason: "PartiallyProgrammed",
            action: "Program",
            text: n.to_string(),
        };
        Recorded::of(request, "node-1")
    }

    #[test]
    fn what_comes_again_is_counted_and_old_events_are_forgotten() {
        let mut events = VecDeque::new();
        for n in [0, 1, 0] {
            add(&mut events, event(n));
        }
        let found: Vec<(&str, u64)> = events.iter().map(|e| (&*e.message, e.count)).collect();
        assert_eq!(found, [("1", 1), ("0", 2)]);
        for n in 2..2 + MOST {
            add(&mut events, event(n));
        }
        assert_eq!(events.len(), MOST);
        assert!(events.iter().all(|e| e.count == 1));
    }

    #[test]
    fn the_file_is_read_for_the_pins_of_the_agent_that_wrote_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = EventFile::of(dir.path(), Path::new("/sys/fs/bpf/lb"));
        assert!(file.load().unwrap().events.is_empty());
        let events = [event(1)].into();
        file.store(LastEvents { events }).unwrap();
        let found = file.load().unwrap().events;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].object(), "service/shop/web");
        let other = EventFile::of(dir.path(), Path::new("/sys/fs/bpf/other"));
        assert!(other.load().unwrap().events.is_empty());
        kept::remove(file.path()).unwrap();
        kept::remove(file.path()).unwrap();
    }
}
