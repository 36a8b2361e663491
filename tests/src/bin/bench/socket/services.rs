//! Owns the services of this suite: which addresses number `i` has, and its objects as manifests and as JSON.
//! Knows nothing of who serves them.

use std::net::{Ipv4Addr, SocketAddrV4};

use serde_json::{Value, json};

use crate::report::add;
use crate::server;

/// The port of every VIP.
const PORT: u16 = 80;
/// 10.96.1.0, and up.
const FIRST_VIP: u32 = 0x0a60_0100;
/// 10.200.0.0, and up: 10.200.0.0/14 is behind the server's namespace.
const FIRST_BACKEND: u32 = 0x0ac8_0000;
/// Backend addresses that each service may use.
const STRIDE: u32 = 4;

/// All VIPs.
pub(super) const VIPS: &str = "10.96.0.0/12";
/// All backends.
pub(super) const BACKENDS: &str = "10.200.0.0/14";

/// What services differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Plain,
    Affinity,
    Scheduler(&'static str),
}

/// Where clients connect to.
pub(super) fn vip(i: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from_bits(FIRST_VIP + i), PORT)
}

/// Two, three or four, and no two services have one in common.
pub(super) fn backends(i: u32) -> Vec<SocketAddrV4> {
    (0..2 + i % 3)
        .map(|k| {
            let address = Ipv4Addr::from_bits(FIRST_BACKEND + i * STRIDE + k);
            SocketAddrV4::new(address, server::PORT)
        })
        .collect()
}

/// Service and EndpointSlice, both protocols.
pub(super) fn yaml(i: u32, class: Class) -> String {
    let mut text =
        format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: s{i}\n  namespace: bench\n");
    if let Class::Scheduler(name) = class {
        add(
            &mut text,
            format_args!("  annotations:\n    lb-agent.io/scheduler: {name}\n"),
        );
    }
    let address = *vip(i).ip();
    add(
        &mut text,
        format_args!(
            "spec:\n  type: ClusterIP\n  clusterIP: {address}\n  clusterIPs: [{address}]\n  ipFamilies: [IPv4]\n"
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
             labels:\n    kubernetes.io/service-name: s{i}\naddressType: IPv4\nports:\n"
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
    for backend in backends(i) {
        add(
            &mut text,
            format_args!(
                "- addresses: [{}]\n  conditions: {{ready: true}}\n",
                backend.ip()
            ),
        );
    }
    text.push_str("---\n");
    text
}

/// The same for an API server: Service, EndpointSlice.
pub(super) fn json(i: u32) -> (Value, Value) {
    let both = |key: &str, number: u16| -> Vec<Value> {
        ["TCP", "UDP"]
            .iter()
            .map(|protocol| {
                let mut port = json!({"name": protocol.to_lowercase(), "protocol": protocol});
                port[key] = number.into();
                port
            })
            .collect()
    };
    let mut ports = both("port", PORT);
    for port in &mut ports {
        port["targetPort"] = server::PORT.into();
    }
    let name = format!("s{i}");
    let service = json!({
        "metadata": {"name": name},
        "spec": {"type": "ClusterIP", "clusterIP": vip(i).ip(), "ports": ports},
    });
    let endpoints: Vec<Value> = backends(i)
        .iter()
        .map(|backend| json!({"addresses": [backend.ip()], "conditions": {"ready": true}}))
        .collect();
    let slice = json!({
        "metadata": {"name": format!("{name}-a"), "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": both("port", server::PORT),
        "endpoints": endpoints,
    });
    (service, slice)
}

/// The numbers below `count` in an order that is always the same and follows nothing.
pub(super) fn shuffled(count: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..count).collect();
    // A multiplicative hash is enough to lose every neighbourhood.
    numbers.sort_by_key(|n| (n.wrapping_add(1).wrapping_mul(0x9e37_79b1), *n));
    numbers
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

    #[test]
    fn no_two_services_share_an_address() {
        assert_eq!(vip(256).to_string(), "10.96.2.0:80");
        assert_eq!(backends(1).len(), 3);
        let mut all: Vec<_> = (0..100).flat_map(backends).collect();
        let before = all.len();
        all.dedup();
        assert_eq!(all.len(), before);
        let mut order = shuffled(100);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..100));
    }
}
