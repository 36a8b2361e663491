//! Who balances on the nodes: our agent by XDP and by tc, and the real kube-proxy, all stopped once
//! they have written what they have to.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Result, ensure};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use serde_json::{Value, json};
use testbed::{
    agent::Start,
    cluster::{Cluster, KubeProxy},
    manifest,
    node::Node,
    poll,
};

use super::{
    network::{BACKENDS, DOWN, LOCAL, REMOTE, UP, backend},
    programs::SERVICES,
};
use crate::{
    bulk::{self, NAMESPACE},
    report::add,
    services::udp_slice,
};

/// Node ports of services whose backends are remote, and local: this one and up.
pub(super) const REMOTE_PORT: u16 = 30_000;
pub(super) const LOCAL_PORT: u16 = 31_000;
/// Ports of backends: this one and up, one a service.
pub(super) const TARGET: u16 = 8000;
/// It has few services, and may be slow to look at them.
const RULES: Duration = Duration::from_mins(1);

/// All services, those of both kinds of backend; the local ones run on this node.
fn objects(node: &str) -> Vec<(Value, Value)> {
    let kinds = [
        ("remote", REMOTE, REMOTE_PORT),
        ("local", LOCAL, LOCAL_PORT),
    ];
    kinds
        .into_iter()
        .flat_map(|(kind, network, port)| {
            (0..SERVICES).map(move |i| {
                let on = (network == LOCAL).then_some(node);
                one(&format!("{kind}-{i}"), network, (port + i, TARGET + i), on)
            })
        })
        .collect()
}

fn one(
    name: &str,
    network: Ipv4Addr,
    (port, target): (u16, u16),
    on: Option<&str>,
) -> (Value, Value) {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"type": "NodePort", "ports": [
            {"name": "udp", "protocol": "UDP", "port": 80, "targetPort": target, "nodePort": port},
        ]},
    });
    let endpoints: Vec<Value> = (0..BACKENDS)
        .map(|k| {
            let mut endpoint =
                json!({"addresses": [backend(network, k)], "conditions": {"ready": true}});
            if let Some(node) = on {
                endpoint["nodeName"] = node.into();
            }
            endpoint
        })
        .collect();
    let slice = udp_slice(NAMESPACE, name, target, &endpoints);
    (service, slice)
}

/// Puts the services into the API server. Whether an endpoint is local makes no difference to
/// kube-proxy here.
pub(super) fn create(cluster: &Cluster) -> Result<()> {
    let api = cluster.client();
    api.add_namespace(NAMESPACE)?;
    let (services, slices): (Vec<Value>, Vec<Value>) = objects("nowhere").into_iter().unzip();
    bulk::create::<Service>(api, services)?;
    bulk::create::<EndpointSlice>(api, slices)
}

/// The agent's programs and maps, with XDP or without.
pub(super) fn ours(node: &Node, xdp: bool) -> Result<()> {
    node.write_manifest("node.yaml", &manifest::node(node))?;
    // JSON is YAML.
    let mut text = String::new();
    for (i, (mut service, slice)) in objects(node.name()).into_iter().enumerate() {
        // What an API server would give it.
        let address = format!("10.96.1.{i}");
        service["spec"]["clusterIP"] = address.clone().into();
        service["spec"]["clusterIPs"] = json!([address]);
        service["spec"]["ipFamilies"] = json!(["IPv4"]);
        add(&mut text, format_args!("{service}\n---\n{slice}\n---\n"));
    }
    node.write_manifest("services.yaml", &text)?;
    let mut start = Start::new().args(&[
        // Two records a flow, of two rows.
        "--map-capacity",
        "lb_flows=2097152",
    ]);
    if xdp {
        let devices = ["--attach-xdp", UP, "--attach-xdp", DOWN];
        start = start.args(&[&devices[..], &["--xdp-mode", "native"]].concat());
        node.port().take_xdp_tx()?;
    }
    let mut agent = start.on(node)?;
    agent.quiet();
    let ended = agent.stop()?;
    ensure!(ended.success(), "the agent ended with {ended}");
    Ok(())
}

/// kube-proxy's rules, complete when this returns.
pub(super) fn theirs(cluster: &Cluster, node: &Node, mode: &str) -> Result<()> {
    let mut kube_proxy =
        KubeProxy::start_in(cluster.control_plane(), node.sandbox(), node.name(), mode)?;
    let (words, wanted) = match mode {
        "nftables" => (["nft", "list", "ruleset"].as_slice(), "service-endpoint"),
        _ => (["iptables-save", "-t", "nat"].as_slice(), "KUBE-SEP-"),
    };
    let last = format!("{}", LOCAL_PORT + SERVICES - 1);
    poll::until_true(RULES, "kube-proxy has written all its rules", || {
        kube_proxy.check()?;
        let rules = node.run(words)?;
        Ok(rules.contains(wanted) && rules.contains(&last))
    })
}
