//! Metrics of what is wrong with this machine.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::super::names;

/// How many things are wrong, by what is concerned.
#[derive(Debug)]
pub(crate) struct NodeMetrics {
    pub(super) missing_devices: Gauge,
    pub(super) left_out_devices: Gauge,
    pub(super) lb0_problems: Gauge,
    pub(super) masquerade_problems: Gauge,
    pub(super) held_devices: Gauge,
    pub(super) attach_problems: Gauge,
    pub(super) lost_programs: Counter,
    pub(super) misplaced_programs: Gauge,
    pub(super) unwatched_devices: Family<DeviceLabels, Gauge>,
}

/// Which device.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct DeviceLabels {
    pub(super) device: String,
}

impl NodeMetrics {
    /// Registers them.
    pub(crate) fn new(r: &mut Registry) -> Self {
        let m = Self {
            missing_devices: Gauge::default(),
            left_out_devices: Gauge::default(),
            lb0_problems: Gauge::default(),
            masquerade_problems: Gauge::default(),
            held_devices: Gauge::default(),
            attach_problems: Gauge::default(),
            lost_programs: Counter::default(),
            misplaced_programs: Gauge::default(),
            unwatched_devices: Family::default(),
        };
        r.register(
            names::MISSING_DEVICES,
            "Devices named by --devices, --attach-tc or --attach-xdp that do not exist",
            m.missing_devices.clone(),
        );
        r.register(
            names::LEFT_OUT_DEVICES,
            "Devices that --devices or --attach-tc leaves out, and that endpoints of other nodes are routed over: their replies are not translated",
            m.left_out_devices.clone(),
        );
        r.register(
            names::LB0_PROBLEMS,
            "Problems of the device lb0 and of the routes that lead to it: see the log",
            m.lb0_problems.clone(),
        );
        r.register(
            names::MASQUERADE_PROBLEMS,
            "1 if backends on this node see clients although their Services ask for snat: see the log",
            m.masquerade_problems.clone(),
        );
        r.register(
            "devices_with_cluster_ips",
            "Devices that have cluster IPs which no process serves: another proxy may have left them behind",
            m.held_devices.clone(),
        );
        r.register(
            names::ATTACH_PROBLEMS,
            "Programs that cannot be attached to a device: see the log",
            m.attach_problems.clone(),
        );
        r.register(
            "lost_programs",
            "Programs that were found detached by another process, and are attached again",
            m.lost_programs.clone(),
        );
        r.register(
            names::MISPLACED_PROGRAMS,
            "Programs on a device that another one runs in front of at ingress, or behind at egress",
            m.misplaced_programs.clone(),
        );
        r.register(
            names::UNWATCHED_DEVICES,
            "1 for each device that replies may leave by and that no program watches",
            m.unwatched_devices.clone(),
        );
        m
    }
}
