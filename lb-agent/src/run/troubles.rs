//! What is wrong with the devices: named ones that are not there, and programs that cannot be attached. Owns that each is
//! logged once, when it is new, and shown as a metric as long as it lasts.

use anyhow::Error;
use prometheus_client::metrics::gauge::Gauge;
use tracing::{error, info, warn};

use crate::serve::metrics::Metrics;

/// What has been said already.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    missing: Vec<String>,
    attach: Vec<String>,
}

impl Troubles {
    /// Named devices that are not there now.
    pub(super) fn missing(&mut self, now: &[String], metrics: &Metrics) {
        let now = now.to_vec();
        let (came, went) = replace(&mut self.missing, now, &metrics.missing_devices);
        for device in came {
            warn!(
                device,
                "a flag names this device, and it is not there: going on without it until it appears"
            );
        }
        for device in went {
            info!(device, "the device is there now");
        }
    }

    /// What could not be attached this time.
    pub(super) fn attach(&mut self, now: &[Error], metrics: &Metrics) {
        let now = now.iter().map(|problem| format!("{problem:#}")).collect();
        let (came, went) = replace(&mut self.attach, now, &metrics.attach_problems);
        for problem in came {
            error!(error = problem, "cannot attach, trying again");
        }
        if self.attach.is_empty() && !went.is_empty() {
            info!("everything is attached now");
        }
    }
}

/// Takes the new list over: what came with it, and what went.
fn replace(told: &mut Vec<String>, now: Vec<String>, gauge: &Gauge) -> (Vec<String>, Vec<String>) {
    gauge.set(i64::try_from(now.len()).unwrap_or(i64::MAX));
    let before = std::mem::replace(told, now);
    let without = |all: &[String], known: &[String]| -> Vec<String> {
        let fresh = all.iter().filter(|text| !known.contains(text));
        fresh.cloned().collect()
    };
    (without(told, &before), without(&before, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_not_said_again() {
        let gauge = Gauge::default();
        let all =
            |texts: &[&str]| -> Vec<String> { texts.iter().map(ToString::to_string).collect() };
        let mut told = Vec::new();
        for (now, came, went) in [
            (all(&["a"]), all(&["a"]), all(&[])),
            (all(&["a"]), all(&[]), all(&[])),
            (all(&["b", "a"]), all(&["b"]), all(&[])),
            (all(&["b"]), all(&[]), all(&["a"])),
        ] {
            let n = i64::try_from(now.len()).unwrap();
            assert_eq!(replace(&mut told, now, &gauge), (came, went));
            assert_eq!(gauge.get(), n);
        }
    }
}
