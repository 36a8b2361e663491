//! What the agent was told, checked once: a `Config` holds no wrong value. Knows nothing of flags' spelling in the shell.

pub mod file;
pub mod flags;
mod merge;
pub mod values;

use std::{
    env,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::model::{Cidr, Scheduler};

use file::KubeProxy;
use flags::{CgroupArg, DeviceArgs, HealthArg, MetricsArg, Pins, RunArgs, StateArg};
use values::{
    ClientRate, Conntrack, Devices, Lb0Mode, MapCapacity, NodePortAddress, SocketLb, SocketReset,
    Source, XdpMode,
};

/// The maps are proved this often, as kube-proxy resyncs.
const SYNC_PERIOD: Duration = Duration::from_secs(30);

/// Everything the running agent is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where objects come from.
    pub source: Source,
    /// Name of our Node.
    pub node_name: String,
    /// Devices of the packet path.
    pub devices: Devices,
    /// Devices with XDP in front of tc.
    pub xdp: Vec<String>,
    /// What to do where a driver lacks native XDP.
    pub xdp_mode: XdpMode,
    /// Whose sockets are translated.
    pub socket_lb: SocketLb,
    /// What becomes of connected UDP sockets whose backend stops serving.
    pub socket_reset: SocketReset,
    /// Whether service addresses are routed to `lb0`.
    pub lb0: Lb0Mode,
    /// Networks of cluster IPs; empty: told by the source of objects.
    pub service_cidrs: Vec<Cidr>,
    /// `None` is the root of cgroup v2.
    pub cgroup: Option<PathBuf>,
    /// Directory of the pins.
    pub bpf_dir: PathBuf,
    /// Of /livez, /readyz and /healthz.
    pub health_address: SocketAddr,
    /// Of /metrics.
    pub metrics_address: SocketAddr,
    /// Where a Service names none.
    pub scheduler: Scheduler,
    /// Which of the machine's addresses node ports answer on; never empty.
    pub node_port_addresses: Vec<NodePortAddress>,
    /// Networks from which externalIPs are honoured.
    pub external_ip_cidrs: Vec<Cidr>,
    /// Entries of maps that do not have their default.
    pub map_capacity: Vec<MapCapacity>,
    /// Survives restarts.
    pub state_dir: PathBuf,
    /// The Node's own address of its family, whatever its status says.
    pub node_ip: Option<IpAddr>,
    /// An address of ours that is taken ends the agent.
    pub bind_hard_fail: bool,
    /// How fast the API server may be asked; `None` is without a limit.
    pub client_rate: Option<ClientRate>,
    /// Between two syncs at least; `None` is our own short pause.
    pub min_sync_period: Option<Duration>,
    /// Between two audits of the maps.
    pub sync_period: Duration,
    /// Of this process; `None` leaves it.
    pub oom_score_adj: Option<i64>,
    /// Of this machine.
    pub conntrack: Conntrack,
    /// The file of `--config` as it was read.
    pub file: serde_json::Value,
}

impl Config {
    /// Checks the flags, into which the file has been [merged](KubeProxy::fill), and finds what was left to be found.
    pub fn new(pins: Pins, args: RunArgs, file: KubeProxy) -> Result<Self> {
        let RunArgs {
            config: _,
            kubeconfig,
            manifests,
            node_name,
            devices:
                DeviceArgs {
                    devices,
                    attach_xdp,
                    attach_tc,
                },
            xdp_mode,
            socket_lb,
            socket_reset,
            lb0,
            service_cidrs,
            cgroup: CgroupArg { cgroup },
            health: HealthArg {
                health_bind_address,
            },
            metrics: MetricsArg {
                metrics_bind_address,
            },
            scheduler,
            node_port_addresses,
            external_ip_cidrs,
            map_capacity,
            state: StateArg { state_dir },
            log_format: _,
            log_level: _,
        } = args;
        let Pins { bpf_dir } = pins;
        ensure!(
            bpf_dir.is_absolute(),
            "--bpf-dir {} is not absolute",
            bpf_dir.display()
        );
        Ok(Self {
            source: source(kubeconfig, manifests)?,
            node_name: node_name_or_found(node_name)?,
            devices: devices_of(devices, attach_tc)?,
            xdp: attach_xdp,
            xdp_mode,
            socket_lb,
            socket_reset,
            lb0,
            service_cidrs,
            cgroup,
            bpf_dir,
            health_address: health_bind_address,
            metrics_address: metrics_bind_address,
            scheduler,
            node_port_addresses,
            external_ip_cidrs,
            map_capacity: MapCapacity::complete(map_capacity)?,
            state_dir,
            node_ip: file.node_ip,
            bind_hard_fail: file.bind_hard_fail,
            client_rate: file.client_rate,
            min_sync_period: file.min_sync_period,
            sync_period: file.sync_period.unwrap_or(SYNC_PERIOD),
            oom_score_adj: file.oom_score_adj,
            conntrack: file.conntrack,
            file: file.raw,
        })
    }
}

impl Config {
    /// What `/configz` shows: the file, under kube-proxy's name for it, and what holds, flags included.
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
                "nodePortAddresses": words.collect::<Vec<_>>(),
                "minSyncPeriodSeconds": self.min_sync_period.map(seconds),
                "syncPeriodSeconds": seconds(self.sync_period),
                "bpfDir": self.bpf_dir,
                "stateDir": self.state_dir,
            },
        })
    }
}

fn source(kubeconfig: Option<PathBuf>, manifests: Option<PathBuf>) -> Result<Source> {
    match (kubeconfig, manifests) {
        (Some(file), _) => Ok(Source::Kubeconfig(file)),
        (_, Some(dir)) => Ok(Source::Manifests(dir)),
        (None, None) if env::var_os("KUBERNETES_SERVICE_HOST").is_some() => Ok(Source::InCluster),
        (None, None) => bail!(
            "no source of Services: this is no Pod (KUBERNETES_SERVICE_HOST is not set), so give --kubeconfig FILE or --manifests DIR"
        ),
    }
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

fn devices_of(devices: Vec<String>, attach_tc: Vec<String>) -> Result<Devices> {
    let auto = devices.iter().any(|d| d == "auto");
    ensure!(
        !auto || devices.len() == 1,
        "--devices auto stands alone: devices beside it are found anyway"
    );
    let mut named = if auto { Vec::new() } else { devices };
    named.extend(attach_tc);
    named.retain(|d| !d.is_empty());
    Ok(if named.is_empty() {
        Devices::Auto
    } else {
        Devices::Named(named)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_named_by_either_flag() {
        let v = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(devices_of(v(&["auto"]), vec![]).unwrap(), Devices::Auto);
        assert_eq!(
            devices_of(v(&["auto"]), v(&["eth0"])).unwrap(),
            Devices::Named(v(&["eth0"]))
        );
        assert_eq!(
            devices_of(v(&["eth0"]), v(&["eth1"])).unwrap(),
            Devices::Named(v(&["eth0", "eth1"]))
        );
        assert!(devices_of(v(&["auto", "eth0"]), vec![]).is_err());
    }
}
