//! Metrics, log and Events of the audits of the maps.

use std::{mem, sync::atomic::AtomicU64, time::Duration};

use jiff::{SignedDuration, Timestamp};
use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tracing::{debug, error, warn};

use super::{labels::MapLabels, metrics::set, names};
use crate::{maps::Table, sync::Audit};

/// Differences of one map that are logged.
const EXAMPLES: usize = 5;

/// Drift of one map that an audit has found and repaired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Drift {
    /// The map.
    pub(crate) map: &'static str,
    /// Entries that differed.
    pub(crate) entries: u64,
}

/// Adds up the steps of an audit, and reports each map and each audit.
#[derive(Debug)]
pub(crate) struct AuditReporter {
    metrics: AuditMetrics,
    took: Duration,
    longest: Duration,
    /// Of all maps.
    drift: u64,
    map: OneMap,
}

/// What was found in the map at hand.
#[derive(Debug, Default)]
struct OneMap {
    drift: u64,
    repaired: u64,
    examples: Vec<String>,
}

impl AuditReporter {
    /// No audit has begun.
    pub(crate) fn new(metrics: AuditMetrics) -> Self {
        Self {
            metrics,
            took: Duration::ZERO,
            longest: Duration::ZERO,
            drift: 0,
            map: OneMap::default(),
        }
    }

    /// Takes in one step; returns the drift of a map whose last step it was.
    pub(crate) fn step(&mut self, step: Audit, took: Duration) -> Option<Drift> {
        let Audit {
            table,
            last,
            ended: _,
            drift,
            unseen,
            examples,
            report,
        } = step;
        self.took += took;
        self.longest = self.longest.max(took);
        self.map.drift += drift;
        self.map.repaired += report.writes[table] + unseen;
        self.map.examples.extend(examples);
        for failure in &report.failed {
            error!(map = table.name(), error = %failure.error, "the audit of this map failed");
        }
        if last { self.map_ended(table) } else { None }
    }

    fn map_ended(&mut self, table: Table) -> Option<Drift> {
        let OneMap {
            drift,
            repaired,
            mut examples,
        } = mem::take(&mut self.map);
        self.metrics.map(table, drift, repaired);
        self.drift += drift;
        if drift == 0 {
            return None;
        }
        let map = table.name();
        examples.truncate(EXAMPLES);
        let examples = examples.join("; ");
        warn!(
            map,
            drift, repaired, examples, "another process has changed this map; it is repaired"
        );
        Some(Drift {
            map,
            entries: drift,
        })
    }

    /// All maps have been audited; returns how long that took.
    pub(crate) fn ended(&mut self) -> Duration {
        let (took, longest) = (mem::take(&mut self.took), mem::take(&mut self.longest));
        self.metrics.ended(took, longest);
        debug!(
            drift = mem::take(&mut self.drift),
            took_us = took.as_micros(),
            longest_us = longest.as_micros(),
            "audited"
        );
        took
    }
}

/// The last audit of each map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LastAudit {
    /// When all maps had been audited; `None`: not yet.
    pub ended: Option<Timestamp>,
    /// Each map, with the entries that differed, and those that audits repaired since the start.
    pub maps: Vec<(&'static str, u64, u64)>,
}

/// What audits found and did.
#[derive(Clone, Debug)]
pub struct AuditMetrics {
    duration: Histogram,
    longest: Gauge<f64, AtomicU64>,
    /// Unix time in seconds; 0: none has ended.
    last: Gauge<f64, AtomicU64>,
    drift: Family<MapLabels, Gauge>,
    repaired: Family<MapLabels, Counter>,
}

impl AuditMetrics {
    /// Registers them, with every series at zero.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let audits = Self {
            // 100 µs to 1.6 s.
            duration: Histogram::new(exponential_buckets(0.0001, 2.0, 15)),
            longest: Gauge::default(),
            last: Gauge::default(),
            drift: Family::default(),
            repaired: Family::default(),
        };
        for &table in Table::ALL {
            audits.map(table, 0, 0);
        }
        registry.register_with_unit(
            "audit_duration",
            "Time of one audit of all maps",
            Unit::Seconds,
            audits.duration.clone(),
        );
        registry.register_with_unit(
            "audit_longest_step",
            "The longest that a change could have waited for a step of the last audit",
            Unit::Seconds,
            audits.longest.clone(),
        );
        registry.register_with_unit(
            "audit_last_timestamp",
            "Unix time of the end of the last audit of all maps; 0: none has ended",
            Unit::Seconds,
            audits.last.clone(),
        );
        registry.register(
            names::MAP_DRIFT,
            "Entries of a map that the last audit found different from what the agent had written",
            audits.drift.clone(),
        );
        registry.register(
            "map_repaired_entries",
            "Entries of a map that audits rewrote or removed",
            audits.repaired.clone(),
        );
        audits
    }

    /// What is shown of them.
    #[must_use]
    pub fn last(&self) -> LastAudit {
        let maps = Table::ALL.iter().map(|table| {
            let map = table.name();
            let labels = MapLabels { map };
            let drift = self.drift.get_or_create(&labels).get();
            let repaired = self.repaired.get_or_create(&labels).get();
            (map, drift.try_into().unwrap_or_default(), repaired)
        });
        let ended = self.last.get();
        let ended = (ended > 0.0).then(|| SignedDuration::try_from_secs_f64(ended).ok());
        LastAudit {
            ended: ended
                .flatten()
                .and_then(|since| Timestamp::from_duration(since).ok()),
            maps: maps.collect(),
        }
    }

    fn map(&self, table: Table, drift: u64, repaired: u64) {
        let labels = MapLabels { map: table.name() };
        set(&self.drift.get_or_create(&labels), drift);
        self.repaired.get_or_create(&labels).inc_by(repaired);
    }

    fn ended(&self, took: Duration, longest: Duration) {
        self.duration.observe(took.as_secs_f64());
        self.longest.set(longest.as_secs_f64());
        self.last.set(Timestamp::now().as_duration().as_secs_f64());
    }
}
