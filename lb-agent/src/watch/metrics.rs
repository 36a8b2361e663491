//! Metrics of the sources of objects.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::observe::{
    labels::{Kind, KindLabels},
    metrics::set,
    names,
};

/// What cannot be read.
#[derive(Clone, Debug)]
pub struct WatchMetrics {
    errors: Family<KindLabels, Counter>,
    bad_manifests: Gauge,
}

impl WatchMetrics {
    /// Registers them, with every series at zero.
    pub fn new(r: &mut Registry) -> Self {
        let m = Self {
            errors: Family::default(),
            bad_manifests: Gauge::default(),
        };
        for kind in Kind::ALL {
            drop(m.errors.get_or_create(&KindLabels { kind }));
        }
        r.register(
            "watch_errors",
            "Lists and watches of the API server that failed",
            m.errors.clone(),
        );
        r.register(
            names::BAD_MANIFESTS,
            "Manifest files that cannot be read: see the log",
            m.bad_manifests.clone(),
        );
        m
    }

    /// A list or a watch has failed.
    pub(super) fn failed(&self, kind: Kind) {
        self.errors.get_or_create(&KindLabels { kind }).inc();
    }

    /// How many files cannot be read now.
    pub(super) fn bad_manifests(&self, files: usize) {
        set(&self.bad_manifests, files);
    }
}
