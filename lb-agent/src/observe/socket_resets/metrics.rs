//! What is told of resets by /metrics. Owns names and labels.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{
    observe::names,
    sockets::destroy::{Failure, Outcome},
};

/// Of connected UDP sockets whose backend stopped serving.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Those that were reset.
    pub(crate) sockets: Counter,
    /// Attempts that failed.
    pub(crate) failures: Family<FailureLabels, Counter>,
    /// Those that the last look left as they were.
    pub(crate) stale: Gauge,
    /// 1 if sockets of every namespace can be reset.
    pub(crate) enabled: Gauge,
}

/// Why an attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct FailureLabels {
    /// The label.
    pub(crate) reason: Failure,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn new(r: &mut Registry) -> Self {
        let m = Self {
            sockets: Counter::default(),
            failures: Family::default(),
            stale: Gauge::default(),
            enabled: Gauge::default(),
        };
        for reason in Failure::ALL {
            drop(m.failures.get_or_create(&FailureLabels { reason }));
        }
        r.register(
            "udp_sockets_reset",
            "Connected UDP sockets whose backend stopped serving, reset so that their owners connect anew",
            m.sockets.clone(),
        );
        r.register(
            "udp_reset_failures",
            "Attempts to reset such a socket that failed",
            m.failures.clone(),
        );
        r.register(
            names::UDP_STALE,
            "Such sockets that could not be reset, by the last look; always 0 with --socket-reset off",
            m.stale.clone(),
        );
        r.register(
            names::UDP_RESET_ENABLED,
            "1 if such sockets can be reset in every network namespace",
            m.enabled.clone(),
        );
        m
    }

    /// What an attempt did.
    pub(crate) fn tried(&self, outcome: &Outcome) {
        let Outcome {
            reset,
            gone: _,
            failed,
        } = outcome;
        self.sockets.inc_by(*reset);
        for (reason, n) in failed {
            let labels = FailureLabels { reason: *reason };
            self.failures.get_or_create(&labels).inc_by(*n);
        }
        self.stale
            .set(i64::try_from(outcome.left()).unwrap_or(i64::MAX));
    }
}
