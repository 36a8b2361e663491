//! The flags of the running agent, some of which verbs take too. The doc comments are the help.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use clap::Args;

use super::{
    partial::Partial,
    values::{
        BindHold, Conntrack, Devices, Lb0Mode, LogFormat, MapCapacity, NodePortAddress, PortRange,
        SnatPorts, SocketLb, SocketReset, Source, XdpMode, defaults, duration,
    },
};
use crate::model::{Cidr, Scheduler};

/// Where the pins are: every verb takes it.
#[derive(Args, Clone, Debug, Default)]
pub struct Pins {
    /// Directory on a bpffs where maps, programs and links are pinned [default: /sys/fs/bpf/lb]
    #[arg(long, env = "LB_AGENT_BPF_DIR", value_name = "DIR")]
    pub bpf_dir: Option<PathBuf>,
}

/// Flags of the running agent.
#[derive(Args, Debug)]
#[command(next_help_heading = "Running")]
pub struct Flags {
    /// Read this KubeProxyConfiguration (v1alpha1), as kube-proxy does; flags and their variables
    /// take precedence
    #[arg(long, env = "LB_AGENT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Connect to the API server with this kubeconfig instead of the Pod's service account
    #[arg(
        long,
        env = "LB_AGENT_KUBECONFIG",
        value_name = "FILE",
        conflicts_with = "manifests"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// Read Services, EndpointSlices and Nodes from the YAML files in this directory and follow
    /// their edits, without an API server
    #[arg(long, env = "LB_AGENT_MANIFESTS", value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Name of this Node [default: $NODE_NAME, else the host name]
    #[arg(long, env = "LB_AGENT_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Where packets come in.
    #[command(flatten)]
    pub devices: DeviceArgs,
    /// For devices of `--attach-xdp` without native XDP in their driver: `auto` leaves the device
    /// to tc, `native` refuses to start. On a veth device, XDP forwards to other nodes only with
    /// `native`: the peer device must run XDP too, or the packets are lost [default: auto]
    #[arg(long, env = "LB_AGENT_XDP_MODE", value_enum)]
    pub xdp_mode: Option<XdpMode>,
    /// Which sockets are load-balanced when they connect: those of every Pod and the host, the
    /// host's only, or none [default: all]
    #[arg(long, env = "LB_AGENT_SOCKET_LB", value_enum)]
    pub socket_lb: Option<SocketLb>,
    /// When the backend of connected UDP sockets stops serving: `auto` resets the sockets in every
    /// network namespace the agent may enter (CAP_SYS_ADMIN), so that applications reconnect;
    /// `off` leaves them alone [default: auto]
    #[arg(long, env = "LB_AGENT_SOCKET_RESET", value_enum)]
    pub socket_reset: Option<SocketReset>,
    /// Whether bind() to a programmed node port fails with EADDRINUSE in the host's network
    /// namespace, on addresses where node ports answer: the Service takes its packets. `off` lets
    /// it succeed, such as for a client that wants the number as its source port [default: on]
    #[arg(long, env = "LB_AGENT_BIND_HOLD", value_enum)]
    pub bind_hold: Option<BindHold>,
    /// Route service addresses to the device `lb0`, which answers ping and load-balances traffic
    /// that no socket hook handled [default: on]
    #[arg(long, env = "LB_AGENT_LB0", value_enum)]
    pub lb0: Option<Lb0Mode>,
    /// Service networks to route to `lb0` as a whole: those of cluster IPs, and of load balancers
    /// if all their addresses belong to this cluster [default: the networks in ServiceCIDR
    /// objects, else each cluster IP]
    #[arg(
        long,
        env = "LB_AGENT_SERVICE_CIDRS",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub service_cidrs: Option<Vec<Cidr>>,
    /// Network of pods, one a family: a pod of another node that asks a node port, load balancer or
    /// external IP here counts as inside the cluster, so that externalTrafficPolicy Local does not
    /// narrow its endpoints [default: clusterCIDR in --config; without either such a pod counts as
    /// outside, as with kube-proxy]
    #[arg(
        long,
        env = "LB_AGENT_CLUSTER_CIDR",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub cluster_cidr: Option<Vec<Cidr>>,
    /// Where sockets are.
    #[command(flatten)]
    pub cgroup: CgroupArg,
    /// Where health is served.
    #[command(flatten)]
    pub health: HealthArg,
    /// Where metrics are served.
    #[command(flatten)]
    pub metrics: MetricsArg,
    /// Scheduler of Services that do not name one.
    #[arg(
        long,
        env = "LB_AGENT_SCHEDULER",
        value_name = "NAME",
        value_parser = scheduler,
        help = scheduler_help()
    )]
    pub scheduler: Option<Scheduler>,
    /// Addresses on which node ports answer: all, primary (the Node's own), localhost, or
    /// networks; lists combine. On loopback, node ports answer processes of the host only
    /// [default: all]
    #[arg(
        long,
        env = "LB_AGENT_NODE_PORT_ADDRESSES",
        value_name = "all|primary|localhost|CIDR,…",
        value_delimiter = ','
    )]
    pub node_port_addresses: Option<Vec<NodePortAddress>>,
    /// Networks from which externalIPs of Services are accepted [default: none]
    #[arg(
        long,
        env = "LB_AGENT_EXTERNAL_IP_CIDRS",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub external_ip_cidrs: Option<Vec<Cidr>>,
    /// Ports for packets whose source is rewritten.
    #[command(flatten)]
    pub snat: SnatArgs,
    /// How long connections live.
    #[command(flatten)]
    pub conntrack: ConntrackArgs,
    /// Number of entries of a map, such as `lb_frontends=524288`; may be repeated
    #[arg(
        long,
        env = "LB_AGENT_MAP_CAPACITY",
        value_name = "MAP=N",
        value_delimiter = ','
    )]
    pub map_capacity: Option<Vec<MapCapacity>>,
    /// What is kept on disk.
    #[command(flatten)]
    pub state: StateArg,
    /// Log format [default: text]
    #[arg(long, env = "LB_AGENT_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
    /// Log level, or a filter such as `info,lb_agent::watch=debug` [default: info]
    #[arg(long, env = "LB_AGENT_LOG_LEVEL", value_name = "FILTER")]
    pub log_level: Option<String>,
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
    /// Directory for the last known addresses of the API server, and for the list of Services that
    /// are only partly programmed [default: /var/lib/lb-agent]
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
    fn given(self) -> Option<Conntrack> {
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

impl Flags {
    /// What was given on the command line or by a variable, and nothing else.
    pub fn settings(self, pins: Pins) -> Result<Partial> {
        let DeviceArgs {
            devices,
            attach_xdp,
            attach_tc,
        } = self.devices;
        let kubeconfig = self.kubeconfig.map(Source::Kubeconfig);
        Ok(Partial {
            source: kubeconfig.or(self.manifests.map(Source::Manifests)),
            node_name: self.node_name,
            devices: Devices::of(devices, attach_tc)?,
            xdp: attach_xdp,
            xdp_mode: self.xdp_mode,
            socket_lb: self.socket_lb,
            socket_reset: self.socket_reset,
            bind_hold: self.bind_hold,
            lb0: self.lb0,
            service_cidrs: self.service_cidrs,
            cluster_cidrs: self.cluster_cidr,
            cgroup: self.cgroup.cgroup,
            bpf_dir: pins.bpf_dir,
            health_address: self.health.health_bind_address,
            metrics_address: self.metrics.metrics_bind_address,
            scheduler: self.scheduler,
            node_port_addresses: self.node_port_addresses,
            external_ip_cidrs: self.external_ip_cidrs,
            snat_ports: self.snat.snat_ports,
            node_port_range: self.snat.node_port_range,
            conntrack: self.conntrack.given(),
            map_capacity: self.map_capacity,
            state_dir: self.state.state_dir,
            log_format: self.log_format,
            log_level: self.log_level,
            // The file alone has these.
            node_ip: None,
            bind_hard_fail: None,
            client_rate: None,
            min_sync_period: None,
            sync_period: None,
            oom_score_adj: None,
        })
    }
}

/// A duration as in kube-proxy's flags, such as `1h30m`; never negative.
fn period(text: &str) -> Result<Duration, String> {
    let nanos = duration::parse(text).ok_or("no duration such as 30s or 1h30m")?;
    if nanos < 0 {
        return Err(format!("{} is negative", duration::show(nanos)));
    }
    Ok(duration::std(nanos))
}

fn scheduler_help() -> String {
    let default = Scheduler::default().name();
    let names = Scheduler::names();
    format!("Scheduler of Services that do not name one: {names} [default: {default}]")
}

fn scheduler(name: &str) -> Result<Scheduler, String> {
    Scheduler::parse(name).ok_or_else(|| format!("known are {}", Scheduler::names()))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn the_chart_allows_and_explains_the_schedulers_that_there_are() {
        let helm = Path::new(env!("CARGO_MANIFEST_DIR")).join("../helm");
        let read = |name: &str| fs::read_to_string(helm.join(name)).unwrap();
        let schema: serde_json::Value = serde_json::from_str(&read("values.schema.json")).unwrap();
        let allowed = &schema["properties"]["config"]["properties"]["scheduler"]["enum"];
        let names: Vec<&str> = Scheduler::ALL.iter().map(|s| s.name()).collect();
        assert_eq!(*allowed, serde_json::json!(names));

        let values = read("values.yaml");
        let (before, _) = values.split_once("\n  scheduler: random\n").unwrap();
        let comment = before.lines().last().unwrap();
        for name in names {
            assert!(comment.contains(&format!("`{name}`")), "{name}: {comment}");
        }
    }
}
