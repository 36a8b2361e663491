//! The Services of the test as the manifests that the agent reads.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{
    addresses::{Family, Seat},
    kind::{Kind, PORT, TARGET},
};

/// The name of the node.
pub(super) const NODE: &str = "selftest";
/// Of another node, which is not there.
const OTHER_NODE: &str = "selftest-far";

/// The text of a manifest: the Node, and each Service with its slices.
pub(super) fn manifest(families: &[Family]) -> String {
    let mut objects = vec![node(families)];
    for kind in Kind::ALL {
        objects.push(service(kind, families));
        objects.extend(families.iter().map(|family| slice(kind, *family)));
    }
    let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
    texts.join("\n---\n") + "\n"
}

fn node(families: &[Family]) -> Value {
    let addresses = families
        .iter()
        .map(|family| json!({"type": "InternalIP", "address": Seat::Client.gateway(*family)}));
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE},
        "status": {"addresses": addresses.collect::<Vec<_>>()},
    })
}

fn service(kind: Kind, families: &[Family]) -> Value {
    let ips = |of: fn(Kind, Family) -> IpAddr| -> Vec<IpAddr> {
        families.iter().map(|family| of(kind, *family)).collect()
    };
    let has_node_port = kind.service_type() != "ClusterIP";
    let ports = ["TCP", "UDP"].map(|protocol| {
        let mut port = json!({
            "name": protocol.to_lowercase(), "protocol": protocol,
            "port": PORT, "targetPort": TARGET,
        });
        if has_node_port {
            port["nodePort"] = kind.node_port().into();
        }
        port
    });
    let cluster_ips: Vec<String> = match kind {
        Kind::Headless => vec!["None".to_owned()],
        _ => ips(Kind::cluster_ip)
            .iter()
            .map(ToString::to_string)
            .collect(),
    };
    let names: Vec<&str> = families.iter().map(|family| family.name()).collect();
    let mut spec = json!({
        "type": kind.service_type(), "clusterIP": cluster_ips.first(), "clusterIPs": cluster_ips,
        "ipFamilies": names, "ports": ports,
    });
    let mut status = json!({});
    match kind {
        Kind::ExternalIp => spec["externalIPs"] = json!(ips(Kind::external)),
        Kind::Affinity => spec["sessionAffinity"] = "ClientIP".into(),
        Kind::PolicyLocal => spec["externalTrafficPolicy"] = "Local".into(),
        _ => {}
    }
    if kind.service_type() == "LoadBalancer" {
        let ingress = ips(Kind::ingress);
        let ingress: Vec<Value> = ingress.iter().map(|ip| json!({"ip": ip})).collect();
        status = json!({"loadBalancer": {"ingress": ingress}});
    }
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": kind.name(), "namespace": NODE}, "spec": spec, "status": status,
    })
}

fn slice(kind: Kind, family: Family) -> Value {
    let ports = ["TCP", "UDP"].map(
        |protocol| json!({"name": protocol.to_lowercase(), "protocol": protocol, "port": TARGET}),
    );
    let endpoints = kind.backends().into_iter().map(|seat| {
        let node = if seat.is_pod() { NODE } else { OTHER_NODE };
        json!({
            "addresses": [seat.address(family)], "nodeName": node,
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": NODE, "name": seat.name()},
        })
    });
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{}-{}", kind.name(), family.name().to_lowercase()),
            "namespace": NODE, "labels": {"kubernetes.io/service-name": kind.name()},
        },
        "addressType": family.name(), "ports": ports,
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};

    use super::*;

    #[test]
    fn the_manifest_is_what_kubernetes_reads() {
        let text = manifest(&Family::ALL);
        let (mut services, mut slices) = (Vec::new(), Vec::new());
        for part in text.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(part).unwrap();
            if object["kind"] == "Service" {
                services.push(serde_json::from_value::<core::Service>(object).unwrap());
            } else if object["kind"] == "EndpointSlice" {
                slices.push(serde_json::from_value::<discovery::EndpointSlice>(object).unwrap());
            }
        }
        assert_eq!(services.len(), Kind::ALL.len());
        assert_eq!(slices.len(), 2 * Kind::ALL.len());
        let spec = services[Kind::PolicyLocal as usize].spec.clone().unwrap();
        assert_eq!(spec.external_traffic_policy.as_deref(), Some("Local"));
        assert_eq!(spec.type_.as_deref(), Some("LoadBalancer"));
        assert_eq!(spec.cluster_ips.unwrap().len(), 2);
    }

    #[test]
    fn of_one_family_there_is_no_address_of_the_other() {
        let text = manifest(&[Family::V4]);
        assert!(
            !text.contains("2001:db8") && !text.contains("IPv6"),
            "{text}"
        );
    }
}
