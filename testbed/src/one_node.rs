//! The stage of most tests: a node with three web pods and a client pod, the service `web` in
//! front, the agent.

use anyhow::Result;

use crate::{
    addr::{self, Both},
    agent::{Agent, Start},
    lan::{Lan, Offloads},
    manifest::{self, Endpoint, Service},
    node::{Node, PodNetwork},
    pod::Pod,
    probe::{Family, Hammer, HammerPlan, Kind},
};

/// The web pods.
pub const WEB: [&str; 3] = ["web-1", "web-2", "web-3"];
/// The port that they listen on.
pub const TARGET: u16 = 8080;
/// The port of their service.
pub const PORT: u16 = 80;
/// The service's node port.
pub const NODE_PORT: u16 = 30080;
/// The service's VIP.
pub const WEB_VIP: Both = addr::vip(10);
/// The service's load balancer IP.
pub const WEB_LB: Both = addr::lb(10);

/// Fields go in this order: the agent first.
#[derive(Debug)]
pub struct OneNode {
    /// Running; taken out by tests that kill it.
    pub agent: Option<Agent>,
    /// With the pods.
    pub node: Node,
    /// For clients and further nodes.
    pub lan: Lan,
}

impl OneNode {
    /// The service `web` and nothing else.
    pub fn new() -> Result<Self> {
        Self::with(Start::new(), |node| vec![web(node)])
    }

    /// These services.
    pub fn with(start: Start, services: impl FnOnce(&Node) -> Vec<Service>) -> Result<Self> {
        let lan = Lan::new(Offloads::On)?;
        let node = node_with_pods(&lan)?;
        node.write_manifest("node.yaml", &manifest::node(&node))?;
        for service in services(&node) {
            node.write_manifest(&service.file(), &service.yaml())?;
        }
        let agent = start.on(&node)?;
        Ok(Self {
            agent: Some(agent),
            node,
            lan,
        })
    }

    /// The client pod.
    #[must_use]
    pub fn client(&self) -> &Pod {
        self.node.pod(WEB.len())
    }

    /// Connects from the client pod to the service `web` by TCP, again and again.
    pub fn hammer_web(&self) -> Result<Hammer> {
        Ok(self.client().hammer(HammerPlan {
            kind: Kind::Tcp,
            connected: true,
            to: WEB_VIP.at(Family::V4, PORT),
            allowed: Vec::new(),
        })?)
    }

    /// Writes the service's manifest anew.
    pub fn apply(&self, service: &Service) -> Result<()> {
        self.node.write_manifest(&service.file(), &service.yaml())
    }
}

/// Number 1, with web pods that serve and a client pod.
pub fn node_with_pods(lan: &Lan) -> Result<Node> {
    let mut node = Node::new(lan, 1, PodNetwork::Routed)?;
    for name in WEB {
        node.add_pod(name)?.serve(TARGET)?;
    }
    node.add_pod("client")?;
    Ok(node)
}

/// The service `web` of the node's web pods, with every kind of frontend.
#[must_use]
pub fn web(node: &Node) -> Service {
    behind("web", WEB_VIP, &web_pods(node))
        .node_port(PORT, TARGET, NODE_PORT)
        .ingress(WEB_LB)
}

/// A service of these endpoints, still without ports.
#[must_use]
pub fn behind(name: &str, vip: Both, endpoints: &[Endpoint]) -> Service {
    Service::new(name, vip).endpoints(endpoints.iter().cloned())
}

/// The node's web pods as endpoints.
#[must_use]
pub fn web_pods(node: &Node) -> Vec<Endpoint> {
    node.pods()
        .iter()
        .filter(|pod| WEB.contains(&pod.name()))
        .map(|pod| Endpoint::of(node, pod))
        .collect()
}
