//! `kubectl lb`: by the real kubectl and API server to real agents. What runs in the pods is run by
//! the testbed's part of a kubelet.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink, path::Path};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{
    agent::{self, Agent, CHANGE},
    cluster::{
        Client, Cluster, Kubelet,
        chart::path_str,
        objects::{cluster_ip, object, service},
        tool,
    },
    node::Node,
    poll,
    process::{self, Output},
};

use crate::cluster::common::{agent, ports};

const NAMESPACE: &str = "kubectl-lb";

/// A node with an agent, its pod in the API, and its kubelet.
struct Member {
    node: Node,
    _agent: Agent,
    _kubelet: Kubelet,
}

fn member(cluster: &Cluster, number: u8) -> Result<Member> {
    let node = cluster.node(number)?;
    let agent = agent(cluster, &node)?;
    let kubelet = Kubelet::start(
        cluster.control_plane(),
        &node,
        &agent::binary()?,
        &[
            ("LB_AGENT_BPF_DIR", node.bpf_dir().display().to_string()),
            (
                "LB_AGENT_CGROUP",
                node.root_cgroup().path().display().to_string(),
            ),
        ],
    )?;
    agent_pod(cluster.client(), node.name(), &node)?;
    Ok(Member {
        node,
        _agent: agent,
        _kubelet: kubelet,
    })
}

/// As the chart's DaemonSet makes it.
fn agent_pod(api: &Client, name: &str, node: &Node) -> Result<()> {
    let labels = json!({
        "app.kubernetes.io/part-of": "lb-agent",
        "app.kubernetes.io/component": "agent",
    });
    let pod: Pod = object(json!({
        "metadata": {
            "name": name,
            "labels": labels,
            "ownerReferences": [{
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "name": "lb-agent",
                "uid": "9a1f2b30-0000-4000-8000-000000000001",
                "controller": true,
            }],
        },
        "spec": {
            "nodeName": node.name(),
            "hostNetwork": true,
            "containers": [{"name": "agent", "image": "none"}],
        },
    }))?;
    api.create(NAMESPACE, &pod)?;
    let status = json!({"status": {"phase": "Running", "podIP": node.addr().ips()[0]}});
    api.patch_status::<Pod>(NAMESPACE, name, status).map(drop)
}

/// How a user has it: the binary on the PATH, under the plugin's name.
struct Laptop<'a> {
    cluster: &'a Cluster,
    path: TempDir,
}

impl<'a> Laptop<'a> {
    fn new(cluster: &'a Cluster) -> Result<Self> {
        let path = tempfile::tempdir()?;
        symlink(agent::binary()?, path.path().join("kubectl-lb"))?;
        symlink(tool("kubectl")?, path.path().join("kubectl"))?;
        Ok(Self { cluster, path })
    }

    /// `kubectl lb WORDS`
    fn ask(&self, words: &[&str]) -> Result<Output> {
        let kubectl = self.path.path().join("kubectl");
        let path = format!("PATH={}", self.path.path().display());
        let kubeconfig = format!("KUBECONFIG={}", self.cluster.admin()?.display());
        let line = ["env", &path, &kubeconfig, path_str(&kubectl)?, "lb"];
        let place = ["--agent-namespace", NAMESPACE];
        process::output(self.cluster.sandbox(), &[&line, words, &place].concat())
    }

    /// What it says in JSON, with this exit code.
    fn json(&self, words: &[&str], code: i32) -> Result<Value> {
        let Output {
            stdout,
            stderr,
            status,
        } = self.ask(&[words, &["-o", "json"]].concat())?;
        ensure!(
            status.code() == Some(code),
            "{words:?}: {status}\n{stdout}{stderr}"
        );
        let list: Value = serde_json::from_str(&stdout).with_context(|| stdout.clone())?;
        assert_eq!(list["kind"], "NodeOutputList");
        judge(&list)?;
        Ok(list)
    }

    /// What it says in words.
    fn text(&self, words: &[&str]) -> Result<String> {
        let Output {
            stdout,
            stderr,
            status,
        } = self.ask(words)?;
        ensure!(status.success(), "{words:?}: {status}\n{stdout}{stderr}");
        ensure!(stderr.is_empty(), "{words:?}: {stderr}");
        Ok(stdout)
    }
}

/// By its schema.
fn judge(list: &Value) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/nodes.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let schema = jsonschema::validator_for(&schema).context("the schema")?;
    let found: Vec<String> = schema.iter_errors(list).map(|e| e.to_string()).collect();
    ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}

/// The first words of a table's rows.
fn nodes_of(table: &str) -> BTreeSet<&str> {
    let rows = table.lines().skip(1);
    rows.filter_map(|row| row.split_whitespace().next())
        .collect()
}

#[test]
fn kubectl_lb_asks_the_agents_of_all_nodes() -> Result<()> {
    let cluster = Cluster::shared()?;
    let api = cluster.client();
    api.add_namespace(NAMESPACE)?;
    let web = api.add_service(NAMESPACE, service("web", "ClusterIP", &ports()))?;
    let mut home = cluster.node(61)?;
    cluster.pod(NAMESPACE, &mut home, "web-1", "web", 8080)?;
    api.wait_endpoints(NAMESPACE, "web", "IPv4", 1)?;
    let members = [member(&cluster, 62)?, member(&cluster, 63)?];
    let [a, b] = members.each_ref().map(|m| m.node.name());
    let both = BTreeSet::from([a, b]);
    let laptop = Laptop::new(&cluster)?;
    // An agent is ready once its maps are written; their names follow.
    let own = ["get", "services", "web", "-n", NAMESPACE, "-o", "json"];
    for member in &members {
        poll::until(CHANGE, "the node knows its Services by name", || {
            Ok(agent::verb(&member.node, &own).ok())
        })?;
    }

    // Lists: what each agent itself says, and one table.
    let list = laptop.json(&["get", "services", "web", "-n", NAMESPACE], 0)?;
    for (item, member) in list["items"]
        .as_array()
        .context("items")?
        .iter()
        .zip(&members)
    {
        assert_eq!(item["node"], member.node.name());
        assert_eq!(item["pod"], format!("{NAMESPACE}/{}", member.node.name()));
        let own = agent::verb(&member.node, &own)?;
        assert_eq!(item["output"], serde_json::from_str::<Value>(&own)?);
    }
    let frontend = format!("{}:80", cluster_ip(&web)?);
    let table = laptop.text(&["get", "svc", "web", "-n", NAMESPACE])?;
    assert_eq!(nodes_of(&table), both, "{table}");
    let rows = table
        .lines()
        .filter(|l| l.contains(&frontend) && l.contains("kubectl-lb/web:"));
    // TCP and UDP.
    assert_eq!(rows.count(), 4, "{table}");
    let one = laptop.text(&[
        "get",
        "svc",
        "web",
        "-n",
        NAMESPACE,
        "--no-headers",
        "--node",
        b,
    ])?;
    ensure!(
        one.lines().count() == 2 && one.lines().all(|l| l.starts_with(b)),
        "{one}"
    );
    let names = laptop.text(&["get", "services", "-n", NAMESPACE, "-o", "name"])?;
    assert_eq!(names, "service/kubectl-lb/web\n");
    let sorted = laptop.text(&["get", "backends", "web-1", "--sort-by", "address"])?;
    assert_eq!(nodes_of(&sorted), both, "{sorted}");
    let absent = laptop.ask(&["get", "services", "absent"])?;
    ensure!(
        absent.status.code() == Some(1) && absent.stderr.contains("nothing is found for absent"),
        "{absent:?}"
    );

    // The other verbs.
    let status = laptop.text(&["status"])?;
    assert_eq!(nodes_of(&status), both, "{status}");
    assert_eq!(status.matches("running").count(), 2, "{status}");
    let check = laptop.ask(&["check"])?;
    let worst = members.iter().map(|m| {
        let dir = m.node.bpf_dir().display().to_string();
        let words = [path_str(&agent::binary()?)?, "check", "--bpf-dir", &dir].map(str::to_owned);
        Ok(process::output(m.node.sandbox(), &words)?.status.code())
    });
    let worst: Result<Vec<Option<i32>>> = worst.collect();
    assert_eq!(
        check.status.code(),
        worst?.into_iter().flatten().max(),
        "{check:?}"
    );
    ensure!(check.stdout.ends_with(" ok on 2 nodes\n"), "{check:?}");
    let top = laptop.text(&["top", "--once", "--interval", "100ms", "-n", NAMESPACE])?;
    assert_eq!(nodes_of(&top), both, "{top}");
    let top = laptop.text(&["top", "--once", "--sum", "-n", NAMESPACE])?;
    assert_eq!(nodes_of(&top), BTreeSet::from(["all"]), "{top}");
    let why = laptop.text(&["explain", "svc/web", "-n", NAMESPACE])?;
    let heading = format!("=== nodes {a}, {b}\n");
    ensure!(
        why.starts_with(&heading) && !why[1..].contains("==="),
        "{why}"
    );
    ensure!(why.contains("web-1"), "{why}");
    some_nodes_are_silent(&cluster, &home, &laptop, [a, b])
}

/// A node without a kubelet, one whose kubelet says nothing, and one without an agent.
fn some_nodes_are_silent(
    cluster: &Cluster,
    home: &Node,
    laptop: &Laptop<'_>,
    answering: [&str; 2],
) -> Result<()> {
    let api = cluster.client();
    let _silent = Kubelet::silent(home)?;
    agent_pod(api, "silent", home)?;
    let dead = cluster.node(64)?;
    agent_pod(api, "dead", &dead)?;
    let some = laptop.ask(&["get", "services", "web", "--timeout", "2s"])?;
    assert_eq!(some.status.code(), Some(3), "{some:?}");
    assert_eq!(
        nodes_of(&some.stdout),
        BTreeSet::from(answering),
        "{some:?}"
    );
    for node in [home, &dead] {
        ensure!(
            some.stderr.contains(&format!("node {}: ", node.name())),
            "{some:?}"
        );
    }
    ensure!(some.stderr.contains("has not answered in 2s"), "{some:?}");
    let list = laptop.json(
        &[
            "status",
            "--timeout=2s",
            "--node",
            "absent",
            "--node",
            answering[0],
        ],
        3,
    )?;
    assert_eq!(list["items"][0]["node"], "absent");
    assert_eq!(
        list["items"][0]["error"],
        "no pod of an agent is on this node"
    );
    assert_eq!(list["items"][1]["output"]["running"], true);
    Ok(())
}
