//! The flags of the running agent, some of which verbs take too. The doc comments are the help.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use crate::model::{Cidr, Scheduler};

use super::values::{
    Lb0Mode, LogFormat, MapCapacity, NodePortAddress, SocketLb, SocketReset, XdpMode,
};

/// Where the pins are: every verb takes it.
#[derive(Args, Clone, Debug)]
pub struct Pins {
    /// Directory on a bpffs where maps, programs and links are pinned
    #[arg(
        long,
        env = "LB_AGENT_BPF_DIR",
        value_name = "DIR",
        default_value = "/sys/fs/bpf/lb"
    )]
    pub bpf_dir: PathBuf,
}

/// Flags of the running agent.
#[derive(Args, Debug)]
#[command(next_help_heading = "Running")]
pub struct RunArgs {
    /// Read this KubeProxyConfiguration (v1alpha1), as kube-proxy does; flags and their variables win over it
    #[arg(long, env = "LB_AGENT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Reach the API server by this kubeconfig, instead of the Pod's service account
    #[arg(
        long,
        env = "LB_AGENT_KUBECONFIG",
        value_name = "FILE",
        conflicts_with = "manifests"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// Take Services, EndpointSlices and Nodes from the YAML files of this folder and follow their edits: no API server
    #[arg(long, env = "LB_AGENT_MANIFESTS", value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Name of this Node [default: $NODE_NAME, else the host name]
    #[arg(long, env = "LB_AGENT_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Where packets come in.
    #[command(flatten)]
    pub devices: DeviceArgs,
    /// Where a driver has no native XDP: `auto` leaves the device to tc, `native` refuses to start. XDP on a veth device
    /// sends to other nodes with `native` only: the other end must have XDP too, or the packets are lost
    #[arg(long, env = "LB_AGENT_XDP_MODE", value_enum, default_value_t)]
    pub xdp_mode: XdpMode,
    /// Whose sockets are translated when they connect: every Pod's, the host's alone, or none
    #[arg(long, env = "LB_AGENT_SOCKET_LB", value_enum, default_value_t)]
    pub socket_lb: SocketLb,
    /// Connected UDP sockets whose backend stops serving: `auto` resets them in every network namespace that the agent may
    /// enter (CAP_SYS_ADMIN), so that their owners connect anew; `off` leaves them
    #[arg(long, env = "LB_AGENT_SOCKET_RESET", value_enum, default_value_t)]
    pub socket_reset: SocketReset,
    /// Route service addresses to the device `lb0`, which answers ping and balances what no socket hook saw
    #[arg(long, env = "LB_AGENT_LB0", value_enum, default_value_t)]
    pub lb0: Lb0Mode,
    /// Networks of cluster IPs, and of load balancers where all addresses are theirs alone: routed to `lb0` whole [default:
    /// those of the ServiceCIDR objects, else each cluster IP]
    #[arg(
        long,
        env = "LB_AGENT_SERVICE_CIDRS",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub service_cidrs: Vec<Cidr>,
    /// Where sockets are.
    #[command(flatten)]
    pub cgroup: CgroupArg,
    /// Where health is told.
    #[command(flatten)]
    pub health: HealthArg,
    /// Where metrics are told.
    #[command(flatten)]
    pub metrics: MetricsArg,
    /// How a backend is chosen where a Service does not say
    #[arg(long, env = "LB_AGENT_SCHEDULER", value_name = "NAME", default_value = "random", value_parser = scheduler)]
    pub scheduler: Scheduler,
    /// Addresses that node ports answer on: all, primary (the Node's own), localhost, or networks; lists combine. On
    /// loopback they answer the host's own processes alone
    #[arg(
        long,
        env = "LB_AGENT_NODE_PORT_ADDRESSES",
        value_name = "all|primary|localhost|CIDR,…",
        value_delimiter = ',',
        default_value = "all"
    )]
    pub node_port_addresses: Vec<NodePortAddress>,
    /// Networks from which a Service's externalIPs are honoured; none by default
    #[arg(
        long,
        env = "LB_AGENT_EXTERNAL_IP_CIDRS",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub external_ip_cidrs: Vec<Cidr>,
    /// Entries of a map, such as `lb_services=524288`; may be repeated
    #[arg(
        long,
        env = "LB_AGENT_MAP_CAPACITY",
        value_name = "MAP=N",
        value_delimiter = ','
    )]
    pub map_capacity: Vec<MapCapacity>,
    /// What is kept on disk.
    #[command(flatten)]
    pub state: StateArg,
    /// Format of the log
    #[arg(long, env = "LB_AGENT_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// What is logged: a level, or a filter such as `info,lb_agent::watch=debug`
    #[arg(
        long,
        env = "LB_AGENT_LOG_LEVEL",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log_level: String,
}

/// Devices, for running and for checking.
#[derive(Args, Debug)]
pub struct DeviceArgs {
    /// Devices on which packets from outside come: `auto` follows the node's addresses and routes, live
    #[arg(
        long,
        env = "LB_AGENT_DEVICES",
        value_name = "auto|IFACE,…",
        value_delimiter = ',',
        default_value = "auto"
    )]
    pub devices: Vec<String>,
    /// Put XDP in front of tc on this device; may be repeated
    #[arg(
        long,
        env = "LB_AGENT_ATTACH_XDP",
        value_name = "IFACE",
        value_delimiter = ','
    )]
    pub attach_xdp: Vec<String>,
    /// Name a device instead of `--devices auto`; may be repeated
    #[arg(
        long,
        env = "LB_AGENT_ATTACH_TC",
        value_name = "IFACE",
        value_delimiter = ','
    )]
    pub attach_tc: Vec<String>,
}

/// The cgroup, for running and for checking.
#[derive(Args, Debug)]
pub struct CgroupArg {
    /// The cgroup whose sockets are translated [default: the root of cgroup v2]
    #[arg(long, env = "LB_AGENT_CGROUP", value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
}

/// The health address, for serving and for asking.
#[derive(Args, Debug)]
pub struct HealthArg {
    /// Serves /livez, /readyz and /healthz here
    #[arg(
        long,
        env = "LB_AGENT_HEALTH_BIND_ADDRESS",
        value_name = "ADDR",
        default_value = "0.0.0.0:10256"
    )]
    pub health_bind_address: SocketAddr,
}

/// The metrics address, for serving and for asking.
#[derive(Args, Debug)]
pub struct MetricsArg {
    /// Serves /metrics here
    #[arg(
        long,
        env = "LB_AGENT_METRICS_BIND_ADDRESS",
        value_name = "ADDR",
        default_value = "127.0.0.1:10249"
    )]
    pub metrics_bind_address: SocketAddr,
}

/// The state directory, for keeping and for removing.
#[derive(Args, Debug)]
pub struct StateArg {
    /// Where the agent keeps the last known addresses of the API server, and what of its Services it cannot honour
    #[arg(
        long,
        env = "LB_AGENT_STATE_DIR",
        value_name = "DIR",
        default_value = "/var/lib/lb-agent"
    )]
    pub state_dir: PathBuf,
}

fn scheduler(name: &str) -> Result<Scheduler, String> {
    Scheduler::parse(name).ok_or_else(|| {
        let known: Vec<&str> = Scheduler::ALL.iter().map(|(name, _)| *name).collect();
        format!("known are {}", known.join(", "))
    })
}
