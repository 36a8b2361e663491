//! The services that are measured: which addresses number `i` has, and its objects as manifests and
//! as JSON.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Value, json};

use crate::{report::add, server};

/// The port of every VIP.
const PORT: u16 = 80;
/// 10.96.1.0, and up.
const FIRST_VIP: u32 = 0x0a60_0100;
/// 10.200.0.0, and up: 10.200.0.0/14 is behind the server's namespace.
const FIRST_BACKEND: u32 = 0x0ac8_0000;
/// fd66:96::1:0, and up, within the API server's range.
const FIRST_VIP_V6: u128 = 0xfd66_0096 << 96 | 0x100;
/// fd66:200::, and up.
const FIRST_BACKEND_V6: u128 = 0xfd66_0200 << 96;
/// Backend addresses that each service may use.
const STRIDE: u32 = 4;

/// All VIPs.
pub(crate) const VIPS: &str = "10.96.0.0/12";
/// All backends.
pub(crate) const BACKENDS: &str = "10.200.0.0/14";
/// The same of IPv6.
pub(crate) const VIPS_V6: &str = "fd66:96::/112";
/// The same of IPv6.
pub(crate) const BACKENDS_V6: &str = "fd66:200::/64";

/// What services differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Plain,
    Affinity,
    /// IPv6 alone.
    V6,
    Scheduler(&'static str),
}

impl Class {
    fn vip(self, i: u32) -> SocketAddr {
        if self == Self::V6 { vip_v6(i) } else { vip(i) }
    }

    fn backends(self, i: u32) -> Vec<SocketAddr> {
        if self == Self::V6 {
            backends_v6(i)
        } else {
            backends(i)
        }
    }
}

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

/// Where clients connect to.
pub(crate) fn vip(i: u32) -> SocketAddr {
    (Ipv4Addr::from_bits(FIRST_VIP + i), PORT).into()
}

/// Two, three or four, and no two services have one in common.
pub(crate) fn backends(i: u32) -> Vec<SocketAddr> {
    (0..2 + i % 3).map(|k| backend(i * STRIDE + k)).collect()
}

/// Any of the server's addresses.
pub(crate) fn backend(number: u32) -> SocketAddr {
    let address = Ipv4Addr::from_bits(FIRST_BACKEND + number);
    (address, server::PORT).into()
}

/// [`vip`] of IPv6.
pub(crate) fn vip_v6(i: u32) -> SocketAddr {
    let address = Ipv6Addr::from_bits(FIRST_VIP_V6 + u128::from(i));
    (address, PORT).into()
}

/// [`backends`] of IPv6.
pub(crate) fn backends_v6(i: u32) -> Vec<SocketAddr> {
    (0..2 + i % 3)
        .map(|k| {
            let address = Ipv6Addr::from_bits(FIRST_BACKEND_V6 + u128::from(i * STRIDE + k));
            (address, server::PORT).into()
        })
        .collect()
}

/// Service and EndpointSlice, both protocols.
pub(crate) fn yaml(i: u32, class: Class) -> String {
    let mut text =
        format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: s{i}\n  namespace: bench\n");
    if let Class::Scheduler(name) = class {
        add(
            &mut text,
            format_args!("  annotations:\n    lb-agent.io/scheduler: {name}\n"),
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

/// The numbers below `count` in an order that is always the same and follows nothing.
pub(crate) fn shuffled(count: u32) -> Vec<u32> {
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
