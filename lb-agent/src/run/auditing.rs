//! An audit of the maps in steps, one map each, so that a change never waits for all of them. Owns where it stands and what
//! is said about what it found.

use std::time::{Duration, Instant};

use tracing::{debug, error, warn};

use crate::{
    datapath::bpf_maps::BpfMaps,
    serve::metrics::Metrics,
    sync::{Audit, Engine, Part},
};

use super::troubles::Troubles;

/// Where the audit stands.
#[derive(Debug, Default)]
pub(super) struct AuditRun {
    next: usize,
    took: Duration,
    drift: u64,
}

impl AuditRun {
    /// Audits the next map; true while others are left.
    pub(super) fn step(
        &mut self,
        engine: &mut Engine,
        maps: &mut BpfMaps,
        metrics: &Metrics,
        troubles: &Troubles,
    ) -> bool {
        let part = Part::ALL[self.next];
        let start = Instant::now();
        let Audit {
            drift,
            examples,
            report,
        } = engine.audit(part, maps);
        self.took += start.elapsed();
        self.drift += drift;
        let repaired = report.writes.by_map();
        let repaired = repaired.iter().find(|(map, _)| *map == part.map());
        let repaired = repaired.map_or(0, |(_, n)| *n);
        metrics.wrote(&report.writes);
        metrics.audits.map(part, drift, repaired);
        if drift > 0 {
            let map = part.map();
            let examples = examples.join("; ");
            warn!(
                map,
                drift, repaired, examples, "somebody else has changed this map; it is repaired"
            );
            troubles.changed(map, drift);
        }
        for failure in &report.failed {
            error!(map = part.map(), error = %failure.error, "the audit of this map failed");
        }
        self.next = (self.next + 1) % Part::ALL.len();
        let more = self.next > 0;
        if !more {
            let Self { took, drift, .. } = std::mem::take(self);
            metrics.audits.ended(took);
            metrics.kubeproxy.audited(took);
            debug!(drift, took_us = took.as_micros(), "audited");
        }
        more
    }
}
