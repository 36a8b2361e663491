//! The chart on the real API server, and the agent with exactly the arguments, environment, files,
//! rights and capabilities that the API server then says its DaemonSet has.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use k8s_openapi::{
    api::{core::v1::Secret, events::v1::Event},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use serde_json::json;
use testbed::{
    agent::{self, CHANGE},
    cluster::{
        Cluster, KubeProxy, SERVICE_HOST,
        chart::{self, path_str},
        objects::{object, service},
    },
    poll,
    probe::Kind,
};

use super::installed::{Installed, START, api_server, ports, web};

/// The kinds of the Prometheus operator, with any content.
fn with_prometheus_operator(cluster: &Cluster) -> Result<()> {
    for (kind, plural) in [
        ("PrometheusRule", "prometheusrules"),
        ("ServiceMonitor", "servicemonitors"),
    ] {
        let name = format!("{plural}.monitoring.coreos.com");
        let definition = json!({
            "metadata": {"name": name},
            "spec": {
                "group": "monitoring.coreos.com",
                "names": {"kind": kind, "plural": plural},
                "scope": "Namespaced",
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    }},
                }],
            },
        });
        let definition: CustomResourceDefinition = object(definition)?;
        cluster.client().create_global(&definition)?;
        poll::until_true(CHANGE, "the kind is served", || {
            let found = cluster
                .client()
                .get_global::<CustomResourceDefinition>(&name)?;
            let conditions = found.and_then(|made| made.status?.conditions);
            Ok(conditions
                .into_iter()
                .flatten()
                .any(|c| c.type_ == "Established" && c.status == "True"))
        })?;
    }
    Ok(())
}

/// A Service that asks for what is not there: `kubectl describe` shows why, which finds Events by
/// the object's uid.
fn tells_by_an_event(cluster: &Cluster) -> Result<()> {
    let mut wrong = service("wrong", "ClusterIP", &ports());
    wrong["metadata"]["annotations"] = json!({"lb-agent.io/scheduler": "fastest"});
    let wrong = cluster.client().add_service("without", wrong)?;
    poll::until_true(CHANGE, "an Event names the annotation", || {
        let events = cluster.client().list::<Event>("without", "")?;
        Ok(events.iter().any(|event| {
            let about = event.regarding.as_ref();
            about.is_some_and(|about| about.uid == wrong.metadata.uid && about.uid.is_some())
                && event
                    .note
                    .as_deref()
                    .is_some_and(|note| note.contains("fastest"))
        }))
    })
}

/// A cluster moves from kube-proxy: the agent comes beside it, then kube-proxy goes, then the node
/// restarts the agent.
#[test]
fn default_values_take_over_from_kube_proxy() -> Result<()> {
    let cluster = Cluster::shared()?;
    let mut node = cluster.node(1)?;
    let (vip, _) = web(&cluster, &mut node, "defaults")?;
    let kube_proxy = KubeProxy::start(cluster.control_plane(), node.sandbox(), node.name())?;
    // Its rules are there when the agent's way to the API server is.
    let api: SocketAddr = format!("{SERVICE_HOST}:443").parse()?;
    poll::until(CHANGE, "kube-proxy serves the API server", || {
        node.connect(Kind::Tcp, api)?.close();
        Ok(Some(()))
    })?;

    // Nobody said where the API server is.
    let mut installed = Installed::new(&cluster, &node, "defaults", &[])?;
    let (address, port) = cluster.control_plane().address();
    let found = format!("The API server is reached at {address}:{port}");
    ensure!(installed.notes.contains(&found), "{}", installed.notes);
    installed.check_rights()?;
    // kube-proxy holds the health port: what the kernel holds tells that the agent has done its
    // work.
    let mut agent = installed.start_without_waiting()?;
    agent.until(START, "the Service is in the kernel", || {
        Ok(installed.serves(vip)?.then_some(()))
    })?;
    // What a user does next, and what `kube-proxy --cleanup` leaves.
    drop(kube_proxy);
    for family in ["ip", "ip6"] {
        node.run(&["nft", "delete", "table", family, "kube-proxy"])?;
    }
    assert_eq!(node.pod(1).ask(Kind::Tcp, vip)?.name, "web-1");
    installed.wait_ready(&mut agent)?;
    let status = agent.terminate(Duration::from_secs(20))?;
    ensure!(status.success(), "SIGTERM: {status}");
    assert_eq!(
        node.pod(1).ask(Kind::Tcp, vip)?.name,
        "web-1",
        "stopped, it left no working data path"
    );

    // Started again with nothing but what it remembers, it follows changes.
    let mut agent = installed.start()?;
    let connected = node.pod(1).connect(Kind::Udp, vip)?;
    assert_eq!(connected.ask("before")?.name, "web-1");
    cluster.client().set_ready("defaults", "web-1", false)?;
    poll::until_true(CHANGE, "the Service without endpoints refuses", || {
        let refused = node
            .pod(1)
            .ask(Kind::Tcp, vip)
            .err()
            .map(|error| error.kind());
        Ok(refused == Some(std::io::ErrorKind::ConnectionRefused))
    })?;
    // Its rights are enough to tell a pod's connected socket.
    poll::until_true(CHANGE, "the connected socket is reset", || {
        let told = connected.recv_within(Duration::from_millis(100)).err();
        Ok(told.and_then(|error| error.raw_os_error()) == Some(libc::ECONNABORTED))
    })?;
    agent.check()?;
    chart::uninstall(cluster.control_plane(), cluster.sandbox(), "defaults").map(drop)
}

#[test]
fn without_kube_proxy_and_with_xdp() -> Result<()> {
    let cluster = Cluster::shared()?;
    let mut node = cluster.node(2)?;
    let (vip, node_port) = web(&cluster, &mut node, "without")?;
    let file = chart::dir().join("ci/without-kube-proxy-values.yaml");
    let [host, port] = api_server(&cluster);
    let values = ["-f", path_str(&file)?, "--set", &host, "--set", &port];
    let mut installed = Installed::new(&cluster, &node, "without", &values)?;
    installed.check_rights()?;
    let mut agent = installed.start()?;
    ensure!(installed.serves(vip)?, "{vip} is not in the kernel");
    assert_eq!(node.pod(1).ask(Kind::Tcp, vip)?.name, "web-1");
    let links = node.run(&["ip", "-json", "link", "show", "eth0"])?;
    ensure!(links.contains("\"xdp\""), "no XDP program on eth0: {links}");
    tells_by_an_event(&cluster)?;
    let outside = cluster.outside(11)?;
    assert_eq!(outside.ask(Kind::Tcp, node_port)?.name, "web-1");
    agent.check()?;
    chart::uninstall(cluster.control_plane(), cluster.sandbox(), "without").map(drop)
}

#[test]
fn with_every_value_changed() -> Result<()> {
    let cluster = Cluster::shared()?;
    let mut node = cluster.node(3)?;
    with_prometheus_operator(&cluster)?;
    let (vip, node_port) = web(&cluster, &mut node, "everything")?;
    let file = chart::dir().join("ci/everything-values.yaml");
    let [host, port] = api_server(&cluster);
    let values = ["-f", path_str(&file)?, "--set", &host, "--set", &port];
    let key = json!({
        "metadata": {"name": "cluster-key"},
        "stringData": {"key": "00112233445566778899aabbccddeeff"},
    });
    let key: Secret = object(key)?;
    cluster.client().create("kube-system", &key)?;
    let mut installed = Installed::new(&cluster, &node, "everything", &values)?;
    installed.check_rights()?;
    let mut agent = installed.start()?;
    ensure!(installed.serves(vip)?, "{vip} is not in the kernel");
    assert_eq!(node.pod(1).ask(Kind::Tcp, vip)?.name, "web-1");
    let outside = cluster.outside(12)?;
    assert_eq!(outside.ask(Kind::Tcp, node_port)?.name, "web-1");
    // Metrics are for the network now.
    let (status, metrics) = agent::http(&node, "127.0.0.1:20249", "/metrics")?;
    ensure!(
        status == 200 && metrics.contains("lb_agent_build_info"),
        "/metrics: {status} {metrics}"
    );
    agent.check()?;
    chart::uninstall(cluster.control_plane(), cluster.sandbox(), "everything").map(drop)
}
