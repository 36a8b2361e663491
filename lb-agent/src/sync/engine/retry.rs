//! What failed: whether it is planned again at the next sync, when there may be room, or when its
//! Service changes.

use super::Engine;
use crate::{
    maps::table::MapError,
    sync::report::{Failure, FailureCause, Report},
};

impl Engine {
    /// The next sync retries also what did not fit. To be called when room was made, and from time
    /// to time.
    pub fn retry(&mut self) {
        self.dirty.append(&mut self.refused);
    }

    /// Something has to be retried even if nothing changes.
    pub(super) fn waits_for_room(&self) -> bool {
        !self.refused.is_empty() || !self.dirty.is_empty()
    }

    /// What failed is planned again at the next sync; what did not fit, when there may be room; and
    /// what only a change of the Service can help, then.
    pub(super) fn remember(&mut self, report: &Report) {
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
