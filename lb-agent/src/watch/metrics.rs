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
    unreadable: Family<KindLabels, Gauge>,
    bad_manifests: Gauge,
}

impl WatchMetrics {
    /// Registers them, with every series at zero.
    pub fn new(r: &mut Registry) -> Self {
        let m = Self {
            errors: Family::default(),
            unreadable: Family::default(),
            bad_manifests: Gauge::default(),
        };
        for kind in Kind::ALL {
            drop(m.errors.get_or_create(&KindLabels { kind }));
            m.unreadable(kind, 0);
        }
        r.register(
            "watch_errors",
            "Lists and watches of the API server that failed",
            m.errors.clone(),
        );
        r.register(
            "unreadable_objects",
            "Objects of the API server that cannot be read: see the log",
            m.unreadable.clone(),
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

    /// How many objects of this kind cannot be read now.
    pub(super) fn unreadable(&self, kind: Kind, objects: usize) {
        set(
            &self.unreadable.get_or_create(&KindLabels { kind }),
            objects,
        );
    }

    /// How many files cannot be read now.
    pub(super) fn bad_manifests(&self, files: usize) {
        set(&self.bad_manifests, files);
    }
}
