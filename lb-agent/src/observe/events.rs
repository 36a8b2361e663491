//! Events on Services that are only partly programmed, and on our Node for what is wrong with it,
//! so that `kubectl describe` shows it. Without an API server, or without the right to write
//! Events, the log alone has them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Node, ObjectReference, Service};
use kube::{
    Api, Client, Resource as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::{mpsc, watch};
use tracing::debug;

use super::chain;
use crate::model::ObjectKey;

/// Burst of Events on one object; then one more every [`REFILL`]. As client-go limits its own.
const BURST: u32 = 25;
const REFILL: Duration = Duration::from_mins(5);

/// What an Event is about.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum About {
    /// A Service.
    Service(ObjectKey),
    /// Our Node.
    Node,
    /// A Pod, with its UID.
    Pod(ObjectKey, String),
}

/// A problem that an operator should look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventRequest {
    /// The object concerned.
    pub about: About,
    /// One word, for machines.
    pub reason: &'static str,
    /// What was being done, one word.
    pub action: &'static str,
    /// The problem and the remedy.
    pub text: String,
}

/// Where requests wait for [`publish`].
#[derive(Clone, Debug)]
pub struct EventQueue {
    api: mpsc::Sender<EventRequest>,
    /// To the file of Events, which has them all.
    file: Option<mpsc::Sender<EventRequest>>,
}

impl EventQueue {
    /// A queue with room for `most` requests, and its end for [`publish`].
    #[must_use]
    pub fn new(most: usize) -> (Self, mpsc::Receiver<EventRequest>) {
        let (sender, receiver) = mpsc::channel(most);
        let queue = Self {
            api: sender,
            file: None,
        };
        (queue, receiver)
    }

    /// Has requests kept too, whether they are published or not; returns the end for
    /// [`keep`](super::event_file::keep).
    pub fn kept(&mut self, most: usize) -> mpsc::Receiver<EventRequest> {
        let (sender, receiver) = mpsc::channel(most);
        self.file = Some(sender);
        receiver
    }

    /// Adds a request; false if the queue is full. Never waits: the log has the problem in any
    /// case.
    pub fn push(&self, request: EventRequest) -> bool {
        let (about, reason) = (request.about.clone(), request.reason);
        if let Some(file) = &self.file {
            // The log has those that come too fast for the file.
            let _ = file.try_send(request.clone());
        }
        let pushed = self.api.try_send(request).is_ok();
        if !pushed {
            debug!(?about, reason, "too many Events at once: only logged");
        }
        pushed
    }
}

/// Publishes until every [`EventQueue`] is dropped. Requests that come before there is a client
/// wait for it.
pub async fn publish(
    node: String,
    mut client: watch::Receiver<Option<Client>>,
    mut requests: mpsc::Receiver<EventRequest>,
) {
    let mut limits = Limits::default();
    while let Some(request) = requests.recv().await {
        if client.wait_for(Option::is_some).await.is_err() {
            // There never will be one.
            return requests.close();
        }
        let Some(client) = client.borrow().clone() else {
            continue;
        };
        let EventRequest {
            about,
            reason,
            action,
            text,
        } = request;
        if !limits.admit(&about, Instant::now()) {
            debug!(?about, text, "too many Events: only logged");
            continue;
        }
        let reporter = Reporter {
            controller: "lb-agent".to_owned(),
            instance: Some(node.clone()),
        };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(text),
            action: action.to_owned(),
            secondary: None,
        };
        let published = match object(&client, &about, &node).await {
            Ok(Some(object)) => {
                Recorder::new(client, reporter)
                    .publish(&event, &object)
                    .await
            }
            // The object is gone: there is nothing to describe.
            Ok(None) => continue,
            Err(error) => Err(error),
        };
        if let Err(error) = published {
            debug!(?about, error = %chain(&error), "cannot write an Event");
        }
    }
}

/// `kubectl describe` looks for Events by the uid of the object, not by its name.
async fn object(
    client: &Client,
    about: &About,
    node: &str,
) -> kube::Result<Option<ObjectReference>> {
    match about {
        About::Service(key) => {
            let api = Api::<Service>::namespaced(client.clone(), &key.namespace);
            let object = api.get_metadata_opt(&key.name).await?;
            Ok(object.map(|object| object.object_ref(&())))
        }
        About::Node => {
            let object = Api::<Node>::all(client.clone())
                .get_metadata_opt(node)
                .await?;
            Ok(object.map(|object| object.object_ref(&())))
        }
        // Known from its watch: nothing is asked for, and no right to it is needed.
        About::Pod(key, uid) => Ok(Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(key.namespace.to_string()),
            name: Some(key.name.to_string()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        })),
    }
}

/// How many Events each object may still have.
#[derive(Debug, Default)]
struct Limits(HashMap<About, (u32, Instant)>);

impl Limits {
    fn admit(&mut self, about: &About, now: Instant) -> bool {
        // A full bucket needs no entry.
        self.0
            .retain(|_, (left, at)| *left + refilled(*at, now) < BURST);
        let (left, at) = self.0.entry(about.clone()).or_insert((BURST, now));
        let more = refilled(*at, now);
        *left = (*left + more).min(BURST);
        *at += REFILL * more;
        if *left == 0 {
            return false;
        }
        *left -= 1;
        true
    }
}

fn refilled(since: Instant, now: Instant) -> u32 {
    let times = now.duration_since(since).as_secs() / REFILL.as_secs();
    u32::try_from(times).unwrap_or(BURST).min(BURST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_a_burst_of_events_and_then_one_every_five_minutes() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        let admitted =
            |limits: &mut Limits, now| (0..100).filter(|_| limits.admit(&About::Node, now)).count();
        assert_eq!(admitted(&mut limits, start), 25);
        assert_eq!(admitted(&mut limits, start + REFILL / 2), 0);
        assert_eq!(admitted(&mut limits, start + REFILL * 2), 2);
        assert_eq!(admitted(&mut limits, start + REFILL * 100), 25);
        let other = About::Service(ObjectKey::new("default", "web"));
        assert!(limits.admit(&other, start + REFILL * 100));
    }
}
