//! A balancer that runs against a real API server on a node of its own, ours or kube-proxy:
//! started, known to be done, weighed, ended.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use testbed::{
    agent::{Agent, HEALTH, METRICS, Start, http},
    cluster::{Cluster, KubeProxy},
    node::Node,
};

use crate::{ground::Ground, wire::Where};

/// Between two looks whether it is done.
const LOOK: Duration = Duration::from_millis(5);
/// From here on our maps need more room than they have by default: each service has two ports.
const MANY: u32 = 30_000;

/// Who balances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    /// In this mode.
    KubeProxy(&'static str),
}

impl Kind {
    /// As rows call it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Ours => "lb-agent".to_owned(),
            Self::KubeProxy(mode) => format!("kube-proxy {mode}"),
        }
    }
}

/// A node that one of them may run on.
pub(crate) struct Home {
    pub(crate) kind: Kind,
    pub(crate) node: Node,
    args: Vec<String>,
}

/// A running one; it is killed with this value, and what it wrote stays.
pub(crate) enum Running {
    Ours(Agent),
    KubeProxy(KubeProxy),
}

/// What a start took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    pub(crate) seconds: f64,
    /// Of all CPUs, by everything that it started too.
    pub(crate) cpu_seconds: f64,
}

impl Home {
    /// A node with nothing on it, from which `ground` is reached. `services`: how many there will
    /// be at most.
    pub(crate) fn new(
        cluster: &Cluster,
        ground: &Ground,
        number: u8,
        kind: Kind,
        services: u32,
    ) -> Result<Self> {
        let node = cluster.node(number)?;
        ground.plug(node.netns())?;
        let mut args = Vec::new();
        if services > MANY {
            // Six frontends each: two ports and the address itself, as seen from inside and from
            // outside.
            for capacity in [
                "lb_frontends=524288",
                "lb_pools=131072",
                "lb_sched=131072",
                "lb_pool_stats=131072",
            ] {
                args.extend(["--map-capacity".to_owned(), capacity.to_owned()]);
            }
        }
        Ok(Self { kind, node, args })
    }

    /// Where clients of it are.
    pub(crate) fn sandbox(&self) -> Where {
        Where {
            netns: self.node.netns().path(),
            cgroup: self.node.cgroup().path().to_owned(),
        }
    }

    /// Starts it.
    pub(crate) fn spawn(&self, cluster: &Cluster) -> Result<Running> {
        let node = &self.node;
        Ok(match self.kind {
            Kind::Ours => {
                let admin = cluster.admin()?.display().to_string();
                let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
                let start = Start::new().source(&["--kubeconfig", &admin]).args(&args);
                let mut agent = start.without_waiting(node)?;
                agent.quiet();
                Running::Ours(agent)
            }
            Kind::KubeProxy(mode) => Running::KubeProxy(KubeProxy::without_waiting(
                cluster.control_plane(),
                node.sandbox(),
                node.name(),
                mode,
            )?),
        })
    }

    /// Starts it, and waits until it has written everything there is; `None` if that takes longer
    /// than the bound.
    pub(crate) fn start(
        &self,
        cluster: &Cluster,
        bound: Duration,
    ) -> Result<Option<(Running, Took)>> {
        let (begun, cpu) = (Instant::now(), self.cpu_seconds()?);
        let mut running = self.spawn(cluster)?;
        while !self.is_done(&mut running)? {
            if begun.elapsed() > bound {
                running.kill()?;
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        }
        let took = Took {
            seconds: begun.elapsed().as_secs_f64(),
            cpu_seconds: self.cpu_seconds()? - cpu,
        };
        Ok(Some((running, took)))
    }

    /// Whether all that there was to write is written.
    pub(crate) fn is_done(&self, running: &mut Running) -> Result<bool> {
        match running {
            Running::Ours(agent) => {
                if let Some(status) = agent.ended()? {
                    bail!("the agent ended with {status}:\n{}", agent.log()?);
                }
                Ok(http(&self.node, HEALTH, "/readyz").is_ok_and(|(status, _)| status == 200))
            }
            Running::KubeProxy(kube_proxy) => {
                kube_proxy.check()?;
                // Its first sync is of everything: it waits until it has listed all. It is over
                // when the metric has its time.
                Ok(self.metric("kubeproxy_sync_proxy_rules_last_timestamp_seconds") > Some(0.0))
            }
        }
    }

    /// The sum of a metric over its labels, but for what is of IPv6; `None` while the balancer does not report it.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = http(&self.node, METRICS, "/metrics").ok()?;
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = rest.rsplit(' ').next()?.parse::<f64>().ok()?;
            let whole = rest.starts_with(['{', ' ']) && !rest.contains("IPv6");
            whole.then_some(value)
        });
        values.reduce(|a, b| a + b)
    }

    /// Seconds that it spent writing, by its own account.
    pub(crate) fn reported_seconds(&self) -> Option<f64> {
        match self.kind {
            Kind::Ours => self.metric("lb_agent_sync_duration_seconds_sum"),
            Kind::KubeProxy(_) => self.metric("kubeproxy_sync_proxy_rules_duration_seconds_sum"),
        }
    }

    /// Entries of maps that were written or removed; only ours reports them.
    pub(crate) fn written(&self) -> Option<f64> {
        match self.kind {
            Kind::Ours => self.metric("lb_agent_map_writes_total"),
            Kind::KubeProxy(_) => None,
        }
    }

    /// System calls that took; only ours reports them.
    pub(crate) fn calls(&self) -> Option<f64> {
        match self.kind {
            Kind::Ours => self.metric("lb_agent_map_write_calls_total"),
            Kind::KubeProxy(_) => None,
        }
    }

    /// Of everything that runs as the host's on this node.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        self.node.cgroup().cpu_seconds()
    }
}

impl Running {
    fn pid(&self) -> u32 {
        match self {
            Self::Ours(agent) => agent.pid(),
            Self::KubeProxy(kube_proxy) => kube_proxy.pid(),
        }
    }

    /// What of its memory is there now, and what was at most: MB.
    pub(crate) fn memory(&self) -> Result<(f64, f64)> {
        let text = read(Path::new(&format!("/proc/{}/status", self.pid())))?;
        let field = |name: &str| -> Result<f64> {
            let kib = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = kib.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
            Ok(kib.with_context(|| format!("no {name} of a process"))? * 1024.0 / 1e6)
        };
        Ok((field("VmRSS")?, field("VmHWM")?))
    }

    /// kill -9
    pub(crate) fn kill(self) -> Result<()> {
        match self {
            Self::Ours(agent) => agent.kill(),
            Self::KubeProxy(kube_proxy) => kube_proxy.kill(),
        }
    }

    /// SIGTERM, and gone.
    pub(crate) fn stop(self) -> Result<()> {
        match self {
            Self::Ours(agent) => agent.stop().map(drop),
            Self::KubeProxy(kube_proxy) => kube_proxy.stop(),
        }
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}
