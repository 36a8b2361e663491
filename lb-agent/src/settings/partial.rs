//! Settings of which any may be missing: those of the flags, or those of the file.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::values::{
    BindHold, ClientRate, Conntrack, Devices, Lb0Mode, LogFormat, MapCapacity, NodePortAddress,
    PortRange, ServiceMetrics, SnatPorts, SocketLb, SocketReset, Source, XdpMode, defaults,
};
use crate::model::{Cidr, Forwarding, PassiveHealth, Removal, Scheduler};

/// The settings of one source; `None`: not given. [`Config`](super::Config) documents each of them.
#[derive(Clone, PartialEq, Debug, Default)]
#[expect(missing_docs, reason = "each is a field of Config, by the same name")]
pub struct Partial {
    pub source: Option<Source>,
    pub node_name: Option<String>,
    pub node_ip: Option<IpAddr>,
    pub devices: Option<Devices>,
    pub xdp: Option<Vec<String>>,
    pub xdp_mode: Option<XdpMode>,
    pub socket_lb: Option<SocketLb>,
    pub socket_reset: Option<SocketReset>,
    pub bind_hold: Option<BindHold>,
    pub lb0: Option<Lb0Mode>,
    pub service_cidrs: Option<Vec<Cidr>>,
    pub cluster_cidrs: Option<Vec<Cidr>>,
    pub cgroup: Option<PathBuf>,
    pub bpf_dir: Option<PathBuf>,
    pub health_address: Option<SocketAddr>,
    pub metrics_address: Option<SocketAddr>,
    pub bind_hard_fail: Option<bool>,
    pub service_metrics: Option<ServiceMetrics>,
    pub scheduler: Option<Scheduler>,
    pub removal: Option<Removal>,
    pub forwarding: Option<Forwarding>,
    pub passive_health: Option<PassiveHealth>,
    pub node_port_addresses: Option<Vec<NodePortAddress>>,
    pub external_ip_cidrs: Option<Vec<Cidr>>,
    pub cluster_key_file: Option<PathBuf>,
    pub snat_ports: Option<Vec<SnatPorts>>,
    pub node_port_range: Option<PortRange>,
    pub map_capacity: Option<Vec<MapCapacity>>,
    pub state_dir: Option<PathBuf>,
    pub client_rate: Option<ClientRate>,
    pub min_sync_period: Option<Duration>,
    pub sync_period: Option<Duration>,
    pub oom_score_adj: Option<i64>,
    pub conntrack: Option<Conntrack>,
    pub log_format: Option<LogFormat>,
    pub log_level: Option<String>,
}

impl Partial {
    /// Format and filter of the log.
    #[must_use]
    pub fn log(&self) -> (LogFormat, &str) {
        let filter = self.log_level.as_deref();
        (
            self.log_format.unwrap_or_default(),
            filter.unwrap_or(defaults::LOG_LEVEL),
        )
    }

    /// Takes each setting from `self`, and from `other` where `self` has none.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            source: self.source.or(other.source),
            node_name: self.node_name.or(other.node_name),
            node_ip: self.node_ip.or(other.node_ip),
            devices: self.devices.or(other.devices),
            xdp: self.xdp.or(other.xdp),
            xdp_mode: self.xdp_mode.or(other.xdp_mode),
            socket_lb: self.socket_lb.or(other.socket_lb),
            socket_reset: self.socket_reset.or(other.socket_reset),
            bind_hold: self.bind_hold.or(other.bind_hold),
            lb0: self.lb0.or(other.lb0),
            service_cidrs: self.service_cidrs.or(other.service_cidrs),
            cluster_cidrs: self.cluster_cidrs.or(other.cluster_cidrs),
            cgroup: self.cgroup.or(other.cgroup),
            bpf_dir: self.bpf_dir.or(other.bpf_dir),
            health_address: self.health_address.or(other.health_address),
            metrics_address: self.metrics_address.or(other.metrics_address),
            bind_hard_fail: self.bind_hard_fail.or(other.bind_hard_fail),
            service_metrics: self.service_metrics.or(other.service_metrics),
            scheduler: self.scheduler.or(other.scheduler),
            removal: self.removal.or(other.removal),
            forwarding: self.forwarding.or(other.forwarding),
            passive_health: self.passive_health.or(other.passive_health),
            node_port_addresses: self.node_port_addresses.or(other.node_port_addresses),
            external_ip_cidrs: self.external_ip_cidrs.or(other.external_ip_cidrs),
            cluster_key_file: self.cluster_key_file.or(other.cluster_key_file),
            snat_ports: self.snat_ports.or(other.snat_ports),
            node_port_range: self.node_port_range.or(other.node_port_range),
            map_capacity: self.map_capacity.or(other.map_capacity),
            state_dir: self.state_dir.or(other.state_dir),
            client_rate: self.client_rate.or(other.client_rate),
            min_sync_period: self.min_sync_period.or(other.min_sync_period),
            sync_period: self.sync_period.or(other.sync_period),
            oom_score_adj: self.oom_score_adj.or(other.oom_score_adj),
            conntrack: match (self.conntrack, other.conntrack) {
                (Some(ours), Some(theirs)) => Some(ours.or(theirs)),
                (ours, theirs) => ours.or(theirs),
            },
            log_format: self.log_format.or(other.log_format),
            log_level: self.log_level.or(other.log_level),
        }
    }
}
