//! `EndpointSlice`: from the API's type to the model's, with the defaults of absent conditions.

use std::sync::Arc;

use k8s_openapi::api::{core::v1::ObjectReference, discovery::v1 as api};

use super::object::{HEADLESS, NotOurs, carries, key, number_and_proto};
use crate::model::{Endpoint, Hints, ObjectKey, Slice, SlicePort, cidr::parse_ip, weights};

/// The Service a slice belongs to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// When the change behind the slice was made, RFC 3339.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Cilium's (1.20): the weight of all endpoints of the slice, 0 to 65535.
pub const WEIGHT: &str = "service.cilium.io/weight";

/// The slice, unless it is not ours.
pub fn slice(object: &api::EndpointSlice) -> Result<Slice, NotOurs> {
    let key = key(&object.metadata);
    let not_ours = |reason| NotOurs {
        key: key.clone(),
        reason,
    };
    if carries(&object.metadata, HEADLESS) {
        return Err(not_ours("label service.kubernetes.io/headless"));
    }
    let label = object
        .metadata
        .labels
        .as_ref()
        .and_then(|l| l.get(SERVICE_NAME));
    let Some(service) = label.filter(|name| !name.is_empty()) else {
        return Err(not_ours("no label kubernetes.io/service-name"));
    };
    let mut problems = Vec::new();
    let endpoints = match object.address_type.as_str() {
        "IPv4" => endpoints(object, true, &mut problems),
        "IPv6" => endpoints(object, false, &mut problems),
        other => {
            problems.push(format!(
                "addressType {other:?} is neither IPv4 nor IPv6: none of its endpoints is used"
            ));
            Vec::new()
        }
    };
    Ok(Slice {
        service: ObjectKey::new(&key.namespace, service),
        ports: ports(object, &mut problems),
        endpoints,
        weight: weight(object, &mut problems),
        trigger_time: object
            .metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(TRIGGER_TIME))
            .and_then(|t| t.parse().ok()),
        key,
        problems,
    })
}

fn weight(object: &api::EndpointSlice, problems: &mut Vec<String>) -> Option<u16> {
    let text = object.metadata.annotations.as_ref()?.get(WEIGHT)?;
    let weight = weights::of_slice(text);
    if weight.is_none() {
        problems.push(format!(
            "annotation {WEIGHT}: {text:?} is not in 0-65535: its endpoints weigh {}",
            weights::DEFAULT
        ));
    }
    weight
}

fn ports(object: &api::EndpointSlice, problems: &mut Vec<String>) -> Vec<SlicePort> {
    let mut ports = Vec::new();
    for p in object.ports.as_deref().unwrap_or_default() {
        let name = p.name.as_deref().unwrap_or_default();
        // Without a number it means "every port", which no Service can ask for.
        let Some(number) = p.port else { continue };
        let protocol = p.protocol.as_deref();
        let Some((number, proto)) = number_and_proto(number, name, protocol, problems) else {
            continue;
        };
        ports.push(SlicePort {
            name: name.into(),
            proto,
            port: number,
        });
    }
    ports
}

fn endpoints(object: &api::EndpointSlice, v4: bool, problems: &mut Vec<String>) -> Vec<Endpoint> {
    let all = object.endpoints.as_deref().unwrap_or_default();
    let mut endpoints = Vec::with_capacity(all.len());
    let mut without = 0;
    let mut wrong: Vec<&str> = Vec::new();
    for e in all {
        let Some(text) = e.addresses.first() else {
            without += 1;
            continue;
        };
        let Some(addr) = parse_ip(text).filter(|ip| ip.is_ipv4() == v4) else {
            wrong.push(text);
            continue;
        };
        let conditions = e.conditions.clone().unwrap_or_default();
        let ready = conditions.ready.unwrap_or(true);
        let hints = e.hints.as_ref();
        let zones = hints
            .and_then(|h| h.for_zones.as_deref())
            .unwrap_or_default();
        let nodes = hints
            .and_then(|h| h.for_nodes.as_deref())
            .unwrap_or_default();
        endpoints.push(Endpoint {
            addr,
            ready,
            serving: conditions.serving.unwrap_or(true),
            terminating: conditions.terminating.unwrap_or(false),
            node: e.node_name.as_deref().map(Arc::from),
            zone: e.zone.as_deref().map(Arc::from),
            pod: e.target_ref.as_ref().and_then(pod),
            hints: (!zones.is_empty() || !nodes.is_empty()).then(|| {
                Box::new(Hints {
                    zones: zones.iter().map(|z| z.name.as_str().into()).collect(),
                    nodes: nodes.iter().map(|n| n.name.as_str().into()).collect(),
                })
            }),
        });
    }
    // One sentence a kind of mistake, however many endpoints share it: each becomes an Event.
    if without > 0 {
        problems.push(format!("endpoints: {without} without an address: skipped"));
    }
    if let Some((first, more)) = wrong.split_first() {
        let family = if v4 { "IPv4" } else { "IPv6" };
        let more = match more.len() {
            0 => String::new(),
            n => format!(" (and {n} more)"),
        };
        problems.push(format!(
            "endpoints: {first:?} is no {family} address{more}: skipped"
        ));
    }
    endpoints
}

fn pod(target: &ObjectReference) -> Option<Arc<str>> {
    let name = target.name.as_deref().filter(|name| !name.is_empty())?;
    (target.kind.as_deref() == Some("Pod")).then(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Slice, NotOurs> {
        slice(&serde_saphyr::from_str(yaml).unwrap())
    }

    fn with(rest: &str) -> Slice {
        read(&format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-x, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n{rest}"
        ))
        .unwrap()
    }

    #[test]
    fn nil_conditions_have_their_defaults() {
        let s = with(
            "addressType: IPv4
ports: [{name: http, port: 8080}, {name: every}]
endpoints:
- addresses: [10.0.0.1]
- addresses: [10.0.0.2]
  conditions: {ready: false}
- addresses: [10.0.0.3]
  conditions: {ready: false, serving: true, terminating: true}
  nodeName: n1
  hints: {forZones: [{name: a}, {name: b}], forNodes: [{name: n1}]}
",
        );
        assert_eq!(s.service.to_string(), "shop/web");
        let c: Vec<_> = s
            .endpoints
            .iter()
            .map(|e| (e.ready, e.serving, e.terminating))
            .collect();
        assert_eq!(
            c,
            [
                (true, true, false),
                (false, true, false),
                (false, true, true)
            ]
        );
        assert_eq!(s.endpoints[2].node.as_deref(), Some("n1"));
        assert_eq!(s.endpoints[2].hint_zones(), ["a".into(), "b".into()]);
        assert_eq!(s.endpoints[2].hint_nodes(), ["n1".into()]);
        assert_eq!(s.ports.len(), 1, "a port without a number is no port");
        assert_eq!((&*s.ports[0].name, s.ports[0].port.get()), ("http", 8080));
        assert!(s.problems.is_empty());
    }

    #[test]
    fn weights_and_whereabouts_are_read() {
        let s = read(
            "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-x
  namespace: shop
  labels: {kubernetes.io/service-name: web}
  annotations: {service.cilium.io/weight: '7'}
addressType: IPv4
ports: [{port: 80}]
endpoints:
- addresses: [10.0.0.1]
  zone: a
  nodeName: n1
  targetRef: {kind: Pod, name: web-0}
- addresses: [10.0.0.2]
  targetRef: {kind: Node, name: n2}
",
        )
        .unwrap();
        assert_eq!(s.weight, Some(7));
        let e = &s.endpoints[0];
        assert_eq!(
            (e.zone.as_deref(), e.pod.as_deref()),
            (Some("a"), Some("web-0"))
        );
        let e = &s.endpoints[1];
        assert_eq!((e.zone.as_deref(), e.pod.as_deref()), (None, None));
    }

    #[test]
    fn bad_values_are_problems_and_the_rest_stands() {
        let s = with(
            "addressType: IPv6
ports: [{port: 99999}, {port: 53, protocol: DCCP}, {port: 53, protocol: UDP}]
endpoints: [{addresses: ['fd66::1', 'fd66::2']}, {addresses: [10.0.0.1]}, {addresses: []}, {addresses: [junk]}]
",
        );
        assert_eq!(s.endpoints.len(), 1);
        assert_eq!(
            s.endpoints[0].addr.to_string(),
            "fd66::1",
            "the first address stands for all"
        );
        assert_eq!(s.ports.len(), 1);
        assert_eq!(s.problems.len(), 4, "{:?}", s.problems);
    }

    #[test]
    fn null_lists_are_empty_lists() {
        let s = with("addressType: IPv4\nports: null\nendpoints: null\n");
        assert!(s.ports.is_empty() && s.endpoints.is_empty());
    }

    #[test]
    fn the_trigger_time_is_read_when_it_can_be() {
        for (text, some) in [("'2026-01-02T03:04:05.678Z'", true), ("soon", false)] {
            let s = read(&format!(
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: x, labels: {{kubernetes.io/service-name: web}}, annotations: {{endpoints.kubernetes.io/last-change-trigger-time: {text}}}}}\naddressType: IPv4\nendpoints: []\n"
            ))
            .unwrap();
            assert_eq!(s.trigger_time.is_some(), some, "{text}");
        }
    }

    #[test]
    fn a_skipped_slice_has_a_reason() {
        for (labels, kind, word) in [
            ("{}", "IPv4", "no label"),
            (
                "{kubernetes.io/service-name: web, service.kubernetes.io/headless: ''}",
                "IPv4",
                "headless",
            ),
        ] {
            let e = read(&format!(
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: x, labels: {labels}}}\naddressType: {kind}\nendpoints: []\n"
            ))
            .unwrap_err();
            assert!(e.reason.contains(word), "{labels}: {}", e.reason);
        }
    }
}
