//! The defaults of settings, below flags, variables and the file.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// Directory of the pins.
pub const BPF_DIR: &str = "/sys/fs/bpf/lb";
/// Directory of what survives a reboot.
pub const STATE_DIR: &str = "/var/lib/lb-agent";
/// kube-proxy's port of /healthz.
pub const HEALTH_PORT: u16 = 10256;
/// kube-proxy's port of /metrics.
pub const METRICS_PORT: u16 = 10249;
/// Where /livez, /readyz and /healthz are served.
pub const HEALTH_ADDRESS: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), HEALTH_PORT);
/// Where /metrics is served.
pub const METRICS_ADDRESS: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), METRICS_PORT);
/// Interval of the map audit, as kube-proxy's resync.
pub const SYNC_PERIOD: Duration = Duration::from_secs(30);
/// Filter of the log.
pub const LOG_LEVEL: &str = "info";
