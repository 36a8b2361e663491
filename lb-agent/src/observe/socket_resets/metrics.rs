//! What is told of resets by /metrics. Owns names and labels.

use lb_common::Proto;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{
    observe::names,
    sockets::destroy::{Failure, Outcome},
};

/// Of connected sockets whose backend stopped serving.
#[derive(Debug)]
pub(crate) struct Metrics {
    udp: OfProtocol,
    tcp: OfProtocol,
    /// 1 if sockets of every namespace can be reset.
    pub(crate) enabled: Gauge,
}

#[derive(Debug, Default)]
struct OfProtocol {
    /// Those that were reset.
    sockets: Counter,
    /// Attempts that failed.
    failures: Family<FailureLabels, Counter>,
    /// Those that the last look left as they were.
    stale: Gauge,
}

/// Why an attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct FailureLabels {
    /// The label.
    pub(crate) reason: Failure,
}

impl OfProtocol {
    fn new() -> Self {
        let m = Self::default();
        for reason in Failure::ALL {
            drop(m.failures.get_or_create(&FailureLabels { reason }));
        }
        m
    }
}

impl Metrics {
    /// Registers them.
    pub(crate) fn new(r: &mut Registry) -> Self {
        let m = Self {
            udp: OfProtocol::new(),
            tcp: OfProtocol::new(),
            enabled: Gauge::default(),
        };
        r.register(
            "udp_sockets_reset",
            "Connected UDP sockets whose backend stopped serving, reset so that their owners connect anew",
            m.udp.sockets.clone(),
        );
        r.register(
            "udp_reset_failures",
            "Attempts to reset such a socket that failed",
            m.udp.failures.clone(),
        );
        r.register(
            names::UDP_STALE,
            "Such sockets that could not be reset, by the last look; always 0 with --socket-reset off",
            m.udp.stale.clone(),
        );
        r.register(
            names::UDP_RESET_ENABLED,
            "1 if such sockets can be reset in every network namespace",
            m.enabled.clone(),
        );
        r.register(
            "tcp_sockets_reset",
            "Connected TCP sockets that were reset since their Service wants it: their backend has left it, or they are too old",
            m.tcp.sockets.clone(),
        );
        r.register(
            "tcp_reset_failures",
            "Attempts to reset such a socket that failed",
            m.tcp.failures.clone(),
        );
        r.register(
            "tcp_sockets_stale",
            "Such sockets that could not be reset, by the last look; always 0 with --socket-reset off",
            m.tcp.stale.clone(),
        );
        m
    }

    /// What an attempt did.
    pub(crate) fn tried(&self, proto: Proto, outcome: &Outcome) {
        let Outcome {
            reset,
            gone: _,
            failed,
        } = outcome;
        let of = if proto == Proto::Udp {
            &self.udp
        } else {
            &self.tcp
        };
        of.sockets.inc_by(*reset);
        for (reason, n) in failed {
            let labels = FailureLabels { reason: *reason };
            of.failures.get_or_create(&labels).inc_by(*n);
        }
        of.stale
            .set(i64::try_from(outcome.left()).unwrap_or(i64::MAX));
    }
}
