//! What is wrong with a machine, told by Events on its Node.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    core::v1::Node as NodeObject, discovery::v1::EndpointSlice, events::v1::Event,
};
use serde_json::json;
use testbed::{
    agent::CHANGE,
    cluster::{
        Cluster,
        objects::{cluster_ip, object, service},
    },
    node::Node,
    poll,
};

use crate::cluster::common::{by_kubeconfig, frontend, frontends, ports};

/// By reason: the notes of the Warnings on this very Node.
fn told(cluster: &Cluster, node: &Node) -> Result<BTreeMap<String, Vec<String>>> {
    let api = cluster.client();
    let uid = api
        .get_global::<NodeObject>(node.name())?
        .and_then(|node| node.metadata.uid)
        .context("a Node has a uid")?;
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // Those of objects without a namespace are there.
    for event in api.list::<Event>("default", "")? {
        let about = event.regarding.and_then(|about| about.uid);
        if about.as_ref() == Some(&uid) && event.type_.as_deref() == Some("Warning") {
            let reason = event.reason.unwrap_or_default();
            let notes = told.entry(reason).or_default();
            notes.push(event.note.unwrap_or_default());
        }
    }
    Ok(told)
}

#[test]
fn what_is_wrong_with_a_machine_is_told_by_events_on_its_node() -> Result<()> {
    let cluster = Cluster::shared()?;
    let api = cluster.client();
    let node = cluster.node(50)?;
    api.add_namespace("events")?;
    api.add_service("events", service("hinted", "ClusterIP", &ports()))?;
    let slice: EndpointSlice = object(json!({
        "metadata": {"name": "hinted-1", "labels": {"kubernetes.io/service-name": "hinted"}},
        "addressType": "IPv4",
        "ports": [{"name": "tcp", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.244.50.9"], "hints": {"forZones": [{"name": "a"}]}}],
    }))?;
    api.create("events", &slice)?;
    node.run(&["nft", "add table ip kube-proxy"])?;
    let _agent = by_kubeconfig(&cluster)?
        .args(&[
            "--attach-xdp",
            "nosuch0",
            "--node-port-addresses",
            "203.0.113.0/24",
        ])
        .on(&node)?;
    let expected = [
        ("DeviceMissing", "nosuch0"),
        ("NoNodePortAddress", "--node-port-addresses"),
        ("NoZoneLabel", "topology.kubernetes.io/zone"),
        ("KubeProxyLeftovers", "table ip kube-proxy"),
        ("CgroupNotRoot", "--cgroup"),
    ];
    poll::until(CHANGE, "every trouble is told", || {
        let told = told(&cluster, &node)?;
        for (reason, words) in expected {
            let notes = told.get(reason);
            let said = notes.is_some_and(|all| all.iter().any(|note| note.contains(words)));
            ensure!(said, "{reason} is not among {told:#?}");
        }
        Ok(Some(()))
    })?;
    // A device that comes and goes, and services that change, tell nothing anew.
    for _ in 0..3 {
        node.netns()
            .ip("link add nosuch0 type veth peer name other\nlink del nosuch0\n")?;
    }
    let other = api.add_service("events", service("other", "ClusterIP", &ports()))?;
    let other = frontend(cluster_ip(&other)?);
    poll::until_true(CHANGE, "the change has been seen", || {
        Ok(frontends(&node)?.contains(&other))
    })?;
    let all = told(&cluster, &node)?;
    for (reason, _) in expected {
        ensure!(all[reason].len() == 1, "{reason} more than once: {all:#?}");
    }
    ensure!(all.len() == expected.len(), "something else too: {all:#?}");
    Ok(())
}
