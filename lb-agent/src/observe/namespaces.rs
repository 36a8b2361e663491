//! Metric of network namespaces whose sockets are left alone.

use std::collections::{BTreeMap, BTreeSet};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use super::metrics::set;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Labels {
    reason: &'static str,
}

/// Reasons that are shown also when none has them.
const ALWAYS: [&str; 3] = ["rules", "address", "annotation"];

/// How many there are, by reason: those of [`Because`](crate::clients::Because).
#[derive(Debug)]
pub(crate) struct NamespaceMetrics {
    family: Family<Labels, Gauge>,
    unread: Gauge,
    without_room: Gauge,
    /// The reasons that were shown so far.
    shown: BTreeSet<&'static str>,
}

impl NamespaceMetrics {
    /// Registers it.
    pub(crate) fn new(r: &mut Registry) -> Self {
        let family = Family::default();
        r.register(
            "network_namespaces_left_alone",
            "Network namespaces whose sockets are not translated (--socket-lb auto)",
            family.clone(),
        );
        let (unread, without_room) = (Gauge::default(), Gauge::default());
        r.register(
            "network_namespaces_unread",
            "Network namespaces that could not be looked into (--socket-lb auto): see the log",
            unread.clone(),
        );
        r.register(
            "network_namespaces_without_room",
            "Network namespaces whose sockets are translated because lb_netns is full",
            without_room.clone(),
        );
        Self {
            family,
            unread,
            without_room,
            shown: ALWAYS.into(),
        }
    }

    /// Why each of them is, now.
    pub(crate) fn set(&mut self, reasons: impl Iterator<Item = &'static str>) {
        let mut counts: BTreeMap<&'static str, i64> =
            self.shown.iter().map(|reason| (*reason, 0)).collect();
        for reason in reasons {
            *counts.entry(reason).or_default() += 1;
        }
        for (reason, count) in counts {
            self.shown.insert(reason);
            self.family.get_or_create(&Labels { reason }).set(count);
        }
    }

    /// How many could not be looked into, now.
    pub(crate) fn set_unread(&self, namespaces: usize) {
        set(&self.unread, namespaces);
    }

    /// How many the map has no room for, now.
    pub(crate) fn set_without_room(&self, namespaces: usize) {
        set(&self.without_room, namespaces);
    }
}
