//! Metrics and log of the recounts of open connections.

use anyhow::Result;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use tracing::{info, warn};

use super::{metrics::set, once::Once};
use crate::sockets::recount::Recounted;

/// Reports recounts, and each failure once.
#[derive(Debug)]
pub(crate) struct RecountReporter {
    metrics: RecountMetrics,
    failing: Once<String>,
}

impl RecountReporter {
    /// Nothing has been recounted.
    pub(crate) fn new(metrics: RecountMetrics) -> Self {
        Self {
            metrics,
            failing: Once::default(),
        }
    }

    /// A recount has ended.
    pub(crate) fn recounted(&mut self, found: &Result<Recounted>) {
        let error = found.as_ref().err().map(|error| format!("{error:#}"));
        let (appeared, gone) = self.failing.update(error);
        for error in appeared {
            warn!(error, "cannot recount open connections, will retry");
        }
        if let Ok(found) = found {
            if !gone.is_empty() {
                info!("open connections are recounted again");
            }
            self.metrics.recounted(*found);
        }
    }
}

/// What recounts found.
#[derive(Debug)]
pub(crate) struct RecountMetrics {
    sockets: Gauge,
    connections: Gauge,
    drift: Gauge,
    repaired: Counter,
}

impl RecountMetrics {
    /// Registers them.
    pub(crate) fn new(r: &mut Registry) -> Self {
        let m = Self {
            sockets: Gauge::default(),
            connections: Gauge::default(),
            drift: Gauge::default(),
            repaired: Counter::default(),
        };
        r.register(
            "sockets",
            "Sockets whose destination is translated, by the last recount",
            m.sockets.clone(),
        );
        r.register(
            "open_connections",
            "Open connections of such sockets, by the last recount",
            m.connections.clone(),
        );
        r.register(
            "connections_drift",
            "By how much the running counts of open connections were off at the last recount",
            m.drift.clone(),
        );
        r.register(
            "connections_repaired",
            "Open connections by which running counts were repaired",
            m.repaired.clone(),
        );
        m
    }

    fn recounted(&self, found: Recounted) {
        let Recounted {
            sockets,
            connections,
            drift,
            repaired,
        } = found;
        set(&self.sockets, sockets);
        set(&self.connections, connections);
        set(&self.drift, drift);
        self.repaired.inc_by(repaired);
    }
}
