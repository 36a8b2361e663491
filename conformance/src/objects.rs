//! The objects of a plan as the API takes them, and the addresses that a plan chooses itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};
use testbed::probe::Family;

use crate::{
    plan::{Endpoint, Ingress, Slice, Svc, Type},
    world::{TARGETS, pod},
};

/// Who writes our slices: not a controller, so that none looks after them.
const MANAGER: &str = "referee.lb-agent.io";
/// External IPs of plans are numbered from here on; below are load-balancer IPs.
const EXTERNAL: u8 = 128;

/// Where a plan stands among those side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// From 0 on, below [`EXTERNAL`].
    pub number: u8,
    /// Its namespace.
    pub namespace: String,
    /// Leads every name, so that none is used twice.
    pub prefix: String,
}

impl Slot {
    /// The name of a Service by its position.
    #[must_use]
    pub fn name(&self, position: usize) -> String {
        format!("{}-{position}", self.prefix)
    }

    /// Load-balancer IP `n`.
    #[must_use]
    pub const fn ingress(&self, n: u8, family: Family) -> IpAddr {
        address(self.number, n, family)
    }

    /// External IP `n` of a Service by its position.
    #[must_use]
    pub fn external(&self, position: usize, n: u8, family: Family) -> IpAddr {
        let first = u8::try_from(position * 8).unwrap_or(u8::MAX - 8);
        address(EXTERNAL + self.number, first + n, family)
    }
}

const fn address(third: u8, n: u8, family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(198, 19, third, n + 1)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(
            0xfd66,
            0x19,
            third as u16,
            0,
            0,
            0,
            0,
            n as u16 + 1,
        )),
    }
}

/// All that [`Slot::ingress`] and [`Slot::external`] give, as networks.
pub const INGRESS_AND_EXTERNAL: [&str; 2] = ["198.19.0.0/16", "fd66:19::/32"];
/// What [`Slot::external`] gives, as networks.
pub const EXTERNAL_CIDRS: &str = "198.19.128.0/17,fd66:19:80::/41";

/// The Service, without its status.
#[must_use]
pub fn service(slot: &Slot, position: usize, svc: &Svc) -> Value {
    let kind = match svc.kind {
        Type::ClusterIp | Type::Headless => "ClusterIP",
        Type::NodePort => "NodePort",
        Type::LoadBalancer => "LoadBalancer",
    };
    let families: Vec<&str> = svc.families.iter().copied().map(family).collect();
    let policy = if families.len() == 2 {
        "RequireDualStack"
    } else {
        "SingleStack"
    };
    let ports: Vec<Value> = svc
        .ports
        .iter()
        .map(|port| json!({"name": port.name, "port": port.number, "protocol": protocol(port.udp)}))
        .collect();
    let local = |is: bool| if is { "Local" } else { "Cluster" };
    let mut spec = json!({
        "type": kind, "ipFamilies": families, "ipFamilyPolicy": policy, "ports": ports,
        "internalTrafficPolicy": local(svc.internal_local),
    });
    if svc.is_reachable_from_outside() && svc.kind != Type::Headless {
        spec["externalTrafficPolicy"] = json!(local(svc.external_local));
    }
    if let Some(secs) = svc.affinity {
        spec["sessionAffinity"] = json!("ClientIP");
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": secs}});
    }
    if svc.kind == Type::Headless {
        spec["clusterIP"] = json!("None");
    }
    if svc.kind == Type::LoadBalancer {
        spec["allocateLoadBalancerNodePorts"] = json!(!svc.no_node_ports);
        if !svc.ranges.is_empty() {
            spec["loadBalancerSourceRanges"] = json!(svc.ranges);
        }
    }
    if svc.external_ips > 0 {
        let mut ips = Vec::new();
        for family in &svc.families {
            ips.extend((0..svc.external_ips).map(|n| slot.external(position, n, *family)));
        }
        spec["externalIPs"] = json!(ips);
    }
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": slot.name(position), "namespace": slot.namespace, "labels": labels(svc)},
        "spec": spec,
    })
}

/// Its `status.loadBalancer.ingress`; `null` where the API admits none.
#[must_use]
pub fn ingress(slot: &Slot, svc: &Svc) -> Value {
    if svc.kind != Type::LoadBalancer {
        return Value::Null;
    }
    let mut list = Vec::new();
    for ingress in &svc.ingress {
        match ingress {
            Ingress::Hostname => list.push(json!({"hostname": "lb.example.org"})),
            Ingress::Ip(n, mode) => {
                for family in &svc.families {
                    let mut one = json!({"ip": slot.ingress(*n, *family)});
                    if let Some(mode) = mode {
                        one["ipMode"] = json!(mode);
                    }
                    list.push(one);
                }
            }
        }
    }
    json!(list)
}

/// Its slices, by name.
#[must_use]
pub fn slices(slot: &Slot, position: usize, svc: &Svc) -> Vec<(String, Value)> {
    let name = slot.name(position);
    let mut all = Vec::new();
    for (index, slice) in svc.slices.iter().enumerate() {
        for of in svc.families.iter().filter(|of| slice.is_of(**of)) {
            let suffix = family(*of).to_lowercase();
            let slice_name = format!("{name}-{suffix}-{index}");
            let value = one_slice(slot, &name, &slice_name, svc, slice, *of);
            all.push((slice_name, value));
        }
    }
    all
}

fn one_slice(
    slot: &Slot,
    service: &str,
    name: &str,
    svc: &Svc,
    slice: &Slice,
    of: Family,
) -> Value {
    let mut labels = labels(svc);
    labels.insert("kubernetes.io/service-name".into(), json!(service));
    labels.insert(
        "endpointslice.kubernetes.io/managed-by".into(),
        json!(MANAGER),
    );
    let ports: Vec<Value> = svc
        .ports
        .iter()
        .zip(&slice.targets)
        .filter_map(|(port, target)| {
            let number = TARGETS.get((*target)?)?;
            Some(json!({"name": port.name, "port": number, "protocol": protocol(port.udp)}))
        })
        .collect();
    let endpoints: Vec<Value> = slice.endpoints.iter().map(|e| endpoint(e, of)).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": slot.namespace, "labels": labels},
        "addressType": family(of), "ports": ports, "endpoints": endpoints,
    })
}

fn endpoint(endpoint: &Endpoint, of: Family) -> Value {
    let pod = pod(endpoint.pod);
    let mut conditions = Map::new();
    for (name, value) in [
        ("ready", endpoint.ready),
        ("serving", endpoint.serving),
        ("terminating", endpoint.terminating),
    ] {
        if let Some(value) = value {
            conditions.insert(name.into(), json!(value));
        }
    }
    let mut value = json!({"addresses": [pod.addr.ip(of)], "conditions": conditions});
    if !endpoint.nameless {
        let side = if endpoint.misplaced {
            pod.side.other()
        } else {
            pod.side
        };
        value["nodeName"] = json!(side.node());
    }
    let named = |names: &[&str]| {
        names
            .iter()
            .map(|name| json!({"name": name}))
            .collect::<Vec<_>>()
    };
    if !endpoint.zones.is_empty() {
        value["hints"]["forZones"] = json!(named(&endpoint.zones));
    }
    if !endpoint.nodes.is_empty() {
        value["hints"]["forNodes"] = json!(named(&endpoint.nodes));
    }
    value
}

fn labels(svc: &Svc) -> Map<String, Value> {
    let label = svc.label.map(|label| (label.to_owned(), json!("other")));
    label.into_iter().collect()
}

const fn family(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

const fn protocol(udp: bool) -> &'static str {
    if udp { "UDP" } else { "TCP" }
}
