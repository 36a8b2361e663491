//! Metrics of what is wrong with this machine.

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

/// How many things are wrong, by what is concerned.
#[derive(Debug)]
pub(crate) struct NodeMetrics {
    pub(super) missing_devices: Gauge,
    pub(super) lb0_problems: Gauge,
    pub(super) attach_problems: Gauge,
}

impl NodeMetrics {
    /// Registers them.
    pub(crate) fn new(r: &mut Registry) -> Self {
        let m = Self {
            missing_devices: Gauge::default(),
            lb0_problems: Gauge::default(),
            attach_problems: Gauge::default(),
        };
        r.register(
            "missing_devices",
            "Devices named by --devices, --attach-tc or --attach-xdp that do not exist",
            m.missing_devices.clone(),
        );
        r.register(
            "lb0_problems",
            "Problems of the device lb0 and of the routes that lead to it: see the log",
            m.lb0_problems.clone(),
        );
        r.register(
            "attach_problems",
            "Programs that cannot be attached to a device: see the log",
            m.attach_problems.clone(),
        );
        m
    }
}
