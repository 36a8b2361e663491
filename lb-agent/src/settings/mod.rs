//! The settings of the running agent: flags and variables over the file over defaults. Once made, a
//! [`Config`] holds no wrong value.

pub mod file;
pub mod flags;
mod merge;
pub mod partial;
pub mod values;

use std::{
    env,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
pub use merge::merge;
use partial::Partial;
use values::{
    BindHold, ClientRate, Conntrack, Devices, Lb0Mode, MapCapacity, NodePortAddress, PortRange,
    ServiceMetrics, SnatPorts, SocketLb, SocketReset, Source, XdpMode, defaults,
};

use crate::model::{Cidr, Forwarding, PassiveHealth, Removal, Scheduler};

/// Every setting of the running agent.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where objects come from.
    pub source: Source,
    /// Name of our Node.
    pub node_name: String,
    /// Devices of the packet path.
    pub devices: Devices,
    /// Devices that run XDP in front of tc.
    pub xdp: Vec<String>,
    /// What to do if a driver has no native XDP.
    pub xdp_mode: XdpMode,
    /// Which sockets are load-balanced.
    pub socket_lb: SocketLb,
    /// Whether connected UDP sockets are reset when their backend stops serving.
    pub socket_reset: SocketReset,
    /// Whether bind() to a programmed node port is refused.
    pub bind_hold: BindHold,
    /// Whether service addresses are routed to `lb0`.
    pub lb0: Lb0Mode,
    /// Service networks; if empty, those of the ServiceCIDR objects.
    pub service_cidrs: Vec<Cidr>,
    /// Networks of pods, one a family at most: packets from there are of the cluster, also where
    /// they come in from outside.
    pub cluster_cidrs: Vec<Cidr>,
    /// `None` is the root of cgroup v2.
    pub cgroup: Option<PathBuf>,
    /// Directory of the pins.
    pub bpf_dir: PathBuf,
    /// Where /livez, /readyz and /healthz are served.
    pub health_address: SocketAddr,
    /// Where /metrics is served.
    pub metrics_address: SocketAddr,
    /// Of how many Service ports there are metrics.
    pub service_metrics: ServiceMetrics,
    /// Scheduler of Services that name none.
    pub scheduler: Scheduler,
    /// What becomes of connections whose backend leaves a Service that does not say so itself.
    pub removal: Removal,
    /// Whom backends see, for Services that do not say.
    pub forwarding: Forwarding,
    /// Whether backends whose handshakes fail are left out, where a Service does not say so itself.
    pub passive_health: PassiveHealth,
    /// Addresses on which node ports answer; never empty.
    pub node_port_addresses: Vec<NodePortAddress>,
    /// Networks from which externalIPs are accepted.
    pub external_ip_cidrs: Vec<Cidr>,
    /// The secret that the key of hashes is made of; `None`: the cluster's identity.
    pub cluster_key_file: Option<PathBuf>,
    /// Ports for rewritten sources; never empty.
    pub snat_ports: Vec<SnatPorts>,
    /// Where the cluster's node ports are.
    pub node_port_range: PortRange,
    /// Map sizes that differ from the default.
    pub map_capacity: Vec<MapCapacity>,
    /// Directory of what survives a reboot.
    pub state_dir: PathBuf,
    /// The Node's address of this family; overrides the status of the Node.
    pub node_ip: Option<IpAddr>,
    /// The agent ends if it cannot bind one of its own addresses.
    pub bind_hard_fail: bool,
    /// Rate limit of requests to the API server; `None`: no limit.
    pub client_rate: Option<ClientRate>,
    /// Shortest time between two syncs; `None`: our own short pause.
    pub min_sync_period: Option<Duration>,
    /// Interval of the map audit.
    pub sync_period: Duration,
    /// OOM score adjustment of this process; `None`: unchanged.
    pub oom_score_adj: Option<i64>,
    /// The kernel's connection tracking, and the times of flows.
    pub conntrack: Conntrack,
    /// The file of `--config`, as read.
    pub file: serde_json::Value,
}

impl Config {
    /// Checks the [merged](merge) settings, fills in defaults, and finds what is left to be found
    /// on this machine. `file` is the file as it was read.
    pub fn new(settings: Partial, file: serde_json::Value) -> Result<Self> {
        let bpf_dir = settings.bpf_dir.unwrap_or(defaults::BPF_DIR.into());
        ensure!(
            bpf_dir.is_absolute(),
            "--bpf-dir {} is not absolute",
            bpf_dir.display()
        );
        let all = || vec![NodePortAddress::All];
        Ok(Self {
            source: settings.source.map_or_else(in_cluster, Ok)?,
            node_name: node_name_or_found(settings.node_name)?,
            devices: settings.devices.unwrap_or_default(),
            xdp: settings.xdp.unwrap_or_default(),
            xdp_mode: settings.xdp_mode.unwrap_or_default(),
            socket_lb: settings.socket_lb.unwrap_or_default(),
            socket_reset: settings.socket_reset.unwrap_or_default(),
            bind_hold: settings.bind_hold.unwrap_or_default(),
            lb0: settings.lb0.unwrap_or_default(),
            service_cidrs: settings.service_cidrs.unwrap_or_default(),
            cluster_cidrs: one_a_family(settings.cluster_cidrs.unwrap_or_default())?,
            cgroup: settings.cgroup,
            bpf_dir,
            health_address: settings.health_address.unwrap_or(defaults::HEALTH_ADDRESS),
            metrics_address: settings
                .metrics_address
                .unwrap_or(defaults::METRICS_ADDRESS),
            service_metrics: settings.service_metrics.unwrap_or_default(),
            scheduler: settings.scheduler.unwrap_or_default(),
            removal: settings.removal.unwrap_or_default(),
            forwarding: settings.forwarding.unwrap_or_default(),
            passive_health: settings.passive_health.unwrap_or_default(),
            node_port_addresses: settings.node_port_addresses.unwrap_or_else(all),
            external_ip_cidrs: settings.external_ip_cidrs.unwrap_or_default(),
            cluster_key_file: settings.cluster_key_file,
            snat_ports: settings.snat_ports.unwrap_or_else(|| vec![SnatPorts::Auto]),
            node_port_range: settings.node_port_range.unwrap_or(PortRange::NODE_PORTS),
            map_capacity: MapCapacity::complete(settings.map_capacity.unwrap_or_default())?,
            state_dir: settings.state_dir.unwrap_or(defaults::STATE_DIR.into()),
            node_ip: settings.node_ip,
            bind_hard_fail: settings.bind_hard_fail.unwrap_or_default(),
            client_rate: settings.client_rate,
            min_sync_period: settings.min_sync_period,
            sync_period: settings.sync_period.unwrap_or(defaults::SYNC_PERIOD),
            oom_score_adj: settings.oom_score_adj,
            conntrack: settings.conntrack.unwrap_or_default(),
            file,
        })
    }

    /// What `/configz` shows: the file, under kube-proxy's name for it, and what holds, flags
    /// included.
    #[must_use]
    pub fn page(&self) -> serde_json::Value {
        let words = self.node_port_addresses.iter().map(ToString::to_string);
        let seconds = |period: Duration| period.as_secs_f64();
        serde_json::json!({
            "kubeproxy.config.k8s.io": self.file,
            "lb-agent": {
                "nodeName": self.node_name,
                "healthBindAddress": self.health_address,
                "metricsBindAddress": self.metrics_address,
                "scheduler": self.scheduler.name(),
                "onBackendRemoval": self.removal.to_string(),
                "passiveHealth": self.passive_health.name(),
                "nodePortAddresses": words.collect::<Vec<_>>(),
                "minSyncPeriodSeconds": self.min_sync_period.map(seconds),
                "syncPeriodSeconds": seconds(self.sync_period),
                "bpfDir": self.bpf_dir,
                "stateDir": self.state_dir,
            },
        })
    }
}

fn one_a_family(cidrs: Vec<Cidr>) -> Result<Vec<Cidr>> {
    for v4 in [true, false] {
        let of_family = cidrs.iter().filter(|c| c.net.is_ipv4() == v4);
        ensure!(
            of_family.count() <= 1,
            "--cluster-cidr has more than one network a family, which kube-proxy does not take either: give the one that holds all pods"
        );
    }
    Ok(cidrs)
}

fn in_cluster() -> Result<Source> {
    ensure!(
        env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
        "no source of Services: this is no Pod (KUBERNETES_SERVICE_HOST is not set), so give --kubeconfig FILE or --manifests DIR"
    );
    Ok(Source::InCluster)
}

fn node_name_or_found(given: Option<String>) -> Result<String> {
    if let Some(name) = given
        .or_else(|| env::var("NODE_NAME").ok())
        .filter(|name| !name.is_empty())
    {
        return Ok(name);
    }
    let host = nix::unistd::gethostname().context("read the host name: give --node-name")?;
    let host = host
        .into_string()
        .ok()
        .context("the host name is no UTF-8: give --node-name")?;
    Ok(host.to_lowercase())
}
