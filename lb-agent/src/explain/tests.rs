use lb_common::Proto;

use super::*;
use crate::model::{Endpoint, testing::key};

fn config() -> PlanConfig {
    PlanConfig {
        node_name: "node-1".into(),
        ..PlanConfig::default()
    }
}

fn of(service: &Service, endpoints: Vec<Endpoint>, zone: Option<&str>) -> Explanation {
    let slice = Slice::new(key("web-abc"), "web")
        .port("http", Proto::Tcp, 8080)
        .endpoints(endpoints);
    let facts = Facts {
        service,
        slices: &[Arc::new(slice)],
        zone,
        config: &config(),
    };
    explain(facts, None)
}

fn web() -> Service {
    Service::cluster_ip("web", "10.96.0.1").port("http", Proto::Tcp, 80)
}

fn hinted(addr: &str, zones: &[&str]) -> Endpoint {
    let mut e = Endpoint::ready(addr);
    e.hints.get_or_insert_default().zones = zones.iter().map(|z| Arc::from(*z)).collect();
    e
}

fn rules(explanation: &Explanation, pool: usize) -> Vec<(bool, &str)> {
    let endpoints = explanation.pools[pool].endpoints.iter();
    endpoints.map(|e| (e.eligible, e.rule.as_str())).collect()
}

#[test]
fn hints_are_named_with_this_nodes_zone() {
    let all = vec![hinted("10.0.0.1", &["a"]), hinted("10.0.0.2", &["b"])];
    let found = of(&web(), all, Some("a"));
    assert_eq!(
        rules(&found, 0),
        [
            (true, "ready, and its hints name this node's zone, a"),
            (
                false,
                "topology: its hints name zones b, and this node is in a"
            ),
        ]
    );
    assert_eq!(
        found.pools[0].outcome(),
        "one of 1 of 2 endpoints, chosen by random"
    );
}

#[test]
fn policy_local_names_the_other_node() {
    let mut service = web().node_port(30080);
    service.external_policy = Policy::Local;
    let all = vec![Endpoint::ready("10.0.0.2").on("node-2")];
    let found = of(&service, all, None);
    let node_port = found.frontends.iter().find(|f| f.frontend == "*:30080");
    let node_port = node_port.unwrap();
    let (inside, outside) = (node_port.inside.unwrap(), node_port.outside.unwrap());
    assert_eq!(rules(&found, inside), [(true, "ready")]);
    assert_eq!(
        rules(&found, outside),
        [(false, "policy Local: it runs on node-2, not on this node")]
    );
    assert!(found.pools[outside].outcome().contains("policy Local"));
}

#[test]
fn a_wrong_port_name_and_endpoints_that_are_not_ready_are_told_apart() {
    let mut service = web();
    service.ports[0].name = "web".into();
    let found = of(&service, vec![Endpoint::ready("10.0.0.1")], None);
    assert!(found.pools[0].outcome().contains("port name"));
    let mut e = Endpoint::ready("10.0.0.1");
    e.ready = false;
    let found = of(
        &web(),
        vec![e, Endpoint::ready("10.0.0.2").draining()],
        None,
    );
    assert_eq!(
        rules(&found, 0),
        [
            (false, "not ready"),
            (
                true,
                "terminates and still serves: taken since no endpoint is ready"
            ),
        ]
    );
}
