//! Metrics and log of the sweeps of the flow tables.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use lb_common::flow::State;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tracing::{info, warn};

use super::{labels::MapLabels, metrics::set, once::Once};
use crate::flows::sweep::{Step, SweptMap};

/// Reports sweeps, and each failure once.
#[derive(Debug)]
pub(crate) struct FlowSweepReporter {
    metrics: FlowSweepMetrics,
    failing: Once<String>,
    /// Of the sweep that is going on.
    worked: Duration,
}

/// What sweeps met and removed.
#[derive(Debug)]
pub(crate) struct FlowSweepMetrics {
    removed: Family<MapLabels, Counter>,
    flows: Family<StateLabels, Gauge>,
    duration: Gauge<f64, std::sync::atomic::AtomicU64>,
    repaired: Counter,
}

/// A flow's state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

impl FlowSweepMetrics {
    /// Registers them.
    pub(crate) fn new(r: &mut Registry) -> Self {
        let m = Self {
            removed: Family::default(),
            flows: Family::default(),
            duration: Gauge::default(),
            repaired: Counter::default(),
        };
        for map in SweptMap::ALL {
            drop(m.removed.get_or_create(&map_labels(map.spec().name)));
        }
        m.count(&BTreeMap::new());
        r.register(
            "flow_entries_swept",
            "Entries removed since their time was over, by map",
            m.removed.clone(),
        );
        r.register(
            "flows",
            "Flows of the packet path by state, at the last sweep",
            m.flows.clone(),
        );
        r.register(
            "flow_sweep_duration_seconds",
            "Time that the last sweep worked, pauses between its steps left out",
            m.duration.clone(),
        );
        r.register(
            "flow_counts_repaired",
            "Flows by which the running counts of backends were repaired",
            m.repaired.clone(),
        );
        m
    }

    fn count(&self, flows: &BTreeMap<State, u64>) {
        for state in State::ALL {
            let labels = StateLabels {
                state: state.name(),
            };
            let n = flows.get(&state).copied().unwrap_or_default();
            set(&self.flows.get_or_create(&labels), n);
        }
    }
}

const fn map_labels(map: &'static str) -> MapLabels {
    MapLabels { map }
}

impl FlowSweepReporter {
    /// Nothing has been swept.
    pub(crate) fn new(metrics: FlowSweepMetrics) -> Self {
        Self {
            metrics,
            failing: Once::default(),
            worked: Duration::ZERO,
        }
    }

    /// A step has ended.
    pub(crate) fn stepped(&mut self, step: &Result<Step>, took: Duration) {
        let error = step.as_ref().err().map(|error| format!("{error:#}"));
        let (appeared, gone) = self.failing.update(error);
        for error in appeared {
            warn!(error, "cannot sweep the flow tables, will retry");
        }
        if !gone.is_empty() {
            info!("the flow tables are swept again");
        }
        let Ok(step) = step else { return };
        self.worked += took;
        self.metrics.repaired.inc_by(step.repaired);
        for (map, n) in &step.removed {
            self.metrics
                .removed
                .get_or_create(&map_labels(map))
                .inc_by(*n);
        }
        if let Some(flows) = &step.ended {
            self.metrics.count(flows);
            let worked = std::mem::take(&mut self.worked);
            self.metrics.duration.set(worked.as_secs_f64());
        }
    }
}
