//! Flags that belong together, most of which verbs take too. The doc comments are the help.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use crate::settings::values::{Conntrack, PortRange, SnatPorts, defaults, duration};

/// Where the pins are: every verb takes it.
#[derive(Args, Clone, Debug, Default)]
pub struct Pins {
    /// Directory on a bpffs where maps, programs and links are pinned [default: /sys/fs/bpf/lb]
    #[arg(long, env = "LB_AGENT_BPF_DIR", value_name = "DIR")]
    pub bpf_dir: Option<PathBuf>,
}

/// Ports of rewritten sources, for running and for checking.
#[derive(Args, Debug)]
pub struct SnatArgs {
    /// Source ports that a client's packets may get when they are sent on, besides the client's
    /// own: `auto` is every port from 1024 on outside of net.ipv4.ip_local_port_range and
    /// net.ipv4.ip_local_reserved_ports; node ports are left out in any case [default: auto]
    #[arg(
        long,
        env = "LB_AGENT_SNAT_PORTS",
        value_name = "auto|FIRST-LAST,…",
        value_delimiter = ','
    )]
    pub snat_ports: Option<Vec<SnatPorts>>,
    /// The cluster's node ports, as the API server's --service-node-port-range [default:
    /// 30000-32767]
    #[arg(long, env = "LB_AGENT_NODE_PORT_RANGE", value_name = "FIRST-LAST")]
    pub node_port_range: Option<PortRange>,
}

/// How long connections live, under kube-proxy's names.
#[derive(Args, Debug)]
pub struct ConntrackArgs {
    /// How long an established TCP connection may be idle; 0: as long as the kernel's connection
    /// tracking says [default: 24h]
    #[arg(
        long,
        env = "LB_AGENT_CONNTRACK_TCP_TIMEOUT_ESTABLISHED",
        value_name = "DURATION",
        value_parser = period
    )]
    pub conntrack_tcp_timeout_established: Option<Duration>,
    /// How long a TCP connection may be idle that one side has closed and that goes on; 0: as the
    /// kernel says [default: 1h]
    #[arg(
        long,
        env = "LB_AGENT_CONNTRACK_TCP_TIMEOUT_CLOSE_WAIT",
        value_name = "DURATION",
        value_parser = period
    )]
    pub conntrack_tcp_timeout_close_wait: Option<Duration>,
    /// How long a UDP flow of one request and answer may be idle; 0: as the kernel says [default:
    /// 0]
    #[arg(
        long,
        env = "LB_AGENT_CONNTRACK_UDP_TIMEOUT",
        value_name = "DURATION",
        value_parser = period
    )]
    pub conntrack_udp_timeout: Option<Duration>,
    /// How long a UDP flow may be idle that is a stream; 0: as the kernel says [default: 0]
    #[arg(
        long,
        env = "LB_AGENT_CONNTRACK_UDP_TIMEOUT_STREAM",
        value_name = "DURATION",
        value_parser = period
    )]
    pub conntrack_udp_timeout_stream: Option<Duration>,
}

/// Devices, for running and for checking.
#[derive(Args, Debug)]
pub struct DeviceArgs {
    /// Devices that receive traffic from outside the node; `auto` follows the node's addresses and
    /// routes, live [default: auto]
    #[arg(
        long,
        env = "LB_AGENT_DEVICES",
        value_name = "auto|IFACE,…",
        value_delimiter = ','
    )]
    pub devices: Option<Vec<String>>,
    /// Put XDP in front of tc on this device; may be repeated
    #[arg(
        long,
        env = "LB_AGENT_ATTACH_XDP",
        value_name = "IFACE",
        value_delimiter = ','
    )]
    pub attach_xdp: Option<Vec<String>>,
    /// Use this device instead of `--devices auto`; may be repeated
    #[arg(
        long,
        env = "LB_AGENT_ATTACH_TC",
        value_name = "IFACE",
        value_delimiter = ','
    )]
    pub attach_tc: Option<Vec<String>>,
}

/// The cgroup, for running and for checking.
#[derive(Args, Debug)]
pub struct CgroupArg {
    /// The cgroup whose sockets are load-balanced [default: the root of cgroup v2]
    #[arg(long, env = "LB_AGENT_CGROUP", value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
}

/// The health address, for serving and for queries.
#[derive(Args, Debug)]
pub struct HealthArg {
    /// Address of /livez, /readyz and /healthz [default: 0.0.0.0:10256]
    #[arg(long, env = "LB_AGENT_HEALTH_BIND_ADDRESS", value_name = "ADDR")]
    pub health_bind_address: Option<SocketAddr>,
}

/// The metrics address, for serving and for queries.
#[derive(Args, Debug)]
pub struct MetricsArg {
    /// Address of /metrics [default: 127.0.0.1:10249]
    #[arg(long, env = "LB_AGENT_METRICS_BIND_ADDRESS", value_name = "ADDR")]
    pub metrics_bind_address: Option<SocketAddr>,
}

/// The state directory, for keeping and for removing.
#[derive(Args, Debug)]
pub struct StateArg {
    /// Directory for what is kept on disk: the last known addresses of the API server, names of
    /// Services and pods, Events, and which Services are only partly programmed [default: /var/lib/lb-agent]
    #[arg(long, env = "LB_AGENT_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

impl Pins {
    /// The directory, given or by default.
    #[must_use]
    pub fn dir(&self) -> &Path {
        let given = self.bpf_dir.as_deref();
        given.unwrap_or(Path::new(defaults::BPF_DIR))
    }
}

impl StateArg {
    /// The directory, given or by default.
    #[must_use]
    pub fn dir(&self) -> &Path {
        let given = self.state_dir.as_deref();
        given.unwrap_or(Path::new(defaults::STATE_DIR))
    }
}

impl HealthArg {
    /// The address, given or by default.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.health_bind_address.unwrap_or(defaults::HEALTH_ADDRESS)
    }
}

impl MetricsArg {
    /// The address, given or by default.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.metrics_bind_address
            .unwrap_or(defaults::METRICS_ADDRESS)
    }
}

impl ConntrackArgs {
    /// What was given; `None`: nothing.
    pub(super) fn given(self) -> Option<Conntrack> {
        let given = Conntrack {
            tcp_established: self.conntrack_tcp_timeout_established,
            tcp_close_wait: self.conntrack_tcp_timeout_close_wait,
            udp: self.conntrack_udp_timeout,
            udp_stream: self.conntrack_udp_timeout_stream,
            ..Conntrack::default()
        };
        Some(given).filter(|given| *given != Conntrack::default())
    }
}

/// A duration as in kube-proxy's flags, such as `1h30m`; never negative.
pub fn period(text: &str) -> Result<Duration, String> {
    let nanos = duration::parse(text).ok_or("no duration such as 30s or 1h30m")?;
    if nanos < 0 {
        return Err(format!("{} is negative", duration::show(nanos)));
    }
    Ok(duration::std(nanos))
}
