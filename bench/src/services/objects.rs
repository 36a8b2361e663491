//! The objects of a service: as manifests for an agent, as JSON for an API server.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use super::{Class, PORT, backends, vip};
use crate::{report::add, server};

/// The IPv4 endpoints of a Service as one `EndpointSlice`, on one UDP port.
pub(crate) fn udp_slice(namespace: &str, service: &str, port: u16, endpoints: &[Value]) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-a"),
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "udp", "protocol": "UDP", "port": port}],
        "endpoints": endpoints,
    })
}

/// Service and EndpointSlice, both protocols.
pub(crate) fn yaml(i: u32, class: Class) -> String {
    let mut text =
        format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: s{i}\n  namespace: bench\n");
    if let Some(annotation) = class.annotation() {
        add(
            &mut text,
            format_args!("  annotations:\n    {annotation}\n"),
        );
    }
    let address = class.vip(i).ip();
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    add(
        &mut text,
        format_args!(
            "spec:\n  type: ClusterIP\n  clusterIP: \"{address}\"\n  clusterIPs: [\"{address}\"]\n  ipFamilies: [{family}]\n"
        ),
    );
    if class == Class::Affinity {
        text.push_str("  sessionAffinity: ClientIP\n");
    }
    text.push_str("  ports:\n");
    for protocol in ["TCP", "UDP"] {
        add(
            &mut text,
            format_args!(
                "  - {{name: {name}, protocol: {protocol}, port: {PORT}, targetPort: {target}}}\n",
                name = protocol.to_lowercase(),
                target = server::PORT
            ),
        );
    }
    add(
        &mut text,
        format_args!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: s{i}-a\n  namespace: bench\n  \
             labels:\n    kubernetes.io/service-name: s{i}\naddressType: {family}\nports:\n"
        ),
    );
    for protocol in ["TCP", "UDP"] {
        add(
            &mut text,
            format_args!(
                "- {{name: {name}, protocol: {protocol}, port: {target}}}\n",
                name = protocol.to_lowercase(),
                target = server::PORT
            ),
        );
    }
    text.push_str("endpoints:\n");
    for backend in class.backends(i) {
        add(
            &mut text,
            format_args!(
                "- addresses: [\"{}\"]\n  conditions: {{ready: true}}\n",
                backend.ip()
            ),
        );
    }
    text.push_str("---\n");
    text
}

/// The same for an API server: Service, EndpointSlice.
pub(crate) fn json(i: u32) -> (Value, Value) {
    let endpoints: Vec<IpAddr> = backends(i).iter().map(SocketAddr::ip).collect();
    let service = service_json(&format!("s{i}"), vip(i).ip());
    (service, slice_json(&format!("s{i}"), "a", &endpoints))
}

/// A Service of this ClusterIP, both protocols.
pub(crate) fn service_json(name: &str, vip: IpAddr) -> Value {
    let mut ports = both("port", PORT);
    for port in &mut ports {
        port["targetPort"] = server::PORT.into();
    }
    json!({
        "metadata": {"name": name},
        "spec": {"type": "ClusterIP", "clusterIP": vip, "ports": ports},
    })
}

/// An EndpointSlice of a Service: these endpoints, all ready.
pub(crate) fn slice_json(service: &str, suffix: &str, endpoints: &[IpAddr]) -> Value {
    json!({
        "metadata": {
            "name": format!("{service}-{suffix}"),
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": both("port", server::PORT),
        "endpoints": endpoints_json(endpoints),
    })
}

/// The `endpoints` of an EndpointSlice.
pub(crate) fn endpoints_json(endpoints: &[IpAddr]) -> Vec<Value> {
    endpoints
        .iter()
        .map(|address| json!({"addresses": [address], "conditions": {"ready": true}}))
        .collect()
}

fn both(key: &str, number: u16) -> Vec<Value> {
    ["TCP", "UDP"]
        .iter()
        .map(|protocol| {
            let mut port = json!({"name": protocol.to_lowercase(), "protocol": protocol});
            port[key] = number.into();
            port
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};

    use super::*;

    #[test]
    fn manifests_and_json_say_the_same() {
        let text = yaml(4, Class::Plain);
        let parts: Vec<&str> = text.split("---\n").collect();
        let (service, slice) = json(4);
        let of_yaml: core::Service = serde_saphyr::from_str(parts[0]).unwrap();
        let of_json: core::Service = serde_json::from_value(service).unwrap();
        assert_eq!(of_yaml.spec.unwrap().ports, of_json.spec.unwrap().ports);
        let of_yaml: discovery::EndpointSlice = serde_saphyr::from_str(parts[1]).unwrap();
        let of_json: discovery::EndpointSlice = serde_json::from_value(slice).unwrap();
        assert_eq!(of_yaml.endpoints, of_json.endpoints);
        assert_eq!(of_yaml.endpoints.unwrap().len(), 3);
    }
}
