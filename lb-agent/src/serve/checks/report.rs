//! Metrics, log and Events of the health check ports.

use std::net::SocketAddr;

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tracing::{info, warn};

use super::At;
use crate::{
    model::ObjectKey,
    observe::{
        events::{About, EventQueue, EventRequest},
        metrics::set,
        once::Once,
    },
};

/// Reports each failure once: in the log for every address, as an Event for every port.
#[derive(Debug)]
pub struct CheckReporter {
    node: String,
    events: EventQueue,
    metrics: CheckMetrics,
    failed: Once<(At, String)>,
    failed_ports: Once<(ObjectKey, u16)>,
}

impl CheckReporter {
    /// Nothing listens, on our Node `node`.
    #[must_use]
    pub fn new(node: String, events: EventQueue, metrics: CheckMetrics) -> Self {
        Self {
            node,
            events,
            metrics,
            failed: Once::default(),
            failed_ports: Once::default(),
        }
    }

    /// The addresses that `listen` now, and those that cannot, with the errors.
    pub(super) fn update(&mut self, listen: &[At], failed: &[(At, String)]) {
        set(&self.metrics.listeners, listen.len());
        set(&self.metrics.failures, failed.len());
        let (appeared, gone) = self.failed.update(failed.iter().cloned());
        for ((service, address), error) in appeared {
            warn!(%service, %address, error, "health check cannot listen, will retry: load balancers see this node as down");
        }
        for (at, _) in gone.iter().filter(|(at, _)| listen.contains(at)) {
            let (service, address) = at;
            info!(%service, %address, "health check listens after a retry");
        }
        let ports = failed.iter().map(|(at, _)| port(at));
        let (appeared, _) = self.failed_ports.update(ports);
        for port_failed in appeared {
            let first = failed.iter().find(|(at, _)| port(at) == port_failed);
            let Some(((service, address), error)) = first else {
                continue;
            };
            self.request(service, *address, error);
        }
    }

    fn request(&self, service: &ObjectKey, address: SocketAddr, error: &str) {
        self.events.push(EventRequest {
            about: About::Service(service.clone()),
            reason: "FailedToStartServiceHealthcheck",
            action: "Listen",
            text: format!(
                "node {} cannot listen for health checks of {service} on {address}: {error}; it will retry",
                self.node
            ),
        });
    }
}

fn port((service, address): &At) -> (ObjectKey, u16) {
    (service.clone(), address.port())
}

/// How many addresses listen, and how many cannot.
#[derive(Debug)]
pub struct CheckMetrics {
    listeners: Gauge,
    failures: Gauge,
}

impl CheckMetrics {
    /// Registers them.
    pub fn new(r: &mut Registry) -> Self {
        let m = Self {
            listeners: Gauge::default(),
            failures: Gauge::default(),
        };
        r.register(
            "health_check_listeners",
            "Addresses and healthCheckNodePorts of Services on which health checks are answered",
            m.listeners.clone(),
        );
        r.register(
            "health_check_failures",
            "Addresses and healthCheckNodePorts of Services that cannot be listened on: see the log",
            m.failures.clone(),
        );
        m
    }
}
