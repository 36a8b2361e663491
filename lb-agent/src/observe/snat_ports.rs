//! Log and metric of the ports of rewritten sources.

use anyhow::Result;
use lb_common::flow::PortRanges;
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tracing::{info, warn};

use super::{metrics::set, names, once::Once};
use crate::flows::{
    port_table::{FEW, Refreshed},
    ports::in_words,
};

/// Reports changes of the ports, and each failure once.
#[derive(Debug)]
pub(crate) struct SnatPortReporter {
    metrics: SnatPortMetrics,
    failing: Once<String>,
}

/// How many ports there are.
#[derive(Debug)]
pub(crate) struct SnatPortMetrics(Gauge);

impl SnatPortMetrics {
    /// Registers it.
    pub(crate) fn new(r: &mut Registry) -> Self {
        let gauge = Gauge::default();
        r.register(
            names::SNAT_PORTS,
            "Ports that a rewritten source may get besides the client's own",
            gauge.clone(),
        );
        Self(gauge)
    }
}

impl SnatPortReporter {
    /// Nothing has been read.
    pub(crate) fn new(metrics: SnatPortMetrics) -> Self {
        Self {
            metrics,
            failing: Once::default(),
        }
    }

    /// The ports were looked at.
    pub(crate) fn refreshed(&mut self, result: &Result<Refreshed>) {
        let error = result.as_ref().err().map(|error| format!("{error:#}"));
        let (appeared, gone) = self.failing.update(error);
        for error in appeared {
            warn!(
                error,
                "ports of rewritten sources stay as they are, will retry"
            );
        }
        if !gone.is_empty() {
            info!("ports of rewritten sources follow this machine again");
        }
        match result {
            Ok(Refreshed::Same(ports)) => set(&self.metrics.0, ports.total),
            Ok(Refreshed::New(ports)) => self.changed(ports),
            Err(_) => {}
        }
    }

    fn changed(&self, ports: &PortRanges) {
        set(&self.metrics.0, ports.total);
        let (total, ports) = (ports.total, in_words(ports));
        if total < FEW {
            warn!(
                total,
                ports,
                "few ports for rewritten sources: narrow net.ipv4.ip_local_port_range, or see --snat-ports"
            );
        } else {
            info!(total, ports, "ports for rewritten sources");
        }
    }
}
