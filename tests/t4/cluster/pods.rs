//! On which path the sockets of each pod are: by what is written of it, by annotations, and where its
//! processes are.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Context as _, Result, anyhow, ensure};
use k8s_openapi::api::{
    core::v1::{Namespace, Pod},
    events::v1::Event,
};
use nix::sys::socket::{getsockopt, sockopt};
use serde_json::{Value, json};
use testbed::{
    addr::Both,
    agent::{CHANGE, verb_with_state},
    cluster::{
        Cluster,
        objects::{cluster_ip, object, service},
    },
    host::Host,
    node::Node,
    poll,
    probe::Kind,
};

use crate::cluster::common::{agent, answered_by, ports};

const NAMESPACE: &str = "clients";
/// Where a side-car listens.
const SIDE_CAR: u16 = 15001;

/// A pod of the node in the API, with these containers; its UID.
fn written(cluster: &Cluster, node: &Node, name: &str, containers: &[&str]) -> Result<String> {
    let containers: Vec<Value> = containers
        .iter()
        .map(|name| json!({"name": name, "image": "none"}))
        .collect();
    let pod: Pod = object(json!({
        "metadata": {"name": name},
        "spec": {"nodeName": node.name(), "containers": containers},
    }))?;
    let made = cluster.client().create(NAMESPACE, &pod)?;
    made.metadata.uid.context("a Pod has a uid")
}

/// Puts the processes of a pod into the cgroup that the kubelet would give it.
fn into_its_cgroup(node: &Node, pod: &Host, uid: &str) -> Result<()> {
    let slice = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
    let parent = node
        .cgroup()
        .path()
        .join("kubepods.slice/kubepods-burstable.slice");
    let dir = parent.join(slice).join("cri-containerd-1.scope");
    fs::create_dir_all(&dir)?;
    for pid in fs::read_to_string(pod.cgroup().path().join("cgroup.procs"))?.lines() {
        fs::write(dir.join("cgroup.procs"), pid)?;
    }
    Ok(())
}

fn annotate(value: Option<&str>) -> Value {
    json!({"metadata": {"annotations": {"lb-agent.io/socket-lb": value}}})
}

/// What `get pods` says of one, once it says this.
fn shown(node: &Node, name: &str, path: &str, reason: &str) -> Result<Value> {
    poll::until(CHANGE, &format!("{name} is on {path}: {reason}"), || {
        let text = verb_with_state(node, &["get", "pods", "-o", "json"])?;
        let list: Value = serde_json::from_str(&text)?;
        let pods = list["items"].as_array().context("no items")?;
        let pod = pods.iter().find(|pod| pod["name"] == name);
        let pod = pod.with_context(|| format!("{name} is not among {pods:#?}"))?;
        ensure!(pod["path"] == path && pod["reason"] == reason, "{pod:#}");
        ensure!(pod["netns"] != json!([]), "{pod:#}");
        Ok(Some(pod.clone()))
    })
}

/// What a side-car reads of a connection of the pod: SO_ORIGINAL_DST.
fn original(pod: &Host, to: SocketAddr) -> Result<SocketAddr> {
    let listener = pod.block(|| Ok(std::net::TcpListener::bind(("0.0.0.0", SIDE_CAR))?))?;
    let sock = pod.connect(Kind::Tcp, to)?;
    // It is established, so it waits there, or is a backend's.
    listener.set_nonblocking(true)?;
    let (accepted, _) = listener.accept()?;
    let found = getsockopt(&accepted, sockopt::OriginalDst)?;
    drop(sock);
    let ip = std::net::Ipv4Addr::from(u32::from_be(found.sin_addr.s_addr));
    Ok((ip, u16::from_be(found.sin_port)).into())
}

fn judged_by_schema(node: &Node) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/pods.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let schema = jsonschema::validator_for(&schema).map_err(|e| anyhow!("{e}"))?;
    let text = verb_with_state(node, &["get", "pods", "-o", "json"])?;
    let list: Value = serde_json::from_str(&text)?;
    let wrong: Vec<String> = schema.iter_errors(&list).map(|e| e.to_string()).collect();
    ensure!(wrong.is_empty(), "{wrong:#?}");
    ensure!(list["items"] != json!([]));
    let table = verb_with_state(node, &["get", "pods", "-n", NAMESPACE])?;
    ensure!(table.contains("istio"), "{table}");
    let names = verb_with_state(node, &["get", "pods", "-o", "name", "mesh"])?;
    ensure!(names.trim() == format!("pod/{NAMESPACE}/mesh"), "{names}");
    Ok(())
}

/// Backends see the pod itself, or not.
fn seen_as(pod: &Host, addr: Both, to: SocketAddr, itself: bool) -> Result<()> {
    poll::until(CHANGE, &format!("backends see the pod: {itself}"), || {
        let seen = pod.ask(Kind::Tcp, to)?.client.ip();
        ensure!((seen == addr.v4) == itself, "seen as {seen}");
        Ok(Some(()))
    })
}

#[test]
fn each_pod_is_on_the_path_that_fits_it() -> Result<()> {
    let cluster = Cluster::shared()?;
    let api = cluster.client();
    let mut node = cluster.node(53)?;
    api.add_namespace(NAMESPACE)?;
    let web = api.add_service(NAMESPACE, service("web", "ClusterIP", &ports()))?;
    let to = SocketAddr::new(cluster_ip(&web)?, 80);
    cluster.pod(NAMESPACE, &mut node, "web-1", "web", 8080)?;
    api.wait_endpoints(NAMESPACE, "web", "IPv4", 1)?;
    let (mesh, ordinary) = (node.pods().len(), node.pods().len() + 1);
    node.add_pod("mesh")?;
    node.add_pod("ordinary")?;
    let _agent = agent(&cluster, &node)?;

    // One is found by its processes, without an address in the API; the other by its address.
    let uid = written(&cluster, &node, "mesh", &["app", "istio-proxy"])?;
    into_its_cgroup(&node, node.pod(mesh), &uid)?;
    written(&cluster, &node, "ordinary", &["app"])?;
    let addr = node.pod(ordinary).addr();
    let status = json!({"status": {"phase": "Running", "podIP": addr.v4, "podIPs": [{"ip": addr.v4}, {"ip": addr.v6}]}});
    api.patch_status::<Pod>(NAMESPACE, "ordinary", status)?;
    let (mesh, ordinary) = (node.pod(mesh), node.pod(ordinary));
    shown(&node, "mesh", "packet", "istio")?;
    shown(&node, "ordinary", "socket", "default")?;
    answered_by(ordinary, to, &["web-1"])?;
    seen_as(ordinary, addr, to, true)?;

    // Known before there is any rule, so the first connection that one redirects is right.
    for line in [
        "add table ip mesh",
        "add chain ip mesh output { type nat hook output priority -100 ; }",
        "add rule ip mesh output tcp dport 80 redirect to :15001",
    ] {
        mesh.run(&["nft", line])?;
    }
    assert_eq!(original(mesh, to)?, to);
    judged_by_schema(&node)?;

    // The Pod's word, and its namespace's.
    api.patch::<Pod>(NAMESPACE, "ordinary", annotate(Some("off")))?;
    shown(&node, "ordinary", "packet", "annotation")?;
    seen_as(ordinary, addr, to, false)?;
    api.patch::<Pod>(NAMESPACE, "ordinary", annotate(None))?;
    shown(&node, "ordinary", "socket", "default")?;
    seen_as(ordinary, addr, to, true)?;
    api.patch_global::<Namespace>(NAMESPACE, annotate(Some("off")))?;
    shown(&node, "ordinary", "packet", "namespace-annotation")?;
    seen_as(ordinary, addr, to, false)?;

    // Against what is seen: done, and told.
    api.patch::<Pod>(NAMESPACE, "mesh", annotate(Some("on")))?;
    let pod = shown(&node, "mesh", "socket", "annotation")?;
    ensure!(pod["conflict"].is_string(), "{pod:#}");
    poll::until_true(CHANGE, "an Event on the Pod tells it", || {
        let events = api.list::<Event>(NAMESPACE, "")?;
        Ok(events.iter().any(|event| {
            event.reason.as_deref() == Some("SocketLbConflict")
                && event
                    .regarding
                    .as_ref()
                    .and_then(|about| about.uid.as_ref())
                    == Some(&uid)
        }))
    })?;
    // The redirect sees a backend's port now, and so nothing of its own.
    assert_eq!(mesh.ask(Kind::Tcp, to)?.name, "web-1");
    Ok(())
}
