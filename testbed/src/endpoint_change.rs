//! What can happen to the backend that a flow has: six changes of a Service, and how each is made
//! and waited for.

use anyhow::{Context as _, Result};

use crate::{
    addr::Both,
    agent::CHANGE,
    agent_output,
    manifest::{Endpoint, Service},
    node::Node,
    one_node::{PORT, TARGET},
    pod::Pod,
    poll,
    probe::{Family, Kind},
};

/// Where pods listen too, under another name: see [`Change::Moved`].
const OTHER_TARGET: u16 = 9090;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Scaled to zero.
    Zero,
    /// The Service is deleted, its slices with it.
    Deleted,
    /// Deleted, and made again with the same addresses and another pod.
    Recreated,
    /// The same pod listens on another port.
    Moved,
    /// The pod terminates and still serves; another one is ready.
    Draining,
    /// The pod no longer serves; another one is ready.
    Lost,
}

/// What it means for a flow of UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Stays with who serves it.
    Keeps,
    /// Goes to this server.
    Goes(String),
    /// Is refused: there is a Service without endpoints.
    Refused,
    /// Has nothing to do with us any more.
    Nothing,
}

impl Change {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Zero,
        Self::Deleted,
        Self::Recreated,
        Self::Moved,
        Self::Draining,
        Self::Lost,
    ];
}

/// A Service whose only endpoint is the first of two pods, until the change.
#[derive(Debug, Clone)]
pub struct EndpointChange {
    /// What happens to it.
    pub change: Change,
    /// Its VIP.
    pub vip: Both,
    /// For packets from outside.
    pub node_port: u16,
    name: String,
    pods: [Endpoint; 2],
}

impl EndpointChange {
    /// Number `n` among the cases of a test; `pods` serve on [`OTHER_TARGET`] too, by
    /// [`serve_elsewhere`].
    #[must_use]
    pub fn new(change: Change, n: u8, vip: Both, pods: [Endpoint; 2]) -> Self {
        Self {
            change,
            vip,
            node_port: 31000 + u16::from(n),
            name: format!("case-{n}"),
            pods,
        }
    }

    /// As it is before the change.
    #[must_use]
    pub fn before(&self) -> Service {
        self.service(TARGET).endpoints([self.pods[0].clone()])
    }

    /// Whom its flows have before the change.
    #[must_use]
    pub fn first(&self) -> &str {
        &self.pods[0].pod
    }

    /// What becomes of a flow of UDP.
    #[must_use]
    pub fn expected(&self) -> Expected {
        match self.change {
            Change::Zero => Expected::Refused,
            Change::Deleted => Expected::Nothing,
            Change::Recreated | Change::Lost => Expected::Goes(self.pods[1].pod.clone()),
            Change::Moved => Expected::Goes(elsewhere(&self.pods[0].pod)),
            Change::Draining => Expected::Keeps,
        }
    }

    /// Makes the change, and waits until each of the nodes has it in its maps.
    pub fn happen(&self, nodes: &[&Node]) -> Result<()> {
        let [first, second] = self.pods.clone();
        let (service, ends) = match self.change {
            Change::Zero => (self.service(TARGET), vec![]),
            Change::Deleted => return self.delete(nodes),
            Change::Recreated => {
                self.delete(nodes)?;
                (self.service(TARGET), vec![second])
            }
            Change::Moved => (self.service(OTHER_TARGET), vec![first]),
            Change::Draining => {
                let draining = Endpoint {
                    ready: false,
                    terminating: true,
                    ..first
                };
                (self.service(TARGET), vec![draining, second])
            }
            Change::Lost => {
                let lost = Endpoint {
                    ready: false,
                    serving: false,
                    ..first
                };
                (self.service(TARGET), vec![lost, second])
            }
        };
        let port = if self.change == Change::Moved {
            OTHER_TARGET
        } else {
            TARGET
        };
        let serving = ends.iter().filter(|end| end.serving);
        let addrs: Vec<Both> = serving.map(|end| end.addr).collect();
        for node in nodes {
            let service = service.clone().endpoints(ends.clone());
            node.write_manifest(&service.file(), &service.yaml())?;
            self.wait(node, Some((&addrs, port)))?;
        }
        Ok(())
    }

    fn delete(&self, nodes: &[&Node]) -> Result<()> {
        for node in nodes {
            node.remove_manifest(&self.before().file())?;
            self.wait(node, None)?;
        }
        Ok(())
    }

    fn service(&self, target: u16) -> Service {
        Service::new(&self.name, self.vip).node_port(PORT, target, self.node_port)
    }

    /// Both families, both protocols, and all of a node's ports.
    fn wait(&self, node: &Node, backends: Option<(&[Both], u16)>) -> Result<()> {
        poll::until_true(CHANGE, "the change is in the maps", || {
            let all = agent_output::frontends(node)?;
            let ours = all.iter().filter(|f| {
                f.port == self.node_port
                    || self.vip.ips().iter().any(|ip| bracketed(*ip) == f.address)
            });
            let ours: Vec<_> = ours.collect();
            let Some((addrs, port)) = backends else {
                return Ok(ours.is_empty());
            };
            let as_wanted = |family: Family| -> Vec<(String, u16)> {
                let shown = addrs.iter().map(|a| (bracketed(a.ip(family)), port));
                shown.collect()
            };
            let wanted = [Family::V4, Family::V6].map(as_wanted);
            let good = ours.iter().filter(|f| {
                let stands = f.backends.iter().map(|b| (b.address.clone(), b.port));
                wanted[usize::from(f.address.starts_with('['))] == stands.collect::<Vec<_>>()
            });
            // A VIP and a node port of each family and protocol.
            Ok(ours.len() == 8 && good.count() == 8)
        })
        .with_context(|| format!("{:?} on {}", self.change, node.name()))
    }
}

/// Has the pod serve on the other target port as well.
pub fn serve_elsewhere(pod: &Pod) -> Result<()> {
    let any = std::net::SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, OTHER_TARGET));
    for kind in [Kind::Tcp, Kind::Udp] {
        pod.listen(kind, any, &elsewhere(pod.name()))?;
    }
    Ok(())
}

fn elsewhere(pod: &str) -> String {
    format!("{pod}-elsewhere")
}

fn bracketed(ip: std::net::IpAddr) -> String {
    if ip.is_ipv6() {
        format!("[{ip}]")
    } else {
        ip.to_string()
    }
}
