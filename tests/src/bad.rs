//! Bad objects: what is wrong, what the agent says of it and where, what of it serves all the same,
//! and whether an API server would take it.

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Bad {
    /// What is wrong; also the name of a file.
    pub name: &'static str,
    /// Documents.
    pub yaml: &'static str,
    /// What is said of it.
    pub said: Said,
    /// Address, port and how many backends.
    pub serves: Option<(&'static str, u16, usize)>,
    /// What an API server does with it.
    pub api: Api,
}

/// Where words about it are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// In an Event on the Service, the log and `get services`: the Service, and words of the
    /// reason.
    OfService(&'static str, &'static str),
    /// The file cannot be read: its name and these words in the log, and `lb_agent_bad_manifests`.
    OfFile(&'static str),
    /// In the log, at once with the name of the file.
    InLog(&'static str),
    /// It is not bad for us, only odd.
    Nowhere,
}

/// What an API server does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// It takes every document.
    Takes,
    /// It refuses at least one of them.
    Refuses,
    /// There is no such thing there.
    Never,
}

use Api::{Never, Refuses, Takes};
use Said::{InLog, Nowhere, OfFile, OfService};

macro_rules! service {
    ($name:literal, $ip:literal, $spec:literal) => {
        service!($name, $ip, $spec, "")
    };
    ($name:literal, $ip:literal, $spec:literal, $meta:literal) => {
        concat!(
            "apiVersion: v1\nkind: Service\nmetadata: {name: ",
            $name,
            $meta,
            "}\nspec: {clusterIP: ",
            $ip,
            ", clusterIPs: [",
            $ip,
            "], ",
            $spec,
            "}\n"
        )
    };
}

macro_rules! slice {
    ($service:literal, $endpoints:literal) => {
        slice!($service, "IPv4", "[{name: http, port: 8080}]", $endpoints)
    };
    ($service:literal, $kind:literal, $ports:literal, $endpoints:literal) => {
        concat!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: ",
            $service,
            "-x, labels: {kubernetes.io/service-name: ",
            $service,
            "}}\naddressType: ",
            $kind,
            "\nports: ",
            $ports,
            "\nendpoints: ",
            $endpoints,
            "\n"
        )
    };
}

/// The newer one of a pair gets nothing until the older one goes.
pub const PAIR: (&str, &str, &str) = ("a-older", "b-newer", "203.0.113.9");

/// One bad object a row.
#[rustfmt::skip]
pub const TABLE: &[Bad] = &[
    Bad { name: "port-negative", said: OfService("p1", "port -1 of \"http\" is not in 1-65535"), serves: Some(("10.96.7.1", 81, 1)), api: Refuses,
        yaml: concat!(service!("p1", "10.96.7.1", "ports: [{name: http, port: -1}, {name: b, port: 81}]"), slice!("p1", "IPv4", "[{name: b, port: 8080}]", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "port-zero", said: OfService("p2", "port 0 of \"http\" is not in 1-65535"), serves: None, api: Refuses,
        yaml: service!("p2", "10.96.7.2", "ports: [{name: http, port: 0}]") },
    Bad { name: "port-too-large", said: OfService("p3", "port 70000 of \"http\" is not in 1-65535"), serves: None, api: Refuses,
        yaml: service!("p3", "10.96.7.3", "ports: [{name: http, port: 70000}]") },
    Bad { name: "node-port-too-large", said: OfService("p4", "nodePort 70000 of port 80 is not in 1-65535"), serves: Some(("10.96.7.4", 80, 1)), api: Refuses,
        yaml: concat!(service!("p4", "10.96.7.4", "type: NodePort, ports: [{name: http, port: 80, nodePort: 70000}]"), slice!("p4", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "slice-port-negative", said: OfService("p5", "slice p5-x: ports: port -2 of \"http\" is not in 1-65535"), serves: Some(("10.96.7.5", 80, 0)), api: Takes,
        yaml: concat!(service!("p5", "10.96.7.5", "ports: [{name: http, port: 80}]"), slice!("p5", "IPv4", "[{name: http, port: -2}]", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "port-twice", said: OfService("p6", "80/TCP is there twice: the first one holds"), serves: Some(("10.96.7.6", 80, 1)), api: Refuses,
        yaml: concat!(service!("p6", "10.96.7.6", "ports: [{name: http, port: 80}, {name: again, port: 80}]"), slice!("p6", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "port-name-twice", said: OfService("p7", "two of TCP are named \"http\""), serves: Some(("10.96.7.7", 80, 1)), api: Refuses,
        yaml: concat!(service!("p7", "10.96.7.7", "ports: [{name: http, port: 80}, {name: http, port: 81}]"), slice!("p7", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "protocol-unknown", said: OfService("p8", "protocol \"QUIC\" of port 443 is none of TCP, UDP, SCTP"), serves: Some(("10.96.7.8", 80, 1)), api: Refuses,
        yaml: concat!(service!("p8", "10.96.7.8", "ports: [{name: http, port: 80}, {name: q, port: 443, protocol: QUIC}]"), slice!("p8", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "cluster-ip-twice", said: OfService("p11", "10.96.7.10 port 80/TCP belongs to Service default/p10"), serves: Some(("10.96.7.10", 80, 1)), api: Refuses,
        yaml: concat!(service!("p10", "10.96.7.10", "ports: [{name: http, port: 80}]"), slice!("p10", "[{addresses: [10.1.1.1]}]"), "---\n", service!("p11", "10.96.7.10", "ports: [{name: http, port: 80}]")) },
    Bad { name: "node-port-twice", said: OfService("p13", "node port 30777/TCP belongs to Service default/p12"), serves: Some(("*", 30777, 1)), api: Refuses,
        yaml: concat!(service!("p12", "10.96.7.12", "type: NodePort, ports: [{name: http, port: 80, nodePort: 30777}]"), slice!("p12", "[{addresses: [10.1.1.1]}]"), "---\n", service!("p13", "10.96.7.13", "type: NodePort, ports: [{name: http, port: 80, nodePort: 30777}]")) },
    Bad { name: "load-balancer-ip-twice", said: OfService("b-newer", "203.0.113.9 port 80/TCP belongs to Service default/a-older, the older one"), serves: Some(("203.0.113.9", 80, 1)), api: Takes,
        yaml: concat!(service!("a-older", "10.96.7.14", "type: LoadBalancer, ports: [{name: http, port: 80}]"), "status: {loadBalancer: {ingress: [{ip: 203.0.113.9}]}}\n", slice!("a-older", "[{addresses: [10.1.1.1]}]"),
            "---\n", service!("b-newer", "10.96.7.15", "type: LoadBalancer, ports: [{name: http, port: 80}]"), "status: {loadBalancer: {ingress: [{ip: 203.0.113.9}]}}\n", slice!("b-newer", "[{addresses: [10.1.1.1]}, {addresses: [10.1.1.2]}]")) },
    Bad { name: "external-ip-not-allowed", said: OfService("p16", "externalIPs: 198.51.100.9 is in no allowed network"), serves: Some(("10.96.7.16", 80, 1)), api: Takes,
        yaml: concat!(service!("p16", "10.96.7.16", "externalIPs: [198.51.100.9], ports: [{name: http, port: 80}]"), slice!("p16", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "endpoints-of-the-wrong-family", said: OfService("p17", "\"fd66::1\" is no IPv4 address (and 1 more): skipped"), serves: Some(("10.96.7.17", 80, 1)), api: Refuses,
        yaml: concat!(service!("p17", "10.96.7.17", "ports: [{name: http, port: 80}]"), slice!("p17", "[{addresses: ['fd66::1']}, {addresses: [10.1.1.1]}, {addresses: ['fd66::2']}]")) },
    Bad { name: "ingress-of-the-wrong-family", said: OfService("p18", "fd66:b::9 is of a family of which the Service has no cluster IP"), serves: Some(("10.96.7.18", 80, 1)), api: Takes,
        yaml: concat!(service!("p18", "10.96.7.18", "type: LoadBalancer, ports: [{name: http, port: 80}]"), "status: {loadBalancer: {ingress: [{ip: 'fd66:b::9'}]}}\n", slice!("p18", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "ingress-no-address", said: OfService("p19", "status.loadBalancer.ingress: \"1.2.3\" is no address"), serves: Some(("10.96.7.19", 80, 1)), api: Refuses,
        yaml: concat!(service!("p19", "10.96.7.19", "type: LoadBalancer, ports: [{name: http, port: 80}]"), "status: {loadBalancer: {ingress: [{ip: 1.2.3}]}}\n", slice!("p19", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "ingress-of-a-host-name", said: Nowhere, serves: Some(("10.96.7.20", 80, 1)), api: Takes,
        yaml: concat!(service!("p20", "10.96.7.20", "type: LoadBalancer, ports: [{name: http, port: 80}]"), "status: {loadBalancer: {ingress: [{hostname: lb.example.com}]}}\n", slice!("p20", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "slice-of-host-names", said: OfService("p21", "addressType \"FQDN\" is neither IPv4 nor IPv6"), serves: Some(("10.96.7.21", 80, 0)), api: Takes,
        yaml: concat!(service!("p21", "10.96.7.21", "ports: [{name: http, port: 80}]"), slice!("p21", "FQDN", "[{name: http, port: 8080}]", "[{addresses: [web.example.com]}]")) },
    Bad { name: "scheduler-unknown", said: OfService("p22", "annotation lb-agent.io/scheduler: \"banana\" is none of"), serves: Some(("10.96.7.22", 80, 1)), api: Takes,
        yaml: concat!(service!("p22", "10.96.7.22", "ports: [{name: http, port: 80}]", ", annotations: {lb-agent.io/scheduler: banana}"), slice!("p22", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "passive-health-unknown", said: OfService("p51", "annotation lb-agent.io/passive-health: \"yes\" is neither on nor off"), serves: Some(("10.96.7.51", 80, 1)), api: Takes,
        yaml: concat!(service!("p51", "10.96.7.51", "ports: [{name: http, port: 80}]", ", annotations: {lb-agent.io/passive-health: 'yes'}"), slice!("p51", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "removal-unknown", said: OfService("p50", "annotation lb-agent.io/on-backend-removal: \"reset-after\" is none of"), serves: Some(("10.96.7.50", 80, 1)), api: Takes,
        yaml: concat!(service!("p50", "10.96.7.50", "ports: [{name: http, port: 80}]", ", annotations: {lb-agent.io/on-backend-removal: reset-after}"), slice!("p50", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "weights-unreadable", said: OfService("p61", "annotation lb-agent.io/weights: \"rack=7:1\" is of none of zone, node, pod and *"), serves: Some(("10.96.7.61", 80, 1)), api: Takes,
        yaml: concat!(service!("p61", "10.96.7.61", "ports: [{name: http, port: 80}]", ", annotations: {lb-agent.io/weights: 'rack=7:1'}"), slice!("p61", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "slow-start-unreadable", said: OfService("p62", "annotation lb-agent.io/slow-start: \"30\" is not a duration from 1s to 1h"), serves: Some(("10.96.7.62", 80, 1)), api: Takes,
        yaml: concat!(service!("p62", "10.96.7.62", "ports: [{name: http, port: 80}]", ", annotations: {lb-agent.io/slow-start: '30'}"), slice!("p62", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "annotation-unknown", said: OfService("p23", "annotation lb-agent.io/shceduler is unknown"), serves: Some(("10.96.7.23", 80, 1)), api: Takes,
        yaml: concat!(service!("p23", "10.96.7.23", "ports: [{name: http, port: 80}]", ", annotations: {lb-agent.io/shceduler: rr}"), slice!("p23", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "affinity-timeout-out-of-range", said: OfService("p24", "timeoutSeconds 100000 is not in 1-86400: 10800 holds"), serves: Some(("10.96.7.24", 80, 1)), api: Refuses,
        yaml: concat!(service!("p24", "10.96.7.24", "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 100000}}, ports: [{name: http, port: 80}]"), slice!("p24", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "affinity-unknown", said: OfService("p25", "sessionAffinity: \"Sticky\" is neither None nor ClientIP: off"), serves: Some(("10.96.7.25", 80, 1)), api: Refuses,
        yaml: concat!(service!("p25", "10.96.7.25", "sessionAffinity: Sticky, ports: [{name: http, port: 80}]"), slice!("p25", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "policy-unknown", said: OfService("p26", "internalTrafficPolicy: \"Nearest\" is neither Cluster nor Local: Cluster holds"), serves: Some(("10.96.7.26", 80, 1)), api: Refuses,
        yaml: concat!(service!("p26", "10.96.7.26", "internalTrafficPolicy: Nearest, ports: [{name: http, port: 80}]"), slice!("p26", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "type-unknown", said: OfService("p27", "type \"Magic\" is unknown: served as ClusterIP"), serves: Some(("10.96.7.27", 80, 1)), api: Refuses,
        yaml: concat!(service!("p27", "10.96.7.27", "type: Magic, ports: [{name: http, port: 80}]"), slice!("p27", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "cluster-ip-no-address", said: OfService("p28", "clusterIPs: \"ten\" is no address: skipped"), serves: None, api: Refuses,
        yaml: service!("p28", "ten", "ports: [{name: http, port: 80}]") },
    Bad { name: "source-range-no-network", said: OfService("p29", "loadBalancerSourceRanges: \"10.0.0.0/99\" is no network"), serves: Some(("203.0.113.29", 80, 1)), api: Refuses,
        yaml: concat!(service!("p29", "10.96.7.29", "type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/99], ports: [{name: http, port: 80}]"), "status: {loadBalancer: {ingress: [{ip: 203.0.113.29}]}}\n", slice!("p29", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "health-check-node-port-negative", said: OfService("p30", "healthCheckNodePort: -5 is not in 1-65535"), serves: Some(("10.96.7.30", 80, 1)), api: Refuses,
        yaml: concat!(service!("p30", "10.96.7.30", "type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: -5, ports: [{name: http, port: 80}]"), slice!("p30", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "endpoint-without-address", said: OfService("p31", "endpoints: 1 without an address: skipped"), serves: Some(("10.96.7.31", 80, 1)), api: Refuses,
        yaml: concat!(service!("p31", "10.96.7.31", "ports: [{name: http, port: 80}]"), slice!("p31", "[{addresses: []}, {addresses: [10.1.1.1]}]")) },
    Bad { name: "slice-without-label", said: InLog("EndpointSlice default/p32-x is skipped: no label kubernetes.io/service-name"), serves: Some(("10.96.7.32", 80, 0)), api: Takes,
        yaml: concat!(service!("p32", "10.96.7.32", "ports: [{name: http, port: 80}]"), "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: p32-x}\naddressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.1.1.1]}]\n") },
    Bad { name: "slice-of-a-missing-service", said: InLog("EndpointSlice default/p33-x has no Service: default/p33 is in no file"), serves: None, api: Takes,
        yaml: slice!("p33", "[{addresses: [10.1.1.1]}]") },
    Bad { name: "kind-unknown", said: InLog("document 1 is a apps/v1 Deployment: kind not supported"), serves: Some(("10.96.7.34", 80, 1)), api: Never,
        yaml: concat!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: p34}\n---\n", service!("p34", "10.96.7.34", "ports: [{name: http, port: 80}]"), slice!("p34", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "yaml-broken", said: OfFile("document 1"), serves: Some(("10.96.7.35", 80, 1)), api: Never,
        yaml: concat!("apiVersion: v1\nkind: Service\nmetadata: [\n---\n", service!("p35", "10.96.7.35", "ports: [{name: http, port: 80}]"), slice!("p35", "[{addresses: [10.1.1.1]}]")) },
    Bad { name: "wrong-type-of-port", said: OfFile("document 1"), serves: None, api: Refuses,
        yaml: service!("p36", "10.96.7.36", "ports: [{name: http, port: eighty}]") },
    Bad { name: "wrong-type-of-ports", said: OfFile("document 1"), serves: None, api: Refuses,
        yaml: service!("p37", "10.96.7.37", "ports: {name: http, port: 80}") },
    Bad { name: "name-missing", said: OfFile("metadata.name is missing"), serves: None, api: Refuses,
        yaml: "apiVersion: v1\nkind: Service\nmetadata: {}\nspec: {clusterIP: 10.96.7.38, ports: [{port: 80}]}\n" },
    Bad { name: "same-object-twice", said: InLog("Service default/p39 is in"), serves: Some(("10.96.7.39", 81, 0)), api: Refuses,
        yaml: concat!(service!("p39", "10.96.7.39", "ports: [{name: http, port: 80}]"), "---\n", service!("p39", "10.96.7.39", "ports: [{name: http, port: 81}]")) },
];
