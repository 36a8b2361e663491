//! Which events follow from the manifests: whole lists, or object by object while a file that
//! could not be read since the start may hold Services of a previous agent.

use std::collections::BTreeSet;

use tracing::{info, warn};

use crate::{model::Event, observe::once::Once};

/// What has been sent, and whether as whole lists.
pub(super) struct Outbox {
    pub(super) sent: Option<[Event; 4]>,
    /// Not before every file could be read.
    careful: bool,
    held_back: Once<()>,
}

impl Outbox {
    pub(super) fn new(careful: bool) -> Self {
        Self {
            sent: None,
            careful,
            held_back: Once::default(),
        }
    }

    /// Events that bring the listener from the last lists to these; `whole`: every file could be
    /// read.
    pub(super) fn next(&mut self, lists: [Event; 4], whole: bool) -> Vec<Event> {
        let was_careful = self.careful;
        self.careful &= !whole;
        let holds_back = self.careful.then_some(());
        let (appeared, gone) = self.held_back.update(holds_back);
        if !appeared.is_empty() {
            warn!(
                "a file cannot be read at the start: nothing that a previous agent wrote is changed or removed until every file can be read, and the agent is not ready"
            );
        }
        if !gone.is_empty() {
            info!("every manifest has been read: Services that no manifest names are removed");
        }
        let released = was_careful && !self.careful;
        let events = if !released && self.sent.as_ref() == Some(&lists) {
            Vec::new()
        } else if self.careful {
            piecemeal(self.sent.as_ref(), &lists)
        } else {
            lists.to_vec()
        };
        self.sent = Some(lists);
        events
    }
}

/// The lists object by object, so that an object missing from them does not count as gone; an
/// object of `before` does.
fn piecemeal(before: Option<&[Event; 4]>, now: &[Event; 4]) -> Vec<Event> {
    let (mut services, mut slices) = (BTreeSet::new(), BTreeSet::new());
    for event in before.into_iter().flatten() {
        match event {
            Event::Services(all) => services.extend(all.iter().map(|s| s.key.clone())),
            Event::Slices(all) => slices.extend(all.iter().map(|s| s.key.clone())),
            _ => {}
        }
    }
    let mut events = Vec::new();
    for event in now {
        match event {
            Event::Services(all) => {
                for service in all {
                    services.remove(&service.key);
                    events.push(Event::Service(service.clone()));
                }
            }
            Event::Slices(all) => {
                for slice in all {
                    slices.remove(&slice.key);
                    events.push(Event::Slice(slice.clone()));
                }
            }
            // Networks are sent as a whole list only: a network that is missing from it is not
            // routed.
            Event::Node(_) => events.push(event.clone()),
            _ => {}
        }
    }
    events.extend(services.into_iter().map(Event::ServiceGone));
    events.extend(slices.into_iter().map(Event::SliceGone));
    events
}
