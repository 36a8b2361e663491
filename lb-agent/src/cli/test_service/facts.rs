//! What the API server says of the Service under test, asked the way every pod asks: by the
//! ClusterIP that its environment names.

use std::{collections::BTreeSet, net::IpAddr, time::Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Service, ServicePort};
use kube::{Api, Client, api::ListParams};

use super::super::args::ServiceName;

/// Pause between two requests: a new pod's network may come up later than the pod.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

/// All ways to the Service.
pub(super) struct Facts {
    /// Where the API server was reached.
    pub(super) api: String,
    pub(super) cluster_ips: BTreeSet<IpAddr>,
    /// Its TCP ports.
    pub(super) ports: Vec<u16>,
    /// Its TCP node ports.
    pub(super) node_ports: Vec<u16>,
    /// Internal addresses of ready nodes.
    pub(super) nodes: BTreeSet<IpAddr>,
}

/// Reads them; a server that does not answer is asked again until the deadline.
pub(super) async fn read(service: &ServiceName, deadline: Instant) -> Result<Facts> {
    let config = kube::Config::incluster_env()
        .context("the environment and files of a pod with a ServiceAccount are missing")?;
    let api = config.cluster_url.to_string();
    let client = Client::try_from(config).context("make a client")?;
    loop {
        let error = match ask(&client, service).await {
            Ok((found, nodes)) => return facts(api, &found, &nodes),
            Err(error) => error,
        };
        let refused =
            matches!(&error, kube::Error::Api(status) if (400..500).contains(&status.code));
        if refused || Instant::now() > deadline {
            return Err(error).with_context(|| format!("ask the API server at {api}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask(client: &Client, name: &ServiceName) -> Result<(Service, Vec<Node>), kube::Error> {
    let services = Api::<Service>::namespaced(client.clone(), &name.namespace);
    let service = services.get(&name.name).await?;
    let nodes = Api::<Node>::all(client.clone());
    Ok((service, nodes.list(&ListParams::default()).await?.items))
}

fn facts(api: String, service: &Service, nodes: &[Node]) -> Result<Facts> {
    let spec = service.spec.as_ref().context("a Service without spec")?;
    let cluster_ips: BTreeSet<IpAddr> = spec
        .cluster_ips
        .iter()
        .flatten()
        .filter_map(|ip| ip.parse().ok())
        .collect();
    let tcp = |port: &&ServicePort| port.protocol.as_deref().is_none_or(|it| it == "TCP");
    let ports: Vec<&ServicePort> = spec.ports.iter().flatten().filter(tcp).collect();
    ensure!(!cluster_ips.is_empty(), "the Service has no ClusterIP");
    ensure!(!ports.is_empty(), "the Service has no TCP port");
    let number = |port: i32| u16::try_from(port).ok();
    Ok(Facts {
        api,
        cluster_ips,
        ports: ports.iter().filter_map(|port| number(port.port)).collect(),
        node_ports: ports
            .iter()
            .filter_map(|port| port.node_port.and_then(number))
            .collect(),
        nodes: nodes
            .iter()
            .filter(|node| is_ready(node))
            .flat_map(addresses)
            .collect(),
    })
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|it| it.type_ == "Ready" && it.status == "True")
}

fn addresses(node: &Node) -> Vec<IpAddr> {
    let all = node
        .status
        .iter()
        .flat_map(|status| status.addresses.iter().flatten());
    all.filter(|it| it.type_ == "InternalIP")
        .filter_map(|it| it.address.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made<K: serde::de::DeserializeOwned>(value: serde_json::Value) -> K {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn tcp_ports_and_ready_nodes_are_taken() {
        let service: Service = made(json!({"spec": {"clusterIPs": ["10.96.0.9"], "ports": [
            {"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP", "nodePort": 30053}]}}));
        let node = |ip: &str, ready: &str| -> Node {
            made(
                json!({"status": {"addresses": [{"type": "InternalIP", "address": ip},
                {"type": "Hostname", "address": "n"}], "conditions": [{"type": "Ready", "status": ready}]}}),
            )
        };
        let nodes = [node("198.18.0.1", "True"), node("198.18.0.2", "Unknown")];
        let facts = facts("api".into(), &service, &nodes).unwrap();
        assert_eq!((facts.ports, facts.node_ports), (vec![80], vec![30080]));
        assert_eq!(facts.nodes, ["198.18.0.1".parse().unwrap()].into());
    }

    #[test]
    fn a_service_that_cannot_be_reached_at_all_says_why() {
        for (spec, word) in [
            (
                json!({"clusterIPs": ["None"], "ports": [{"port": 80}]}),
                "ClusterIP",
            ),
            (
                json!({"clusterIPs": ["10.96.0.9"], "ports": [{"port": 53, "protocol": "UDP"}]}),
                "TCP",
            ),
        ] {
            let error = facts(String::new(), &made(json!({"spec": spec})), &[])
                .err()
                .unwrap();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
