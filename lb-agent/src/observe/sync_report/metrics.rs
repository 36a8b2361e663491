//! Metrics of syncs and of what they program.

use std::{
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use super::super::{
    labels::{Kind, KindLabels, MapLabels, SkipLabels, SkipReason, SyncLabels, SyncResult},
    metrics::set,
    names,
};
use crate::sync::Writes;

/// What syncs received, took and wrote.
#[derive(Debug)]
pub(crate) struct SyncMetrics {
    duration: Histogram,
    network_programming: Histogram,
    last: Gauge<f64, AtomicU64>,
    syncs: Family<SyncLabels, Counter>,
    map_writes: Family<MapLabels, Counter>,
    changes: Family<KindLabels, Counter>,
    with_problems: Gauge,
    skipped_ports: Family<SkipLabels, Gauge>,
}

impl SyncMetrics {
    /// Registers them, with every series at zero.
    pub(crate) fn new(r: &mut Registry) -> Self {
        let m = Self {
            // 100 µs to 1.6 s, and 1 ms to 524 s.
            duration: Histogram::new(exponential_buckets(0.0001, 2.0, 15)),
            network_programming: Histogram::new(exponential_buckets(0.001, 2.0, 20)),
            last: Gauge::default(),
            syncs: Family::default(),
            map_writes: Family::default(),
            changes: Family::default(),
            with_problems: Gauge::default(),
            skipped_ports: Family::default(),
        };
        for result in [SyncResult::ok, SyncResult::failed] {
            drop(m.syncs.get_or_create(&SyncLabels { result }));
        }
        for kind in Kind::OF_MODEL {
            m.received(kind, 0);
        }
        m.wrote(&Writes::default());
        m.skipped(0);
        m.register(r);
        m
    }

    fn register(&self, r: &mut Registry) {
        r.register_with_unit(
            "sync_duration",
            "Time of one sync, from the desired state to the maps",
            Unit::Seconds,
            self.duration.clone(),
        );
        r.register_with_unit(
            "network_programming_duration",
            "Time from the change of an endpoint until it is in the maps",
            Unit::Seconds,
            self.network_programming.clone(),
        );
        r.register_with_unit(
            "sync_last_timestamp",
            "Unix time of the last sync",
            Unit::Seconds,
            self.last.clone(),
        );
        r.register("syncs", "Syncs by result", self.syncs.clone());
        r.register(
            "map_writes",
            "Map entries written or removed",
            self.map_writes.clone(),
        );
        r.register(
            "changes",
            "Objects received from the API server",
            self.changes.clone(),
        );
        r.register(
            names::SERVICES_WITH_PROBLEMS,
            "Services that are only partly programmed: see the log",
            self.with_problems.clone(),
        );
        r.register(
            "skipped_ports",
            "Ports of Services that are not programmed, by reason: see the Events of the Services",
            self.skipped_ports.clone(),
        );
    }

    /// Objects of a kind were received.
    pub(super) fn received(&self, kind: Kind, n: u64) {
        self.changes.get_or_create(&KindLabels { kind }).inc_by(n);
    }

    /// A sync took this long.
    pub(super) fn synced(&self, took: Duration, result: SyncResult) {
        self.duration.observe(took.as_secs_f64());
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.last.set(now.map_or(0.0, |d| d.as_secs_f64()));
        self.syncs.get_or_create(&SyncLabels { result }).inc();
    }

    /// A change of an `EndpointSlice` took this long, from its trigger time until it was in the
    /// maps.
    pub(super) fn programmed(&self, seconds: f64) {
        self.network_programming.observe(seconds);
    }

    /// Elements written by a sync, a settlement or an audit.
    pub(super) fn wrote(&self, writes: &Writes) {
        for (table, n) in writes.iter() {
            self.map_writes
                .get_or_create(&MapLabels { map: table.name() })
                .inc_by(n);
        }
    }

    /// Services that are only partly programmed.
    pub(super) fn with_problems(&self, services: usize) {
        set(&self.with_problems, services);
    }

    /// Ports that are not programmed for this node's own clients, since they are SCTP and there is
    /// no `lb0`.
    pub(super) fn skipped(&self, sctp: usize) {
        let reason = SkipReason::sctp_without_lb0;
        set(
            &self.skipped_ports.get_or_create(&SkipLabels { reason }),
            sctp,
        );
    }
}
