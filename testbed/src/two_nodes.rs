//! Two nodes with pods and agents, and a client outside of them.

use anyhow::{Context as _, Result};

use crate::{
    addr::{self, Both},
    agent::{Agent, Start},
    lan::{Client, Lan, Offloads},
    manifest::{self, Endpoint, Service},
    node::{Node, PodNetwork},
    one_node::{PORT, TARGET},
};

/// Pods of the first node, where the client connects.
pub const LOCAL: [&str; 2] = ["local-1", "local-2"];
/// Pods of the second node.
pub const REMOTE: [&str; 2] = ["remote-1", "remote-2"];
/// Node port of the service with local pods.
pub const LOCAL_PORT: u16 = 30001;
/// Node port of the service with remote pods.
pub const REMOTE_PORT: u16 = 30002;
/// Node port of the service with all of them.
pub const BOTH_PORT: u16 = 30003;

/// Fields go in this order: the agents first.
#[derive(Debug)]
pub struct TwoNodes {
    /// One a node, taken out by tests that kill them.
    pub agents: Vec<Agent>,
    /// Beside the nodes, on their segment.
    pub client: Client,
    /// Where the client connects.
    pub near: Node,
    /// The other one.
    pub far: Node,
    /// The segment.
    pub lan: Lan,
    network: PodNetwork,
}

impl TwoNodes {
    /// With the services `local`, `remote` and `both`; `near` is how the agent of the first node is
    /// started.
    pub fn new(network: PodNetwork, offloads: Offloads, near: Start) -> Result<Self> {
        let lan = Lan::new(offloads)?;
        let mut nodes = (Node::new(&lan, 1, network)?, Node::new(&lan, 2, network)?);
        for (node, pods) in [(&mut nodes.0, LOCAL), (&mut nodes.1, REMOTE)] {
            for pod in pods {
                node.add_pod(pod)?.serve(TARGET)?;
            }
        }
        let (one, two) = nodes;
        one.join(&two)?;
        let client = lan.client(1)?;
        let mut bed = Self {
            agents: Vec::new(),
            client,
            near: one,
            far: two,
            lan,
            network,
        };
        for service in bed.services() {
            bed.apply(&service)?;
        }
        let nodes = format!(
            "{}---\n{}",
            manifest::node(&bed.near),
            manifest::node(&bed.far)
        );
        for node in [&bed.near, &bed.far] {
            node.write_manifest("nodes.yaml", &nodes)?;
        }
        bed.agents.push(near.on(&bed.near)?);
        bed.agents.push(Start::new().on(&bed.far)?);
        Ok(bed)
    }

    fn services(&self) -> [Service; 3] {
        let (near, far) = (self.endpoints(&self.near), self.endpoints(&self.far));
        let both = [near.clone(), far.clone()].concat();
        [
            ("local", 1, near, LOCAL_PORT),
            ("remote", 2, far, REMOTE_PORT),
            ("both", 3, both, BOTH_PORT),
        ]
        .map(|(name, n, endpoints, port)| {
            Service::new(name, addr::vip(n))
                .node_port(PORT, TARGET, port)
                .ingress(addr::lb(n))
                .endpoints(endpoints)
        })
    }

    /// The node's pods as endpoints.
    #[must_use]
    pub fn endpoints(&self, node: &Node) -> Vec<Endpoint> {
        node.pods()
            .iter()
            .map(|pod| Endpoint::of(node, pod))
            .collect()
    }

    /// Writes the service's manifest on both nodes.
    pub fn apply(&self, service: &Service) -> Result<()> {
        for node in [&self.near, &self.far] {
            node.write_manifest(&service.file(), &service.yaml())?;
        }
        Ok(())
    }

    /// The address that a pod of the far node sees of what the near node sends there: the preferred
    /// source of that route.
    #[must_use]
    pub const fn source_towards_far(&self) -> Both {
        match self.network {
            PodNetwork::Routed => self.near.addr(),
            PodNetwork::Flannel => addr::pod(1, 0),
        }
    }

    /// Lets the client reach these addresses through the near node, as a router would that a load
    /// balancer has told.
    pub fn route_to_near(&self, to: Both) -> Result<()> {
        let via = self.near.addr();
        self.client
            .netns()
            .ip(&format!(
                "route add {}/32 via {}\nroute add {}/128 via {}\n",
                to.v4, via.v4, to.v6, via.v6
            ))
            .context("route to the near node")
    }
}
