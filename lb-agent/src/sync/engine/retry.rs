//! What failed: whether and when it is planned again. Owns nothing else of the engine; knows no clock.

use crate::maps::table::MapError;

use super::Engine;
use crate::sync::report::{Failure, FailureCause, Report};

impl Engine {
    /// The next sync tries again what did not fit either. For when room was made, and now and then.
    pub fn retry(&mut self) {
        self.dirty.append(&mut self.refused);
    }

    /// Something is to be tried again though nothing changes.
    pub(in crate::sync) fn waits_for_room(&self) -> bool {
        !self.refused.is_empty() || !self.dirty.is_empty()
    }

    /// What failed is planned again at the next sync; what did not fit, when there may be room; and what only a change of
    /// the Service can help, then.
    pub(in crate::sync) fn remember(&mut self, report: &Report) {
        for Failure { service, error } in &report.failed {
            let Some(key) = service else { continue };
            if self.cluster.service(key).is_none() {
                continue;
            }
            match error {
                FailureCause::Map(MapError::Full { .. }) => self.refused.insert(key.clone()),
                FailureCause::Map(MapError::Failed { .. }) => self.dirty.insert(key.clone()),
                FailureCause::Plan(_) => false,
            };
            self.errors.insert(key.clone(), error.clone());
            self.problems_changed = true;
        }
    }
}
