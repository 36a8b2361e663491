//! What is told of network namespaces: in the log once, and in metrics.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use super::left::Left;
use crate::{
    observe::{namespaces::NamespaceMetrics, once::Once},
    sockets::namespaces::Look,
};

/// What was told last.
pub(super) struct Teller {
    left: Once<(u64, String)>,
    missed: Once<(u64, u64)>,
    metrics: NamespaceMetrics,
}

impl Teller {
    pub(super) fn new(metrics: NamespaceMetrics) -> Self {
        Self {
            left: Once::default(),
            missed: Once::default(),
            metrics,
        }
    }

    /// Those that could not be looked into: one line for all that are new.
    pub(super) fn missed(&mut self, look: &Look) {
        self.metrics.set_unread(look.missed.len());
        let (appeared, _) = self.missed.update(look.missed.keys().copied());
        if let Some(why) = appeared.first().and_then(|id| look.missed.get(id)) {
            warn!(
                namespaces = appeared.len(),
                example = why,
                "cannot look into a network namespace, will retry: its sockets are translated or left alone as they were"
            );
        }
    }

    /// Those that are left alone, but for the ones without room.
    pub(super) fn left_alone(&mut self, left: &BTreeMap<u64, Left>, refused: &BTreeSet<u64>) {
        self.metrics.set_without_room(refused.len());
        let done = || left.iter().filter(|(cookie, _)| !refused.contains(cookie));
        self.metrics
            .set(done().map(|(_, left)| left.because.name()));
        let in_words = done().map(|(cookie, left)| (*cookie, left.because.in_words()));
        let (appeared, gone) = self.left.update(in_words);
        for (cookie, reason) in appeared {
            info!(
                cookie,
                reason, "the sockets of this network namespace are left alone"
            );
        }
        for (cookie, _) in gone {
            info!(
                cookie,
                "this network namespace is gone, or its sockets are translated now"
            );
        }
    }
}
