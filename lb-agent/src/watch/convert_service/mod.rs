//! Service: from the API's type to the model's. A bad value becomes a problem of the Service, and
//! never loses the Service.

pub mod annotations;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    sync::Arc,
};

use k8s_openapi::api::core::v1 as api;

use super::object::{NotOurs, PROXY_NAME, carries, key, number_and_proto, port};
use crate::model::{Cidr, Policy, Service, ServicePort, ServiceType, cidr::parse_ip};

/// Where `sessionAffinity: ClientIP` names no timeout, and the longest the API admits.
const AFFINITY_SECS: (u32, u32) = (10_800, 86_400);
/// The Service, unless it is not ours.
pub fn service(object: &api::Service) -> Result<Service, NotOurs> {
    let key = key(&object.metadata);
    let not_ours = |reason| NotOurs {
        key: key.clone(),
        reason,
    };
    if carries(&object.metadata, PROXY_NAME) {
        return Err(not_ours(
            "label service.kubernetes.io/service-proxy-name names another proxy",
        ));
    }
    let Some(spec) = &object.spec else {
        return Err(not_ours("no spec"));
    };
    if spec.type_.as_deref() == Some("ExternalName") {
        return Err(not_ours("type ExternalName"));
    }
    let ips = match (&spec.cluster_ips, &spec.cluster_ip) {
        (Some(ips), _) if !ips.is_empty() => ips.as_slice(),
        (_, Some(ip)) => std::slice::from_ref(ip),
        _ => &[],
    };
    match ips.first().map(String::as_str) {
        Some("None") => return Err(not_ours("headless: clusterIP None")),
        None | Some("") => return Err(not_ours("no clusterIP")),
        Some(_) => {}
    }

    let mut problems = Vec::new();
    let kind = match spec.type_.as_deref() {
        None | Some("" | "ClusterIP") => ServiceType::ClusterIp,
        Some("NodePort") => ServiceType::NodePort,
        Some("LoadBalancer") => ServiceType::LoadBalancer,
        Some(other) => {
            problems.push(format!("type {other:?} is unknown: served as ClusterIP"));
            ServiceType::ClusterIp
        }
    };
    annotations::unknown(object, &mut problems);
    let cluster_ips = one_a_family(addresses("clusterIPs", ips, &mut problems), &mut problems);
    let external = spec.external_ips.as_deref().unwrap_or_default();
    Ok(Service {
        created: object.metadata.creation_timestamp.as_ref().map(|t| t.0),
        labels: labels(object),
        kind,
        cluster_ips,
        external_ips: addresses("externalIPs", external, &mut problems),
        ingress_ips: ingress(object, &mut problems),
        ports: ports(spec, &mut problems),
        external_policy: policy(
            "externalTrafficPolicy",
            spec.external_traffic_policy.as_deref(),
            &mut problems,
        ),
        internal_policy: policy(
            "internalTrafficPolicy",
            spec.internal_traffic_policy.as_deref(),
            &mut problems,
        ),
        affinity_secs: affinity(spec, &mut problems),
        source_ranges: source_ranges(spec, &mut problems),
        health_check_node_port: health_check_node_port(spec, &mut problems),
        scheduler: annotations::scheduler(object, &mut problems),
        removal: annotations::removal(object, &mut problems),
        weights: annotations::weights(object, &mut problems),
        slow_start: annotations::slow_start(object, &mut problems),
        spill: annotations::spill(object, &mut problems),
        max_connections: annotations::max_connections(object, &mut problems),
        max_age: annotations::max_age(object, &mut problems),
        forwarding: annotations::forwarding(object, &mut problems),
        passive_health: annotations::passive_health(object, &mut problems),
        key,
        problems,
    })
}

fn labels(object: &api::Service) -> Box<[(Arc<str>, Arc<str>)]> {
    let labels = object.metadata.labels.iter().flatten();
    labels
        .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
        .collect()
}

fn addresses(field: &str, texts: &[String], problems: &mut Vec<String>) -> Vec<IpAddr> {
    let mut ips = Vec::with_capacity(texts.len());
    for text in texts {
        match parse_ip(text) {
            Some(ip) if !ips.contains(&ip) => ips.push(ip),
            Some(_) => {}
            None => problems.push(format!("{field}: {text:?} is no address: skipped")),
        }
    }
    ips
}

fn one_a_family(ips: Vec<IpAddr>, problems: &mut Vec<String>) -> Vec<IpAddr> {
    let mut kept: Vec<IpAddr> = Vec::with_capacity(2);
    for ip in ips {
        if kept.iter().any(|k| k.is_ipv4() == ip.is_ipv4()) {
            problems.push(format!(
                "clusterIPs: {ip} is the second of its family: skipped"
            ));
        } else {
            kept.push(ip);
        }
    }
    kept
}

/// Only addresses whose `ipMode` is VIP or absent are ours (KEP-1860); host names never are.
fn ingress(object: &api::Service, problems: &mut Vec<String>) -> Vec<IpAddr> {
    let texts: Vec<String> = object
        .status
        .as_ref()
        .and_then(|s| s.load_balancer.as_ref())
        .and_then(|l| l.ingress.as_deref())
        .unwrap_or_default()
        .iter()
        .filter(|i| matches!(i.ip_mode.as_deref(), None | Some("" | "VIP")))
        .filter_map(|i| i.ip.clone().filter(|ip| !ip.is_empty()))
        .collect();
    addresses("status.loadBalancer.ingress", &texts, problems)
}

fn ports(spec: &api::ServiceSpec, problems: &mut Vec<String>) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::new();
    for p in spec.ports.as_deref().unwrap_or_default() {
        let name = p.name.as_deref().unwrap_or_default();
        let protocol = p.protocol.as_deref();
        let Some((number, proto)) = number_and_proto(p.port, name, protocol, problems) else {
            continue;
        };
        if ports.iter().any(|q| (q.port, q.proto) == (number, proto)) {
            problems.push(format!(
                "ports: {number}/{proto} is there twice: the first one holds"
            ));
            continue;
        }
        if ports.iter().any(|q| &*q.name == name && q.proto == proto) {
            problems.push(format!(
                "ports: two of {proto} are named {name:?}, and endpoints go by the name: {number} is skipped"
            ));
            continue;
        }
        let node_port = match p.node_port {
            None | Some(0) => None,
            Some(n) => {
                let valid = port(n);
                if valid.is_none() {
                    problems.push(format!(
                        "ports: nodePort {n} of port {number} is not in 1-65535: skipped"
                    ));
                }
                valid
            }
        };
        ports.push(ServicePort {
            name: name.into(),
            proto,
            port: number,
            node_port,
        });
    }
    ports
}

fn policy(field: &str, value: Option<&str>, problems: &mut Vec<String>) -> Policy {
    match value {
        None | Some("" | "Cluster") => Policy::Cluster,
        Some("Local") => Policy::Local,
        Some(other) => {
            problems.push(format!(
                "{field}: {other:?} is neither Cluster nor Local: Cluster holds"
            ));
            Policy::Cluster
        }
    }
}

fn affinity(spec: &api::ServiceSpec, problems: &mut Vec<String>) -> Option<u32> {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return None,
        Some("ClientIP") => {}
        Some(other) => {
            problems.push(format!(
                "sessionAffinity: {other:?} is neither None nor ClientIP: off"
            ));
            return None;
        }
    }
    let (default, longest) = AFFINITY_SECS;
    let asked = spec
        .session_affinity_config
        .as_ref()
        .and_then(|c| c.client_ip.as_ref())
        .and_then(|c| c.timeout_seconds);
    Some(match asked.map(u32::try_from) {
        None => default,
        Some(Ok(secs)) if (1..=longest).contains(&secs) => secs,
        Some(_) => {
            let secs = asked.unwrap_or_default();
            problems.push(format!(
                "sessionAffinityConfig: timeoutSeconds {secs} is not in 1-{longest}: {default} holds"
            ));
            default
        }
    })
}

/// An empty list admits every client. A list of which nothing can be read must not become empty: it
/// admits no client.
fn source_ranges(spec: &api::ServiceSpec, problems: &mut Vec<String>) -> Vec<Cidr> {
    let texts = spec
        .load_balancer_source_ranges
        .as_deref()
        .unwrap_or_default();
    let mut ranges = Vec::with_capacity(texts.len());
    for text in texts {
        match Cidr::parse(text) {
            Some(range) => ranges.push(range),
            None => problems.push(format!(
                "loadBalancerSourceRanges: {text:?} is no network such as 10.0.0.0/8: skipped"
            )),
        }
    }
    if ranges.is_empty() && !texts.is_empty() {
        problems.push(
            "loadBalancerSourceRanges: none can be read, so no client is admitted".to_owned(),
        );
        ranges.push(Cidr::host(Ipv4Addr::UNSPECIFIED.into()));
        ranges.push(Cidr::host(Ipv6Addr::UNSPECIFIED.into()));
    }
    ranges
}

fn health_check_node_port(
    spec: &api::ServiceSpec,
    problems: &mut Vec<String>,
) -> Option<NonZeroU16> {
    let asked = spec.health_check_node_port.filter(|n| *n != 0)?;
    let valid = port(asked);
    if valid.is_none() {
        problems.push(format!(
            "healthCheckNodePort: {asked} is not in 1-65535: no health check"
        ));
    }
    valid
}

#[cfg(test)]
mod tests;
