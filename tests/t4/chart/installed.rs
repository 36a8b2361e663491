//! A release on the real API server, and its container as a process on a node.

use std::{ffi::OsString, fs, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, Secret},
};
use serde_json::json;
use testbed::{
    agent,
    cluster::{
        Client, Cluster, Container, Daemon, chart,
        container::Host,
        objects::{cluster_ip, node_port, service},
    },
    node::Node,
    probe::Family,
};

/// A first start verifies every program.
pub(super) const START: Duration = Duration::from_mins(1);
/// By their numbers.
const CAPABILITIES: [(&str, u64); 4] = [
    ("BPF", 1 << 39),
    ("NET_ADMIN", 1 << 12),
    ("PERFMON", 1 << 38),
    ("SYS_ADMIN", 1 << 21),
];

/// A release, and the machine it runs on.
pub(super) struct Installed<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) node: &'a Node,
    pub(super) release: String,
    /// What helm said when it was installed.
    pub(super) notes: String,
    pub(super) container: Container,
    pub(super) token: String,
    /// So that a second process of the container has a second log.
    starts: usize,
}

impl<'a> Installed<'a> {
    pub(super) fn new(
        cluster: &'a Cluster,
        node: &'a Node,
        release: &str,
        values: &[&str],
    ) -> Result<Self> {
        let notes = chart::install(cluster.control_plane(), cluster.sandbox(), release, values)?;
        ensure!(
            notes.contains("STATUS: deployed") && notes.contains("runs as DaemonSet"),
            "{notes}"
        );
        let daemon_set = daemon_set(cluster, release)?;
        let container = Container::of(&daemon_set)?;
        // The last one is for `socketReset`.
        let all = CAPABILITIES.map(|(name, _)| name);
        let wanted = match container.flag("socket-reset") {
            Some("off") => &all[..3],
            _ => &all,
        };
        assert_eq!(container.capabilities()?, wanted);
        let account = daemon_set
            .spec
            .template
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.as_deref());
        let token = chart::token(
            cluster.control_plane(),
            "kube-system",
            account.context("no ServiceAccount")?,
        )?;
        Ok(Self {
            cluster,
            node,
            release: release.to_owned(),
            notes,
            container,
            token,
            starts: 0,
        })
    }

    /// What the DaemonSet is now, after an upgrade.
    pub(super) fn reload(&mut self) -> Result<()> {
        self.container = Container::of(&daemon_set(self.cluster, &self.release)?)?;
        Ok(())
    }

    /// A helm command on this release.
    pub(super) fn helm(&self, args: &[&str]) -> Result<String> {
        chart::on_cluster(self.cluster.control_plane(), self.cluster.sandbox(), args)
    }

    /// Its rights: what the agent has to read, and no more.
    pub(super) fn check_rights(&self) -> Result<()> {
        let kubeconfig = self
            .cluster
            .control_plane()
            .kubeconfig(self.node.name(), &self.token)?;
        let client = Client::new(self.node.netns(), &kubeconfig)?;
        client.list::<k8s_openapi::api::core::v1::Service>("default", "")?;
        for refused in [
            client.list::<ConfigMap>("default", "").map(drop),
            client.list::<Secret>("default", "").map(drop),
        ] {
            let error = refused
                .err()
                .context("the agent's account may read what it must not")?;
            ensure!(format!("{error:#}").contains("forbidden"), "{error:#}");
        }
        Ok(())
    }

    /// A ready agent.
    pub(super) fn start(&mut self) -> Result<Daemon> {
        let mut agent = self.start_without_waiting()?;
        self.wait_ready(&mut agent)?;
        Ok(agent)
    }

    pub(super) fn start_without_waiting(&mut self) -> Result<Daemon> {
        let words = self.words(&self.container)?;
        self.starts += 1;
        let name = format!("container-{}", self.starts);
        let agent = Daemon::start(&name, &words, self.node.sandbox(), self.node.files())?;
        Ok(agent.telling())
    }

    pub(super) fn words(&self, container: &Container) -> Result<Vec<OsString>> {
        self.words_in(container, "host")
    }

    /// The same, with files of its own for what a host's directories would hold.
    pub(super) fn words_in(&self, container: &Container, files: &str) -> Result<Vec<OsString>> {
        let files = self.node.files().join(files);
        let host = Host {
            node: self.node.name(),
            bpffs: self.node.bpf_dir(),
            cgroup: self.node.root_cgroup().path(),
            home: self.node.cgroup().path(),
            files: &files,
            token: &self.token,
            ca: &self.cluster.control_plane().ca(),
            binary: &agent::binary()?,
        };
        for map in self.cluster.client().list("kube-system", "")? {
            host.put(&map)?;
        }
        for secret in self.cluster.client().list("kube-system", "")? {
            host.put_secret(&secret)?;
        }
        container.words(&host)
    }

    /// As a kubelet asks; then a look at what the process may do.
    pub(super) fn wait_ready(&self, agent: &mut Daemon) -> Result<()> {
        let url = self.container.readiness()?;
        let (address, path) = url
            .trim_start_matches("http://")
            .split_once('/')
            .context("no path")?;
        let path = format!("/{path}");
        agent.until(START, "the agent is ready", || {
            Ok((agent::http(self.node, address, &path)?.0 == 200).then_some(()))
        })?;
        check_capabilities(agent.pid(), &self.container.capabilities()?)
    }

    /// Whether its own pins show this frontend.
    pub(super) fn serves(&self, frontend: SocketAddr) -> Result<bool> {
        let dir = self.container.flag("bpf-dir").context("no --bpf-dir")?;
        let dir = self
            .node
            .bpf_dir()
            .join(dir.trim_start_matches("/sys/fs/bpf/"));
        let services = agent::services_in(self.node, &dir)?;
        let items = services["items"].as_array().context("no items")?;
        Ok(items.iter().any(|item| {
            item["address"] == frontend.ip().to_string()
                && item["port"] == frontend.port()
                && item["protocol"] == "TCP"
        }))
    }
}

/// The release's, as the API server keeps it.
pub(super) fn daemon_set(cluster: &Cluster, release: &str) -> Result<DaemonSet> {
    let selector = format!("app.kubernetes.io/instance={release}");
    let mut sets = cluster
        .client()
        .list::<DaemonSet>("kube-system", &selector)?;
    ensure!(sets.len() == 1, "{} DaemonSets of {release}", sets.len());
    sets.pop().context("no DaemonSet")
}

/// What the process really has, as the kernel says.
fn check_capabilities(pid: u32, names: &[String]) -> Result<()> {
    let wanted = CAPABILITIES
        .iter()
        .filter(|(name, _)| names.iter().any(|n| n == name));
    let wanted: u64 = wanted.map(|(_, bit)| bit).sum();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read its status")?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        let bits = u64::from_str_radix(field(set).context("no capabilities")?, 16)?;
        ensure!(bits == wanted, "{set} {bits:x} instead of {wanted:x}");
    }
    ensure!(
        field("NoNewPrivs:") == Some("1"),
        "it could gain privileges"
    );
    Ok(())
}

pub(super) fn ports() -> serde_json::Value {
    json!([
        {"name": "http", "port": 80, "targetPort": 8080},
        {"name": "ask", "protocol": "UDP", "port": 80, "targetPort": 8080},
    ])
}

/// A Service with one pod on the node, and a client pod; all named after the namespace.
pub(super) fn web(
    cluster: &Cluster,
    node: &mut Node,
    namespace: &str,
) -> Result<(SocketAddr, SocketAddr)> {
    let api = cluster.client();
    api.add_namespace(namespace)?;
    let web = api.add_service(namespace, service("web", "NodePort", &ports()))?;
    cluster.pod(namespace, node, "web-1", "web", 8080)?;
    api.wait_endpoints(namespace, "web", "IPv4", 1)?;
    node.add_pod("client")?;
    let node_port = node.addr().at(Family::V4, node_port(&web)?);
    Ok((SocketAddr::new(cluster_ip(&web)?, 80), node_port))
}

/// The values for a cluster without kube-proxy.
pub(super) fn api_server(cluster: &Cluster) -> [String; 2] {
    let (address, port) = cluster.control_plane().address();
    [
        format!("k8sServiceHost={address}"),
        format!("k8sServicePort={port}"),
    ]
}
