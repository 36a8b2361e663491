//! The demo's objects as YAML files that the agent follows.

use anyhow::Result;
use testbed::{
    agent::Start,
    lan::{Client, Lan, Offloads},
    manifest::{self, Endpoint, Service},
    node::{Node, PodNetwork},
    probe::Kind,
};

use crate::{
    show,
    stage::{DNS, DNS_VIP, NODE_PORT, TARGET, WEB, WEB_VIP},
};

/// The segment, and files in the node's folder.
pub(crate) struct FromManifests {
    pub(crate) lan: Lan,
}

impl FromManifests {
    pub(crate) fn start() -> Result<Self> {
        Ok(Self {
            // XDP leaves packets whose sum is still to be made to tc: as from a real device they
            // come with it.
            lan: Lan::new(Offloads::LastHop)?,
        })
    }

    pub(crate) fn machines(&self) -> Result<(Node, Client)> {
        Ok((
            Node::new(&self.lan, 1, PodNetwork::Routed)?,
            self.lan.client(1)?,
        ))
    }

    /// Writes the manifests; how to start an agent that reads them.
    pub(crate) fn apply(node: &Node) -> Result<Start> {
        show::title("Two Services, as manifests");
        node.write_manifest("node.yaml", &manifest::node(node))?;
        let dns = Service::new("kube-dns", DNS_VIP)
            .port(53, 53)
            .endpoints(endpoints(node, &[DNS]));
        node.write_manifest("kube-dns.yaml", &dns.yaml())?;
        let web = web(node, &WEB);
        node.write_manifest("web.yaml", &web.yaml())?;
        show::run_as(
            "node",
            node,
            "ls manifests",
            &format!("ls {}", node.manifests().display()),
            9,
        )?;
        show::prompt("node", "head -17 manifests/web.yaml");
        show::lines(
            &web.yaml().lines().take(17).collect::<Vec<_>>().join("\n"),
            17,
        );
        Ok(Start::new())
    }

    /// What a cluster does when a pod goes: the EndpointSlice loses it.
    pub(crate) fn remove_backend(node: &Node, name: &str) -> Result<()> {
        show::prompt(
            "node",
            &format!("# {name} goes: its endpoint is taken out of manifests/web.yaml"),
        );
        let rest: Vec<&str> = WEB.into_iter().filter(|web| *web != name).collect();
        node.write_manifest("web.yaml", &web(node, &rest).yaml())
    }
}

fn web(node: &Node, pods: &[&str]) -> Service {
    Service::new("web", WEB_VIP)
        .one_port(Kind::Tcp, 80, TARGET, Some(NODE_PORT))
        .endpoints(endpoints(node, pods))
}

fn endpoints(node: &Node, names: &[&str]) -> Vec<Endpoint> {
    node.pods()
        .iter()
        .filter(|pod| names.contains(&pod.name()))
        .map(|pod| Endpoint::of(node, pod))
        .collect()
}
