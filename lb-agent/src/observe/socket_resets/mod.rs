//! Metrics and log of the resets of stale UDP sockets.

pub(crate) mod metrics;

use anyhow::Result;
use tracing::{info, warn};

use self::metrics::Metrics;
use super::once::Once;
use crate::sockets::destroy::{Failure, Outcome};

/// Reports every reset, and each kind of failure once.
#[derive(Debug)]
pub(crate) struct ResetReporter {
    metrics: Metrics,
    failed: Once<Failure>,
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
                "stale connected UDP sockets are not repaired in other network namespaces: {missing}"
            ),
        }
    }

    /// The result of a look for stale sockets.
    pub(crate) fn looked(&mut self, looked: Result<Outcome>) {
        let error = looked.as_ref().err().map(|error| format!("{error:#}"));
        let (appeared, _) = self.failing.update(error);
        for error in appeared {
            warn!(error, "cannot look for stale UDP sockets, will retry");
        }
        let Ok(outcome) = looked else { return };
        self.metrics.tried(&outcome);
        if outcome.reset > 0 {
            info!(
                sockets = outcome.reset,
                "reset connected UDP sockets whose backend stopped serving"
            );
        }
        let (appeared, _) = self.failed.update(outcome.failed.keys().copied());
        for failure in appeared {
            let sockets = outcome.failed.get(&failure);
            warn!(
                sockets,
                "connected UDP sockets hold on to a backend that stopped serving: {failure}"
            );
        }
    }
}
