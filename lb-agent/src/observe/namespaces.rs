//! Metric of network namespaces whose sockets are left alone.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::sockets::namespaces::Reason;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Labels {
    reason: &'static str,
}

/// How many there are, by reason.
#[derive(Debug)]
pub(crate) struct NamespaceMetrics(Family<Labels, Gauge>);

impl NamespaceMetrics {
    /// Registers it.
    pub(crate) fn new(r: &mut Registry) -> Self {
        let family = Family::default();
        r.register(
            "network_namespaces_left_alone",
            "Network namespaces whose sockets are not translated (--socket-lb auto)",
            family.clone(),
        );
        Self(family)
    }

    /// What was found now.
    pub(crate) fn set(&self, reasons: &[Reason]) {
        for (of, reason) in [(Reason::Rules, "rules"), (Reason::Address, "address")] {
            let count = reasons.iter().filter(|reason| **reason == of).count();
            let gauge = self.0.get_or_create(&Labels { reason });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
