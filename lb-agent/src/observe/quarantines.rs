//! Log, metrics and Events of backends in quarantine.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use tracing::{info, warn};

use super::{
    events::{About, EventQueue, EventRequest},
    metrics::set,
};
use crate::{model::ObjectKey, quarantine::Change};

/// Reports each change.
#[derive(Debug)]
pub(crate) struct QuarantineReporter {
    events: EventQueue,
    metrics: QuarantineMetrics,
}

/// How many there are, and were.
#[derive(Debug)]
pub(crate) struct QuarantineMetrics {
    now: Gauge,
    begun: Counter,
    ended: Counter,
}

impl QuarantineMetrics {
    /// Registers them.
    pub(crate) fn new(r: &mut Registry) -> Self {
        let m = Self {
            now: Gauge::default(),
            begun: Counter::default(),
            ended: Counter::default(),
        };
        r.register(
            "quarantined_backends",
            "TCP backends that answer no handshake of this node's, in Services with passive health",
            m.now.clone(),
        );
        r.register(
            "quarantines",
            "How often a backend of a Service began to answer no handshake",
            m.begun.clone(),
        );
        r.register(
            "quarantines_ended",
            "How often such a backend answered again, or was tried by clients again",
            m.ended.clone(),
        );
        m
    }
}

impl QuarantineReporter {
    /// Nobody is in quarantine.
    pub(crate) fn new(events: EventQueue, metrics: QuarantineMetrics) -> Self {
        Self { events, metrics }
    }

    /// What has changed, and who is in quarantine now.
    pub(crate) fn changed(
        &self,
        quarantined: &BTreeMap<ObjectKey, Vec<SocketAddr>>,
        changes: &[(ObjectKey, SocketAddr, Change)],
    ) {
        self.counted(quarantined);
        for (service, at, change) in changes {
            let text = match change {
                Change::Failed => {
                    self.metrics.begun.inc();
                    warn!(%service, backend = %at, "handshakes fail: the backend is in quarantine");
                    format!(
                        "{at} answers no TCP handshake from this node: it gets no new connections from here until it answers again, unless half of the endpoints are out already"
                    )
                }
                Change::Answered => {
                    self.metrics.ended.inc();
                    info!(%service, backend = %at, "answers again: the backend is out of quarantine");
                    continue;
                }
                Change::Released => {
                    self.metrics.ended.inc();
                    info!(%service, backend = %at, "clients try the backend again: it was in quarantine for long");
                    continue;
                }
            };
            self.events.push(EventRequest {
                about: About::Service(service.clone()),
                reason: "BackendQuarantined",
                action: "Balance",
                text,
            });
        }
    }

    /// Who is in quarantine now.
    pub(crate) fn counted(&self, quarantined: &BTreeMap<ObjectKey, Vec<SocketAddr>>) {
        let all: BTreeSet<&SocketAddr> = quarantined.values().flatten().collect();
        set(&self.metrics.now, all.len() as u64);
    }
}
