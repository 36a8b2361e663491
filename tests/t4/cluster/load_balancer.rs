//! LoadBalancer Services as users run them: user → haproxy outside of the cluster → node:nodePort →
//! pod, over two nodes, one of which drains. No user may notice.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::{Value, json};
use testbed::{
    agent::{Agent, CHANGE},
    cluster::{
        Cluster,
        haproxy::{Haproxy, Plan},
        objects::{node_port, service},
    },
    http,
    lan::Client,
    node::Node,
    poll,
    probe::{Family, Kind, Sock},
};

use crate::cluster::{
    common::{by_kubeconfig, hammer, no_failure, ports},
    health::{health_port, local_service, taint},
};

const NAMESPACE: &str = "front";
/// Where kubelets and load balancers ask the node.
const HEALTHZ: u16 = 10256;
/// As long as a grace period may be; pods go before.
const GRACE: u32 = 600;

/// Two nodes with a pod each, an agent on each, haproxy in front of their node ports, and a user.
struct Stage {
    haproxy: Haproxy,
    _agents: [Agent; 2],
    balancer: Client,
    user: Client,
    nodes: [Node; 2],
    service: Service,
    family: Family,
    cluster: std::sync::Arc<Cluster>,
}

/// What differs between the two ways to ask a node.
struct Way {
    name: &'static str,
    family: Family,
    value: Value,
    /// Nodes have this number and the next; so have the machines outside.
    number: u8,
    expect: &'static [&'static str],
}

impl Stage {
    fn new(way: Way) -> Result<Self> {
        let Way {
            name,
            family,
            value,
            number,
            expect,
        } = way;
        let cluster = Cluster::shared()?;
        let api = cluster.client();
        let mut nodes = [cluster.node(number)?, cluster.node(number + 1)?];
        nodes[0].join(&nodes[1])?;
        let (balancer, user) = (cluster.outside(number)?, cluster.outside(number + 1)?);
        let service = api.add_service(NAMESPACE, value)?;
        // What such a load balancer writes: connections to it must go through it, from inside too
        // (KEP-1860).
        let ingress = json!([{"ip": balancer.addr.ip(family), "ipMode": "Proxy"}]);
        let status = json!({"status": {"loadBalancer": {"ingress": ingress}}});
        api.patch_status::<Service>(NAMESPACE, name, status)?;
        for (node, pod) in nodes.iter_mut().zip(["a", "b"]) {
            cluster.pod(NAMESPACE, node, &format!("{name}-{pod}"), name, 8080)?;
        }
        for slices in ["IPv4", "IPv6"] {
            api.wait_endpoints(NAMESPACE, name, slices, 2)?;
        }
        let bind = ["--health-bind-address", "[::]:10256"];
        let start = |node| by_kubeconfig(&cluster)?.args(&bind).on(node);
        let agents = [start(&nodes[0])?, start(&nodes[1])?];
        let (port, check) = (node_port(&service)?, health_port(&service).ok());
        let [a, b] = [0, 1].map(|n: usize| nodes[n].addr().at(family, port));
        let plan = Plan {
            listen: balancer.addr.at(family, 80),
            servers: &[("a", a), ("b", b)],
            check_port: check.unwrap_or(HEALTHZ),
            check_path: "/healthz",
            expect,
        };
        let haproxy = Haproxy::start(
            &format!("haproxy-{name}"),
            cluster.files(),
            balancer.sandbox(),
            &plan,
        )?;
        Ok(Self {
            haproxy,
            _agents: agents,
            balancer,
            user,
            nodes,
            service,
            family,
            cluster,
        })
    }

    /// Where users come.
    fn front(&self) -> SocketAddr {
        self.balancer.addr.at(self.family, 80)
    }

    /// Waits until haproxy thinks so of a server, for this status of its check.
    fn marked(&mut self, server: &str, up: bool) -> Result<()> {
        let expected = if up {
            ("UP", "L7OK", "200")
        } else {
            ("DOWN", "L7STS", "503")
        };
        poll::until(CHANGE, &format!("{server} is {expected:?}"), || {
            let found = self.haproxy.verdict(server)?;
            let told = (&*found.status, &*found.check, &*found.code);
            ensure!(told == expected, "{found:?}");
            Ok(Some(()))
        })
    }

    /// Both nodes get users.
    fn both(&mut self) -> Result<()> {
        self.marked("a", true)?;
        self.marked("b", true)
    }

    /// Opens connections until one is answered by that pod.
    fn connection_to(&self, pod: &str) -> Result<Sock> {
        poll::until(CHANGE, &format!("{pod} answers"), || {
            let sock = self.user.connect(Kind::Tcp, self.front())?;
            Ok((sock.ask("hello")?.name == pod).then_some(sock))
        })
    }

    /// haproxy has sent no user to `a` for as long as `b` took to get many.
    fn a_is_left_alone(&mut self) -> Result<()> {
        let (a, b) = (self.haproxy.verdict("a")?, self.haproxy.verdict("b")?);
        poll::until_true(CHANGE, "b has served 50 users", || {
            Ok(self.haproxy.verdict("b")?.sessions >= b.sessions + 50)
        })?;
        let now = self.haproxy.verdict("a")?;
        ensure!(now.sessions == a.sessions, "{a:?} became {now:?}");
        Ok(())
    }

    fn healthz(&self, node: usize) -> Result<u16> {
        let to = self.nodes[node].addr().at(self.family, HEALTHZ);
        http::status(&self.balancer, to, "/healthz")
    }

    fn autoscaler(&self, takes: bool) -> Result<()> {
        taint(&self.cluster, self.nodes[0].name(), takes)?;
        let expected = if takes { 503 } else { 200 };
        poll::until_true(CHANGE, &format!("/healthz says {expected}"), || {
            Ok(self.healthz(0)? == expected)
        })?;
        ensure!(self.healthz(1)? == 200, "the other node is well");
        Ok(())
    }
}

fn namespace(cluster: &Cluster) -> Result<()> {
    match cluster.client().add_namespace(NAMESPACE) {
        // Another test of this file was first.
        Err(error) if format!("{error:#}").contains("already exists") => Ok(()),
        other => other,
    }
}

#[test]
fn a_node_drains_behind_its_health_check_port_and_no_user_notices() -> Result<()> {
    let cluster = Cluster::shared()?;
    namespace(&cluster)?;
    let api = cluster.client();
    let mut stage = Stage::new(Way {
        name: "local",
        family: Family::V4,
        value: local_service("local"),
        number: 35,
        expect: &["http-check expect hdr name X-Load-Balancing-Endpoint-Weight value -m str 1"],
    })?;
    stage.both()?;
    let hammer = hammer(&stage.user, stage.front())?;
    let [long_a, long_b] = ["local-a", "local-b"].map(|pod| stage.connection_to(pod));
    let (long_a, long_b) = (long_a?, long_b?);
    let check = stage.nodes[0]
        .addr()
        .at(Family::V4, health_port(&stage.service)?);
    let weight = |stage: &Stage| -> Result<Option<String>> {
        let answer = http::ask(&stage.balancer, check, "GET", "/")?;
        let weight = answer.header("X-Load-Balancing-Endpoint-Weight");
        Ok(weight.map(str::to_owned))
    };
    assert_eq!(weight(&stage)?.as_deref(), Some("1"));

    // The pod is told to go and still serves: it gets users until haproxy has heard of it, and
    // keeps those it has.
    api.terminate_pod(NAMESPACE, "local-a", GRACE)?;
    stage.marked("a", false)?;
    assert_eq!(weight(&stage)?.as_deref(), Some("0"));
    ensure!(stage.healthz(0)? == 200, "the node itself is well");
    stage.a_is_left_alone()?;
    assert_eq!(long_a.ask("still there")?.name, "local-a");

    // Now it may go, and the node after it.
    drop(long_a);
    stage.nodes[0].pod(0).kill();
    api.delete::<Pod>(NAMESPACE, "local-a")?;
    stage.autoscaler(true)?;
    stage.a_is_left_alone()?;
    let so_far = hammer.so_far()?.attempts;

    // And back.
    stage.autoscaler(false)?;
    cluster.pod(NAMESPACE, &mut stage.nodes[0], "local-c", "local", 8080)?;
    stage.both()?;
    drop(stage.connection_to("local-c")?);
    assert_eq!(long_b.ask("all the while")?.name, "local-b");
    no_failure(hammer, so_far)
}

#[test]
fn a_node_drains_behind_healthz_and_no_user_notices() -> Result<()> {
    let cluster = Cluster::shared()?;
    namespace(&cluster)?;
    let api = cluster.client();
    let mut value = service("anywhere", "LoadBalancer", &ports());
    value["spec"]["ipFamilyPolicy"] = json!("RequireDualStack");
    let mut stage = Stage::new(Way {
        name: "anywhere",
        family: Family::V6,
        value,
        number: 37,
        expect: &[],
    })?;
    stage.both()?;
    let hammer = hammer(&stage.user, stage.front())?;
    let long: Vec<Sock> = (0..4)
        .map(|_| stage.connection_to("anywhere-b"))
        .collect::<Result<_>>()?;

    stage.autoscaler(true)?;
    stage.marked("a", false)?;
    stage.a_is_left_alone()?;
    // Connections through the node that drains stay open.
    for sock in &long {
        assert_eq!(sock.ask("still there")?.name, "anywhere-b");
    }
    api.terminate_pod(NAMESPACE, "anywhere-a", GRACE)?;
    api.wait_endpoints(NAMESPACE, "anywhere", "IPv6", 1)?;
    stage.a_is_left_alone()?;
    poll::until_true(CHANGE, "no client is sent to the pod that goes", || {
        let before = hammer.so_far()?.answers.get("anywhere-a").copied();
        std::thread::sleep(Duration::from_millis(200));
        Ok(hammer.so_far()?.answers.get("anywhere-a").copied() == before)
    })?;
    stage.nodes[0].pod(0).kill();
    api.delete::<Pod>(NAMESPACE, "anywhere-a")?;
    let so_far = hammer.so_far()?.attempts;
    stage.autoscaler(false)?;
    stage.both()?;
    for sock in &long {
        assert_eq!(sock.ask("all the while")?.name, "anywhere-b");
    }
    no_failure(hammer, so_far)
}
