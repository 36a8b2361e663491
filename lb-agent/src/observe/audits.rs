//! Metrics of the audits of the maps. Owns their names; what an audit is, and what it does, is the engine's business.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::sync::Part;

/// What audits found and did.
#[derive(Clone, Debug)]
pub struct Audits {
    duration: Histogram,
    longest: Gauge<f64, AtomicU64>,
    drift: Family<OfMap, Gauge>,
    repaired: Family<OfMap, Counter>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfMap {
    map: &'static str,
}

impl Audits {
    /// Everything at zero.
    pub fn new(registry: &mut Registry) -> Self {
        let audits = Self {
            // 100 µs to 1.6 s.
            duration: Histogram::new(exponential_buckets(0.0001, 2.0, 15)),
            longest: Gauge::default(),
            drift: Family::default(),
            repaired: Family::default(),
        };
        for part in Part::ALL {
            audits.map(part, 0, 0);
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
        registry.register(
            "map_drift_entries",
            "Entries of a map that the last audit found different from what the agent had written",
            audits.drift.clone(),
        );
        registry.register(
            "map_repaired_entries",
            "Entries of a map that audits wrote anew or removed",
            audits.repaired.clone(),
        );
        audits
    }

    /// A map has been audited.
    pub fn map(&self, part: Part, drift: u64, repaired: u64) {
        let labels = OfMap { map: part.map() };
        let drift = i64::try_from(drift).unwrap_or(i64::MAX);
        self.drift.get_or_create(&labels).set(drift);
        self.repaired.get_or_create(&labels).inc_by(repaired);
    }

    /// All of them have.
    pub fn ended(&self, took: Duration, longest: Duration) {
        self.duration.observe(took.as_secs_f64());
        self.longest.set(longest.as_secs_f64());
    }
}
