use std::num::NonZeroU32;

use super::*;
use crate::model::{MaxAge, Scheduler, Spill};

fn read(yaml: &str) -> api::Service {
    serde_saphyr::from_str(yaml).unwrap()
}

fn spec(spec: &str) -> Result<Service, NotOurs> {
    service(&read(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec: {spec}\n"
    )))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

#[test]
fn a_load_balancer_with_everything() {
    let s = service(&read(
        r"
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  annotations: {lb-agent.io/scheduler: rr}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, 'fd66::10']
  externalIPs: [198.18.0.1]
  externalTrafficPolicy: Local
  internalTrafficPolicy: Cluster
  healthCheckNodePort: 32000
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
  loadBalancerSourceRanges: [' 10.1.2.3/8 ', 'fd66::/16']
  ports:
  - {name: http, port: 80, targetPort: web, nodePort: 30080}
  - {name: dns, port: 53, protocol: UDP}
status:
  loadBalancer:
    ingress:
    - {ip: 203.0.113.1}
    - {ip: 203.0.113.2, ipMode: VIP}
    - {ip: 203.0.113.3, ipMode: Proxy}
    - {hostname: lb.example.com}
",
    ))
    .unwrap();
    assert_eq!(s.key.to_string(), "shop/web");
    assert_eq!(s.kind, ServiceType::LoadBalancer);
    assert_eq!(s.cluster_ips, [ip("10.96.0.10"), ip("fd66::10")]);
    assert_eq!(s.external_ips, [ip("198.18.0.1")]);
    assert_eq!(s.ingress_ips, [ip("203.0.113.1"), ip("203.0.113.2")]);
    assert_eq!(
        (s.external_policy, s.internal_policy),
        (Policy::Local, Policy::Cluster)
    );
    assert_eq!(s.affinity_secs, Some(60));
    assert_eq!(s.source_ranges, [cidr("10.0.0.0/8"), cidr("fd66::/16")]);
    assert_eq!(s.health_check_node_port.unwrap().get(), 32000);
    assert_eq!(s.scheduler, Some(Scheduler::RoundRobin));
    let ports: Vec<_> = s
        .ports
        .iter()
        .map(|p| {
            (
                &*p.name,
                p.proto,
                p.port.get(),
                p.node_port.map(std::num::NonZeroU16::get),
            )
        })
        .collect();
    assert_eq!(
        ports,
        [
            ("http", lb_common::Proto::Tcp, 80, Some(30080)),
            ("dns", lb_common::Proto::Udp, 53, None)
        ]
    );
    assert_eq!(s.problems, [""; 0]);
}

#[test]
fn what_is_not_ours_is_told_why() {
    for (text, word) in [
        ("{clusterIP: None}", "headless"),
        ("{clusterIPs: [None]}", "headless"),
        ("{clusterIP: ''}", "no clusterIP"),
        ("{ports: [{port: 80}]}", "no clusterIP"),
        (
            "{type: ExternalName, externalName: example.com}",
            "ExternalName",
        ),
    ] {
        let e = spec(text).unwrap_err();
        assert_eq!(e.key.to_string(), "shop/web");
        assert!(e.reason.contains(word), "{text}: {}", e.reason);
    }
    let labelled = |label: &str| {
        service(&read(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, labels: {{service.kubernetes.io/{label}: x}}}}\nspec: {{clusterIP: 10.96.0.1}}\n"
        )))
    };
    let e = labelled("service-proxy-name").unwrap_err();
    assert_eq!(e.key.to_string(), "default/web");
    assert!(e.reason.contains("another proxy"), "{}", e.reason);
    // kube-proxy 1.37 reads this label on slices only.
    labelled("headless").unwrap();
}

#[test]
fn sloppy_addresses_are_read() {
    let s = spec("{clusterIP: 010.096.000.001, ports: [{port: 80}]}").unwrap();
    assert_eq!(s.cluster_ips, [ip("10.96.0.1")]);
    assert!(s.problems.is_empty());
}

#[test]
fn bad_values_are_problems_and_the_rest_stands() {
    let s = spec(
        "{type: Mesh, clusterIPs: [10.96.0.1, nonsense, 10.96.0.2], externalIPs: [x], externalTrafficPolicy: Near,
          sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}},
          ports: [{port: 0}, {port: 80, protocol: QUIC}, {port: 81, nodePort: 70000}, {port: 81}, {name: b, port: 82}]}",
    )
    .unwrap();
    assert_eq!(s.cluster_ips, [ip("10.96.0.1")]);
    assert_eq!(s.kind, ServiceType::ClusterIp);
    assert_eq!(s.affinity_secs, Some(10_800));
    assert_eq!(
        s.ports.iter().map(|p| p.port.get()).collect::<Vec<_>>(),
        [81, 82]
    );
    let all = s.problems.join("\n");
    for word in [
        "\"Mesh\"",
        "nonsense",
        "10.96.0.2",
        "externalIPs",
        "\"Near\"",
        "timeoutSeconds 0",
        "port 0",
        "QUIC",
        "70000",
        "81/TCP",
    ] {
        assert!(all.contains(word), "{word} is not in:\n{all}");
    }
}

#[test]
fn an_unknown_scheduler_leaves_the_default() {
    let s = service(&read(
        "apiVersion: v1\nkind: Service\nmetadata: {name: w, annotations: {lb-agent.io/scheduler: fastest}}\nspec: {clusterIP: 10.96.0.1}\n",
    ))
    .unwrap();
    assert_eq!(s.scheduler, None);
    assert!(
        s.problems[0].contains("fastest") && s.problems[0].contains("random, rr, wrr"),
        "{:?}",
        s.problems
    );
}

#[test]
fn unreadable_source_ranges_admit_no_client() {
    let s = spec("{clusterIP: 10.96.0.1, loadBalancerSourceRanges: ['10.0.0.1', 'all']}").unwrap();
    assert_eq!(s.source_ranges, [cidr("0.0.0.0/32"), cidr("::/128")]);
    assert_eq!(s.problems.len(), 3);
    let s =
        spec("{clusterIP: 10.96.0.1, loadBalancerSourceRanges: ['10.0.0.0/8', 'all']}").unwrap();
    assert_eq!(s.source_ranges, [cidr("10.0.0.0/8")]);
}

/// A Service with this annotation of ours.
fn annotated(name: &str, value: &str) -> Service {
    service(&read(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: w, annotations: {{lb-agent.io/{name}: {value:?}}}}}\nspec: {{clusterIP: 10.96.0.1}}\n"
    )))
    .unwrap()
}

#[test]
fn slow_start_is_read_and_a_bad_one_told() {
    let with = |value: &str| annotated("slow-start", value);
    let good = with("30s");
    assert!(
        good.slow_start.is_some() && good.problems.is_empty(),
        "{:?}",
        good.problems
    );
    let bad = with("half a minute");
    assert_eq!(bad.slow_start, None);
    assert!(
        bad.problems[0].contains("half a minute") && bad.problems[0].contains("from 1s to 1h"),
        "{:?}",
        bad.problems
    );
}

#[test]
fn max_connections_are_read_and_bad_ones_told() {
    let with = |value: &str| annotated("max-connections", value);
    let good = with(" 500 ");
    assert_eq!(good.max_connections.map(NonZeroU32::get), Some(500));
    assert!(good.problems.is_empty(), "{:?}", good.problems);
    for text in ["0", "-1", "many", "4294967296", ""] {
        let bad = with(text);
        assert_eq!(bad.max_connections, None);
        let said = &bad.problems[0];
        assert!(
            said.contains("max-connections") && said.contains("no whole number above 0"),
            "{said}"
        );
    }
}

#[test]
fn a_spill_is_read_and_bad_ones_told() {
    let with = |value: &str| annotated("spill", value);
    let good = with("150%");
    assert_eq!(good.spill.map(Spill::percent), Some(150));
    assert!(good.problems.is_empty(), "{:?}", good.problems);
    let bad = with("150");
    assert_eq!(bad.spill, None);
    let said = &bad.problems[0];
    assert!(
        said.contains("lb-agent.io/spill") && said.contains("from 100% to 10000%"),
        "{said}"
    );
}

#[test]
fn a_max_age_is_read_and_bad_ones_told() {
    let with = |value: &str| annotated("max-connection-age", value);
    let good = with("30m");
    assert_eq!(good.max_age.map(MaxAge::seconds), Some(1800));
    assert!(good.problems.is_empty(), "{:?}", good.problems);
    let bad = with("1s");
    assert_eq!(bad.max_age, None);
    let said = &bad.problems[0];
    assert!(
        said.contains("max-connection-age") && said.contains("from 10s to 168h"),
        "{said}"
    );
}
