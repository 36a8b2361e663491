//! The flags of the running agent. The doc comments are the help.

mod groups;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
pub use groups::{
    CgroupArg, ConntrackArgs, DeviceArgs, HealthArg, MetricsArg, Pins, SnatArgs, StateArg, period,
};

use super::{
    partial::Partial,
    values::{
        BindHold, Devices, Lb0Mode, LogFormat, MapCapacity, NodePortAddress, ServiceMetrics,
        SocketLb, SocketReset, Source, XdpMode,
    },
};
use crate::model::{Cidr, Forwarding, PassiveHealth, Removal, Scheduler};

/// Flags of the running agent.
#[derive(Args, Debug)]
#[command(next_help_heading = "Running")]
pub struct Flags {
    /// Read this KubeProxyConfiguration (v1alpha1), as kube-proxy does; flags and their variables
    /// take precedence
    #[arg(long, env = "LB_AGENT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Refuse a --config with fields that kube-proxy does not know at their place, doubled fields or
    /// documents of other kinds; otherwise those that are well known get a warning, as from
    /// kube-proxy
    #[arg(long, env = "LB_AGENT_CONFIG_STRICT")]
    pub config_strict: bool,
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
    /// Which sockets are load-balanced when they connect: `auto` leaves those alone whose network
    /// namespace translates by rules of its own (a mesh's side-car, a nested cluster) or has a
    /// cluster IP itself; `all` is every Pod's and the host's; `host`
    /// the host's only; `off` none [default: auto]
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
    /// Metrics of each Service port (connections, packets, bytes, rejects): `off`, `on` (of 10,000
    /// ports), or of how many ports at most [default: on]
    #[arg(long, env = "LB_AGENT_SERVICE_METRICS", value_name = "on|off|N")]
    pub service_metrics: Option<ServiceMetrics>,
    /// Scheduler of Services that do not name one.
    #[arg(
        long,
        env = "LB_AGENT_SCHEDULER",
        value_name = "NAME",
        value_parser = scheduler,
        help = scheduler_help()
    )]
    pub scheduler: Option<Scheduler>,
    /// What becomes of connections whose backend leaves its Service, where a Service does not say so
    /// itself: they go on (`keep`), go on for a while (`reset-after=30s`), or are reset at once
    /// (`reset`). UDP follows its Service at once in any case [default: keep]
    #[arg(
        long,
        env = "LB_AGENT_ON_BACKEND_REMOVAL",
        value_name = "keep|reset-after=DURATION|reset",
        value_parser = removal
    )]
    pub on_backend_removal: Option<Removal>,
    /// Whom backends see, for Services that do not say (`lb-agent.io/forwarding`): with `auto` a
    /// backend on the node where a packet arrives sees the client, one on another node that node;
    /// with `snat` each sees the node, as with kube-proxy [default: auto]
    #[arg(
        long,
        env = "LB_AGENT_FORWARDING",
        value_name = "auto|snat",
        value_parser = Forwarding::parse
    )]
    pub forwarding: Option<Forwarding>,
    /// Whether a TCP backend that answers no handshake gets no new connections from this node until it
    /// answers again, where a Service does not say so itself: on or off [default: off]
    #[arg(
        long,
        env = "LB_AGENT_PASSIVE_HEALTH",
        value_name = "on|off",
        value_parser = passive_health
    )]
    pub passive_health: Option<PassiveHealth>,
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
    /// A secret that is the same on every node: the hash that places connections is keyed by it, so
    /// that nobody outside can choose their backend or source port. 16 bytes or more, such as those
    /// of `openssl rand -hex 16` [default: the UID of the namespace kube-system]
    #[arg(long, env = "LB_AGENT_CLUSTER_KEY_FILE", value_name = "FILE")]
    pub cluster_key_file: Option<PathBuf>,
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
            service_metrics: self.service_metrics,
            scheduler: self.scheduler,
            removal: self.on_backend_removal,
            forwarding: self.forwarding,
            passive_health: self.passive_health,
            node_port_addresses: self.node_port_addresses,
            external_ip_cidrs: self.external_ip_cidrs,
            cluster_key_file: self.cluster_key_file,
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

fn scheduler_help() -> String {
    let default = Scheduler::default().name();
    let names = Scheduler::names();
    format!("Scheduler of Services that do not name one: {names} [default: {default}]")
}

fn passive_health(text: &str) -> Result<PassiveHealth, String> {
    PassiveHealth::parse(text).ok_or_else(|| "known are on, off".to_owned())
}

fn removal(text: &str) -> Result<Removal, String> {
    Removal::parse(text).ok_or_else(|| format!("known are {}", Removal::FORMS))
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
