//! The demo's stage: a node with three web pods, a DNS pod and a client pod, a machine outside, the
//! agent.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use testbed::{
    addr::{self, Both},
    agent::{self, Agent, Start},
    lan::Client,
    node::Node,
    pod::Pod,
    process::Process,
};

use crate::{cluster::FromCluster, manifests::FromManifests, servers, show};

/// The web pods.
pub(crate) const WEB: [&str; 3] = ["web-1", "web-2", "web-3"];
/// The pod of the DNS server.
pub(crate) const DNS: &str = "dns";
/// The pod that asks.
pub(crate) const CLIENT: &str = "client";
/// Where the web pods listen.
pub(crate) const TARGET: u16 = 8080;
/// The service's node port.
pub(crate) const NODE_PORT: u16 = 30080;
/// ClusterIP of the Service `web`.
pub(crate) const WEB_VIP: Both = addr::vip(80);
/// ClusterIP of the Service `kube-dns`.
pub(crate) const DNS_VIP: Both = addr::vip(10);

/// Where the objects are.
pub(crate) enum Source {
    /// In a folder.
    Manifests(FromManifests),
    /// In an API server.
    Cluster(Box<FromCluster>),
}

/// Fields go in this order: what runs, then where it runs.
pub(crate) struct Stage {
    pub(crate) agent: Agent,
    /// Held: dropping ends them.
    _servers: Vec<Process>,
    pub(crate) node: Node,
    pub(crate) outside: Client,
    pub(crate) source: Source,
}

impl Stage {
    /// Everything up to an agent that is ready.
    pub(crate) fn build(cluster: bool) -> Result<Self> {
        show::title("A node, its pods, and a machine outside, in network namespaces of their own");
        let mut source = if cluster {
            show::say(
                "A real etcd, kube-apiserver and kube-controller-manager start; they take a while.",
            );
            Source::Cluster(Box::new(FromCluster::start()?))
        } else {
            Source::Manifests(FromManifests::start()?)
        };
        let (mut node, outside) = match &mut source {
            Source::Manifests(source) => source.machines()?,
            Source::Cluster(source) => source.machines()?,
        };
        for name in WEB.into_iter().chain([DNS, CLIENT]) {
            node.add_pod(name)?;
        }
        picture(&node, &outside);
        let mut servers = Vec::new();
        for pod in node.pods().iter().filter(|pod| WEB.contains(&pod.name())) {
            servers.push(servers::web(pod, TARGET, node.files())?);
        }
        let conf = node.files().join("resolv.conf");
        fs::write(&conf, servers::resolv_conf(&DNS_VIP.v4.to_string()))
            .context("write resolv.conf")?;
        let client = node
            .pods_mut()
            .iter_mut()
            .find(|pod| pod.name() == CLIENT)
            .context("no client pod")?;
        client.host_mut().resolve_by(&conf);

        let start = match &mut source {
            Source::Manifests(_) => {
                servers.push(servers::dns(
                    find(&node, DNS)?,
                    &[("web", WEB_VIP), ("kube-dns", DNS_VIP)],
                    node.files(),
                )?);
                FromManifests::apply(&node)?
            }
            Source::Cluster(source) => source.apply(&node)?,
        };
        let agent = start_agent(start, &node)?;
        if let Source::Cluster(source) = &mut source {
            source.dns(find(&node, DNS)?)?;
        }
        Ok(Self {
            agent,
            _servers: servers,
            node,
            outside,
            source,
        })
    }

    /// The pod that asks.
    pub(crate) fn client(&self) -> Result<&Pod> {
        find(&self.node, CLIENT)
    }

    /// The machine's own files of the demo.
    pub(crate) fn files(&self) -> PathBuf {
        self.node.files().to_owned()
    }

    /// Takes a web pod out of its Service: by hand, or as a cluster does it.
    pub(crate) fn remove_backend(&self, name: &str) -> Result<()> {
        match &self.source {
            Source::Manifests(_) => FromManifests::remove_backend(&self.node, name),
            Source::Cluster(source) => source.remove_backend(name),
        }
    }
}

fn find<'a>(node: &'a Node, name: &str) -> Result<&'a Pod> {
    node.pods()
        .iter()
        .find(|pod| pod.name() == name)
        .with_context(|| format!("no pod {name}"))
}

fn start_agent(start: Start, node: &Node) -> Result<Agent> {
    show::title("The agent starts");
    let start = start.args(&["--attach-xdp", "eth0"]);
    let shown = start
        .line(node)?
        .join(" ")
        .replace(&agent::binary()?.display().to_string(), "lb-agent");
    show::prompt("node", &format!("{shown} &"));
    let started = std::time::Instant::now();
    let agent = start.on(node)?;
    show::say(&format!(
        "  ready after {} ms",
        started.elapsed().as_millis()
    ));
    Ok(agent)
}

fn picture(node: &Node, outside: &Client) {
    let pods = node
        .pods()
        .iter()
        .map(|pod| format!("{} {}", pod.name(), pod.addr().v4))
        .collect::<Vec<_>>();
    show::say(&format!(
        "\n  outside {} ── eth0 {} {}\n                                        ├ {}\n",
        outside.addr.v4,
        node.addr().v4,
        node.name(),
        pods.join("\n                                        ├ ")
    ));
}
