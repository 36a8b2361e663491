//! An audit of the maps in steps, one page each, so that a change never waits for more. Owns where it stands and what is
//! said about what it found.

use std::time::{Duration, Instant};

use tracing::{debug, error, warn};

use crate::{
    datapath::bpf_maps::BpfMaps,
    observe::{metrics::Metrics, node_conditions::Troubles},
    sync::{Audit, Engine, Place},
};

/// Differences of a map that are described.
const EXAMPLES: usize = 5;

/// Where the audit stands.
#[derive(Debug, Default)]
pub(super) struct AuditRun {
    place: Place,
    took: Duration,
    longest: Duration,
    /// Of all maps.
    drift: u64,
    /// Of the map at hand.
    map: Found,
}

#[derive(Debug, Default)]
struct Found {
    drift: u64,
    repaired: u64,
    examples: Vec<String>,
}

impl AuditRun {
    /// Audits the next page; true while others are left.
    pub(super) fn step(
        &mut self,
        engine: &mut Engine,
        maps: &mut BpfMaps,
        metrics: &Metrics,
        troubles: &Troubles,
    ) -> bool {
        let start = Instant::now();
        let Audit {
            part,
            last,
            ended,
            drift,
            unseen,
            examples,
            report,
        } = engine.audit(&mut self.place, maps);
        let took = start.elapsed();
        self.took += took;
        self.longest = self.longest.max(took);
        let repaired = report.writes.by_map();
        let repaired = repaired.iter().find(|(map, _)| *map == part.map());
        self.map.drift += drift;
        self.map.repaired += repaired.map_or(0, |(_, n)| *n) + unseen;
        self.map.examples.extend(examples);
        metrics.wrote(&report.writes);
        for failure in &report.failed {
            error!(map = part.map(), error = %failure.error, "the audit of this map failed");
        }
        if last {
            let Found {
                drift,
                repaired,
                mut examples,
            } = std::mem::take(&mut self.map);
            metrics.audits.map(part, drift, repaired);
            self.drift += drift;
            if drift > 0 {
                let map = part.map();
                examples.truncate(EXAMPLES);
                let examples = examples.join("; ");
                warn!(
                    map,
                    drift, repaired, examples, "somebody else has changed this map; it is repaired"
                );
                troubles.changed(map, drift);
            }
        }
        if ended {
            let Self {
                took,
                longest,
                drift,
                ..
            } = std::mem::take(self);
            metrics.audits.ended(took, longest);
            metrics.kubeproxy.audited(took);
            debug!(
                drift,
                took_us = took.as_micros(),
                longest_us = longest.as_micros(),
                "audited"
            );
        }
        !ended
    }
}
