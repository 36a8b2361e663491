//! A node of real parts: containerd with runc, a kubelet and CNI plugins, in namespaces of its own.

mod cni;
mod containerd;
mod kubelet;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use testbed::{
    cgroup_v1::V1,
    cluster::{Cluster, Daemon},
    node::Node,
    process,
};

/// Goes with this value, with every pod on it.
#[derive(Debug)]
pub struct RealNode {
    // Dropped in this order: the kubelet before its runtime, processes before their cgroups.
    kubelet: Option<Daemon>,
    containerd: Daemon,
    node: Node,
    _limits: V1,
}

impl RealNode {
    /// Node `number` with its runtime, which has these images; its kubelet does not run yet.
    pub(crate) fn start(
        cluster: &Cluster,
        number: u8,
        logs: &Path,
        images: &[PathBuf],
    ) -> Result<Self> {
        let node = cluster.unregistered_node(number)?;
        let name = node.root_cgroup().path().file_name();
        let name = name.and_then(|name| name.to_str());
        let limits = V1::new(name.context("a cgroup without a name")?)?;
        let files = files(&node);
        fs::create_dir_all(&files).with_context(|| format!("create {}", files.display()))?;
        cni::write(&node)?;
        let mut containerd = containerd::start(&node, logs)?;
        containerd::wait(&node, &mut containerd)?;
        for image in images {
            containerd::import(&node, image)?;
        }
        Ok(Self {
            kubelet: None,
            containerd,
            node,
            _limits: limits,
        })
    }

    /// Starts its kubelet, which registers it.
    pub(crate) fn join(&mut self, cluster: &Cluster, logs: &Path) -> Result<()> {
        self.kubelet = Some(kubelet::start(cluster, &self.node, self.pid(), logs)?);
        Ok(())
    }

    /// An error with the end of a log if one of its processes runs no more.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(kubelet) = &mut self.kubelet {
            kubelet.check()?;
        }
        self.containerd.check()
    }

    /// A process in all its namespaces.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.containerd.pid()
    }

    /// Its addresses, its network namespace, its name.
    #[must_use]
    pub const fn machine(&self) -> &Node {
        &self.node
    }

    /// Runs a program on it, as its processes see the machine; its standard output.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let pid = self.pid().to_string();
        let enter = ["nsenter", "--mount", "--uts", "--target", &pid];
        process::run(self.node.sandbox(), &[&enter[..], words].concat())
    }
}

/// Where everything of a node is.
fn files(node: &Node) -> PathBuf {
    node.files().join("node")
}

/// Which availability zone it is in: two of them, in turn.
fn zone(node: &Node) -> &'static str {
    if node.number() % 2 == 1 {
        "zone-a"
    } else {
        "zone-b"
    }
}
