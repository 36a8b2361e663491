//! The engine and the maps: the only place from which maps of services are written.

use std::time::{Duration, Instant};

use super::schedule::{Left, SyncOutcome};
use crate::{
    maps::Maps,
    model::{Cluster, Event},
    sync::{Audit, Engine, Place, Report, Snapshot},
};

/// Model, plan and sync, with the maps that they write.
pub(super) struct Core {
    engine: Engine,
    maps: Maps,
    /// Where the audit stands.
    audit: Place,
}

/// A sync that has ended.
pub(super) struct Synced {
    /// What it did.
    pub(super) report: Report,
    /// The state of the engine after it.
    pub(super) snapshot: Snapshot,
    /// How long it took.
    pub(super) took: Duration,
    /// When it ended.
    pub(super) end: Instant,
    /// When the next one has something to do though nothing changes.
    pub(super) due: Option<Instant>,
}

impl Synced {
    /// What the schedule has to know.
    pub(super) fn outcome(&self) -> SyncOutcome {
        SyncOutcome {
            failed: self.snapshot.waiting || !self.report.failed.is_empty(),
            freed: self.report.freed,
            unsettled: self.snapshot.unsettled,
            complete: self.report.synced,
            due: self.due,
        }
    }
}

impl Core {
    /// `engine` was restored from `maps`.
    pub(super) fn new(engine: Engine, maps: Maps) -> Self {
        Self {
            engine,
            maps,
            audit: Place::default(),
        }
    }

    /// What is planned and written.
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What is known.
    pub(super) fn cluster(&self) -> &Cluster {
        self.engine.cluster()
    }

    /// Takes in one fact; writes nothing.
    pub(super) fn handle(&mut self, event: Event) {
        self.engine.handle(event);
    }

    /// Has the next sync try again what did not fit.
    pub(super) fn retry(&mut self) {
        self.engine.retry();
    }

    /// Writes what has changed.
    pub(super) fn sync(&mut self) -> Synced {
        let start = Instant::now();
        self.engine.set_time(start);
        let report = self.engine.sync(&mut self.maps);
        let end = Instant::now();
        Synced {
            report,
            snapshot: self.engine.snapshot(),
            took: end - start,
            end,
            due: self.engine.next_due(),
        }
    }

    /// Clears what is retired.
    pub(super) fn settle(&mut self) -> (Report, Snapshot) {
        let report = self.engine.settle(&mut self.maps);
        (report, self.engine.snapshot())
    }

    /// Audits the next page of a map: what it found, how long it took, and whether pages of this
    /// audit are left.
    pub(super) fn audit(&mut self) -> (Audit, Duration, Left) {
        let start = Instant::now();
        let step = self.engine.audit(&mut self.audit, &mut self.maps);
        let left = if step.ended {
            Left::Nothing
        } else {
            Left::Something
        };
        (step, start.elapsed(), left)
    }
}
