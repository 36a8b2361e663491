//! Metrics and log of the resets of sockets whose backend is gone.

pub(crate) mod metrics;

use anyhow::Result;
use lb_common::Proto;
use tracing::{info, warn};

use self::metrics::Metrics;
use super::once::Once;
use crate::sockets::destroy::{Failure, Outcome};

/// Reports every reset, and each kind of failure once.
#[derive(Debug)]
pub(crate) struct ResetReporter {
    metrics: Metrics,
    failed: Once<(&'static str, Failure)>,
    failing: Once<String>,
}

impl ResetReporter {
    /// Nothing has been looked for.
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            failed: Once::default(),
            failing: Once::default(),
        }
    }

    /// Whether sockets of every network namespace can be reset, or what is missing for that.
    pub(crate) fn probed(&self, probed: Result<(), Failure>) {
        match probed {
            Ok(()) => {
                self.metrics.enabled.set(1);
            }
            Err(missing) => warn!(
                "sockets whose backend is gone are not repaired in other network namespaces: {missing}"
            ),
        }
    }

    /// The result of a look for stale sockets.
    pub(crate) fn looked(&mut self, looked: Result<[(Proto, Outcome); 2]>) {
        let error = looked.as_ref().err().map(|error| format!("{error:#}"));
        let (appeared, _) = self.failing.update(error);
        for error in appeared {
            warn!(error, "cannot look for stale sockets, will retry");
        }
        let Ok(outcomes) = looked else { return };
        for (proto, outcome) in &outcomes {
            self.metrics.tried(*proto, outcome);
            if outcome.reset > 0 {
                info!(
                    %proto,
                    sockets = outcome.reset,
                    "reset connected sockets whose backend stopped serving, or which are too old"
                );
            }
        }
        let failed = outcomes.iter().flat_map(|(proto, outcome)| {
            let of = name(*proto);
            outcome.failed.keys().map(move |failure| (of, *failure))
        });
        let (appeared, _) = self.failed.update(failed);
        for (proto, failure) in appeared {
            let of = outcomes.iter().find(|(of, _)| name(*of) == proto);
            let sockets = of.and_then(|(_, outcome)| outcome.failed.get(&failure));
            warn!(
                sockets,
                "connected {proto} sockets hold on to a backend that stopped serving: {failure}"
            );
        }
    }
}

const fn name(proto: Proto) -> &'static str {
    match proto {
        Proto::Udp => "UDP",
        _ => "TCP",
    }
}
