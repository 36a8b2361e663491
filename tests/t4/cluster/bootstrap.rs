//! The first minutes of an agent in a cluster in which no other proxy programs the API server's
//! Service.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::DaemonSet;
use serde_json::{Value, json};
use testbed::{
    agent::{self, HEALTH},
    cluster::{
        ADMIN_TOKEN, Cluster, Container, Daemon, SERVICE_HOST,
        container::Host,
        objects::{cluster_ip, node_port, object, service},
    },
    node::Node,
};

use crate::cluster::common::{answered_by, frontends_in, ports};

/// A first start verifies every program.
const START: Duration = Duration::from_mins(1);
const STOP: Duration = Duration::from_secs(20);
/// Where the pins are if nothing is said.
const DEFAULT_DIR: &str = "lb";

/// A DaemonSet as a person writes it who has read one line of documentation.
fn daemon_set(args: &[&str], env: &Value) -> Result<DaemonSet> {
    let mounts = [
        ("bpf", "/sys/fs/bpf"),
        ("cgroup", "/sys/fs/cgroup"),
        ("state", "/var/lib/lb-agent"),
    ];
    let volumes: Vec<Value> = mounts
        .iter()
        .map(|(name, path)| json!({"name": name, "hostPath": {"path": path}}))
        .collect();
    let mounts: Vec<Value> = mounts
        .iter()
        .map(|(name, path)| json!({"name": name, "mountPath": path}))
        .collect();
    let security = json!({
        "runAsUser": 0,
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"], "add": ["BPF", "NET_ADMIN", "PERFMON"]},
    });
    let container = json!({"name": "agent", "image": "none", "args": args, "env": env, "volumeMounts": mounts,
        "securityContext": security});
    object(json!({"metadata": {"name": "plain"}, "spec": {
        "selector": {"matchLabels": {"app": "plain"}},
        "template": {"metadata": {"labels": {"app": "plain"}},
            "spec": {"hostNetwork": true, "containers": [container], "volumes": volumes}},
    }}))
}

/// The environment of a pod that is told where the API server is.
fn told(cluster: &Cluster) -> Value {
    let (address, port) = cluster.control_plane().address();
    json!([
        {"name": "KUBERNETES_SERVICE_HOST", "value": address},
        {"name": "KUBERNETES_SERVICE_PORT", "value": port.to_string()},
    ])
}

fn start(cluster: &Cluster, node: &Node, args: &[&str], env: &Value) -> Result<Daemon> {
    let (files, ca, binary) = (files(node), cluster.control_plane().ca(), agent::binary()?);
    let host = Host {
        node: node.name(),
        bpffs: node.bpf_dir(),
        cgroup: node.root_cgroup().path(),
        home: node.cgroup().path(),
        files: &files,
        token: ADMIN_TOKEN,
        ca: &ca,
        binary: &binary,
    };
    let words = Container::of(&daemon_set(args, env)?)?.words(&host)?;
    let agent = Daemon::start("in-cluster-agent", &words, node.sandbox(), node.files())?;
    Ok(agent.telling())
}

fn files(node: &Node) -> PathBuf {
    node.files().join("host")
}

fn ready(agent: &mut Daemon, node: &Node) -> Result<()> {
    agent.until(START, "the agent is ready", || {
        Ok((agent::http(node, HEALTH, "/readyz")?.0 == 200).then_some(()))
    })
}

fn pins(node: &Node) -> PathBuf {
    node.bpf_dir().join(DEFAULT_DIR)
}

fn cleanup(node: &Node, dir: &Path) -> Result<()> {
    let (binary, dir) = (agent::binary()?, dir.display().to_string());
    node.run(&[&binary.display().to_string(), "cleanup", "--bpf-dir", &dir])
        .map(drop)
}

#[test]
fn attach_xdp_and_nothing_else_is_a_way_to_start_it() -> Result<()> {
    let cluster = Cluster::shared()?;
    let api = cluster.client();
    let mut node = cluster.node(6)?;
    api.add_namespace("xdp")?;
    let web = api.add_service("xdp", service("web", "NodePort", &ports()))?;
    cluster.pod("xdp", &mut node, "web-1", "web", 8080)?;
    api.wait_endpoints("xdp", "web", "IPv4", 1)?;
    node.add_pod("client")?;

    let mut agent = start(&cluster, &node, &["--attach-xdp", "eth0"], &told(&cluster))?;
    ready(&mut agent, &node)?;
    answered_by(
        node.pod(1),
        SocketAddr::new(cluster_ip(&web)?, 80),
        &["web-1"],
    )?;
    let outside = cluster.outside(22)?;
    answered_by(
        &outside,
        node.addr().at(testbed::probe::Family::V4, node_port(&web)?),
        &["web-1"],
    )?;
    let links = node.run(&["ip", "-json", "link", "show", "eth0"])?;
    ensure!(links.contains("\"xdp\""), "no XDP program on eth0: {links}");
    ensure!(
        !frontends_in(&node, &pins(&node))?.is_empty(),
        "nothing is pinned in the default directory"
    );
    let status = agent.terminate(STOP)?;
    ensure!(status.success(), "SIGTERM: {status}");
    cleanup(&node, &pins(&node))?;
    ensure!(
        !node
            .run(&["ip", "-json", "link", "show", "eth0"])?
            .contains("\"xdp\""),
        "cleanup left XDP on eth0"
    );
    Ok(())
}

#[test]
fn by_the_cluster_ip_alone_it_starts_only_with_what_it_remembers() -> Result<()> {
    let cluster = Cluster::shared()?;
    let api = cluster.client();
    let mut node = cluster.node(7)?;
    api.add_namespace("bootstrap")?;
    let web = api.add_service("bootstrap", service("web", "ClusterIP", &ports()))?;
    cluster.pod("bootstrap", &mut node, "web-1", "web", 8080)?;
    api.wait_endpoints("bootstrap", "web", "IPv4", 1)?;
    node.add_pod("client")?;
    let vip = SocketAddr::new(cluster_ip(&web)?, 80);

    // What a kubelet gives to every pod names the Service, which no proxy serves yet; nothing is
    // remembered.
    let mut agent = start(&cluster, &node, &[], &json!([]))?;
    agent.until(START, "it says what to set", || {
        let log = std::fs::read_to_string(node.files().join("in-cluster-agent.log"))
            .context("read its log")?;
        Ok((log.contains("k8sServiceHost") && log.contains(SERVICE_HOST)).then_some(()))
    })?;
    ensure!(
        agent::http(&node, HEALTH, "/readyz")?.0 == 503,
        "it says that it is ready, and knows nothing"
    );
    agent.kill()?;

    // Told once, it remembers.
    let mut agent = start(&cluster, &node, &[], &told(&cluster))?;
    ready(&mut agent, &node)?;
    answered_by(node.pod(1), vip, &["web-1"])?;
    agent.kill()?;

    // With the programs gone nothing serves the cluster IP, and it starts all the same.
    cleanup(&node, &pins(&node))?;
    let mut agent = start(&cluster, &node, &[], &json!([]))?;
    ready(&mut agent, &node)?;
    answered_by(node.pod(1), vip, &["web-1"])?;
    cluster.pod("bootstrap", &mut node, "web-2", "web", 8080)?;
    answered_by(node.pod(1), vip, &["web-1", "web-2"])?;
    agent.check()
}
