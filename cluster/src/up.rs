//! The way up: control plane, nodes, DNS, proxy. Everything goes with one value.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, ValueEnum};
use k8s_openapi::api::core::v1::Node as ApiNode;
use testbed::{
    agent,
    cluster::{Cluster, KubeProxy, Pods, chart},
    poll,
};

use crate::{
    images::{self, Images},
    kubectl::{self, Kubectl},
    node::RealNode,
};

/// Five seconds on an idle machine.
const READY: Duration = Duration::from_mins(2);
/// Where a node shows its own cgroup tree: the same path on all of them.
const CGROUP: &str = "config.cgroupRoot=/run/node-cgroup";

/// What implements Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Proxy {
    /// The chart with the image of this build.
    LbAgent,
    /// The real one, in nftables mode.
    KubeProxy,
}

/// Which cluster is to be made.
#[derive(Debug, Clone, Copy, Args)]
pub struct Asked {
    /// How many nodes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3))]
    pub nodes: u8,
    /// What implements Services
    #[arg(long, value_enum, default_value_t = Proxy::LbAgent)]
    pub proxy: Proxy,
}

impl Asked {
    /// As arguments of a verb.
    #[must_use]
    pub fn words(self, verb: &str) -> Vec<String> {
        let Self { nodes, proxy } = self;
        let proxy = proxy.to_possible_value();
        let proxy = proxy.map_or_else(String::new, |value| value.get_name().to_owned());
        vec![
            verb.to_owned(),
            format!("--nodes={nodes}"),
            format!("--proxy={proxy}"),
        ]
    }
}

/// A cluster that is ready.
#[derive(Debug)]
pub struct Up {
    // Dropped in this order.
    proxies: Vec<KubeProxy>,
    nodes: Vec<RealNode>,
    cluster: Cluster,
}

impl Up {
    /// Makes it, with its logs and images in that folder; says each step, and goes no farther if
    /// nobody listens any more.
    pub(crate) fn raise(
        asked: Asked,
        images: Images,
        dir: &Path,
        mut say: impl FnMut(&str) -> Result<()>,
    ) -> Result<Self> {
        let start = Instant::now();
        let mut say = |what: &str| say(&format!("{:>5.1}s  {what}", start.elapsed().as_secs_f32()));
        say("etcd, the API server, its controllers and the scheduler start; images are packed")?;
        let (cluster, archives) = thread::scope(|scope| {
            let archives = scope.spawn(|| images::write(images, dir, &agent::binary()?));
            let cluster = Cluster::start_for(Pods::Run);
            (cluster, archives.join())
        });
        let (cluster, archives) = (
            cluster?,
            archives.map_err(|_| anyhow!("a thread panicked"))??,
        );
        say("the API server is ready; containerd starts on each node and takes the images")?;
        let mut up = Self {
            proxies: Vec::new(),
            nodes: start_nodes(&cluster, asked.nodes, dir, &archives)?,
            cluster,
        };
        up.link()?;
        say("kubelets start; DNS and the proxy are installed")?;
        for node in &mut up.nodes {
            node.join(&up.cluster, dir)?;
        }
        let kubectl = up.kubectl()?;
        kubectl.apply("coredns", include_str!("../manifests/coredns.yaml"))?;
        up.wait_nodes()?;
        say("the nodes are ready")?;
        up.install(asked.proxy)?;
        say("the proxy is ready on every node")?;
        kubectl.run(&[
            "--namespace=kube-system",
            "rollout",
            "status",
            "deployment/coredns",
            kubectl::TIMEOUT,
        ])?;
        say("CoreDNS is ready")?;
        Ok(up)
    }

    /// The control plane, and machines beside it.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Its nodes.
    #[must_use]
    pub fn nodes(&self) -> &[RealNode] {
        &self.nodes
    }

    /// kubectl, as the administrator, outside of every node.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Kubectl::new(&self.cluster)
    }

    /// An error with the end of a log if a process runs no more.
    pub fn check(&mut self) -> Result<()> {
        self.cluster.control_plane_mut().check()?;
        for proxy in &mut self.proxies {
            proxy.check()?;
        }
        self.nodes.iter_mut().try_for_each(RealNode::check)
    }

    /// Routes from each node to the others' pods.
    fn link(&self) -> Result<()> {
        for (index, one) in self.nodes.iter().enumerate() {
            for other in &self.nodes[index + 1..] {
                one.machine().join(other.machine())?;
            }
        }
        Ok(())
    }

    fn wait_nodes(&mut self) -> Result<()> {
        let names: Vec<String> = self
            .nodes
            .iter()
            .map(|node| node.machine().name().to_owned())
            .collect();
        poll::until_true(READY, "every node is ready", || {
            self.check()?;
            let client = self.cluster.client();
            for name in &names {
                if !client
                    .get_global::<ApiNode>(name)?
                    .is_some_and(|node| is_ready(&node))
                {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    fn install(&mut self, proxy: Proxy) -> Result<()> {
        let control_plane = self.cluster.control_plane();
        match proxy {
            Proxy::LbAgent => {
                let (image, tag) = (
                    format!("image.repository={}", images::AGENT),
                    format!("image.tag={}", images::TAG),
                );
                let values = [
                    "--wait",
                    kubectl::TIMEOUT,
                    "--set",
                    &image,
                    "--set",
                    &tag,
                    "--set",
                    CGROUP,
                ];
                chart::install(control_plane, self.cluster.sandbox(), "lb-agent", &values).map(drop)
            }
            Proxy::KubeProxy => {
                for node in &self.nodes {
                    let machine = node.machine();
                    let started =
                        KubeProxy::start(control_plane, machine.sandbox(), machine.name());
                    self.proxies.push(started?);
                }
                Ok(())
            }
        }
    }
}

fn start_nodes(
    cluster: &Cluster,
    count: u8,
    dir: &Path,
    archives: &[PathBuf],
) -> Result<Vec<RealNode>> {
    thread::scope(|scope| {
        let starting: Vec<_> = (1..=count)
            .map(|number| scope.spawn(move || RealNode::start(cluster, number, dir, archives)))
            .collect();
        starting
            .into_iter()
            .zip(1u8..)
            .map(|(thread, number)| {
                let done = thread.join().map_err(|_| anyhow!("a thread panicked"));
                done.flatten()
                    .with_context(|| format!("start node {number}"))
            })
            .collect()
    })
}

fn is_ready(node: &ApiNode) -> bool {
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
