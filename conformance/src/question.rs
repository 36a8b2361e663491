//! The questions that can be asked of a Service: who asks, by which of its frontends, over which
//! protocol and family.

use std::{
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{IpAddr, SocketAddr},
};

use testbed::{
    addr::LOOPBACK,
    probe::{Ask, Family, Kind},
};

use crate::{
    apply::Live,
    objects::Slot,
    plan::{Ingress, Svc, Type},
    side::Side,
};

/// A port that no plan gives to a Service.
const UNDEFINED: u16 = 7;
/// Asked that often for each endpoint there may be: a miss of one of four is one in a hundred, and
/// then it is asked again.
const TRIES: usize = 6;
/// And so often at most.
const MOST_TRIES: usize = 36;
/// An answer takes a millisecond: what takes this long is silence, or it is asked again with more
/// patience.
pub const PATIENCE_MS: u64 = 300;
/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Client {
    /// A pod that is no backend.
    Pod,
    /// The first pod of the pool on its node.
    Backend,
    /// A node itself.
    Host,
    /// A machine that is no node; all networks of Services lead to one of the nodes.
    Outside,
}

impl Client {
    /// All.
    pub const ALL: [Self; 4] = [Self::Pod, Self::Backend, Self::Host, Self::Outside];
}

/// By which of its frontends a Service is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Front {
    /// ClusterIP and port.
    ClusterIp,
    /// ClusterIP, and a port that the Service has not.
    UndefinedPort,
    /// The node's first address and the node port.
    NodePort,
    /// An address of the node that is not the Node's, and the node port.
    OtherAddress,
    /// Loopback and the node port.
    Loopback,
    /// A load-balancer IP, and its `ipMode`.
    LoadBalancer(u8, Option<&'static str>),
    /// An external IP.
    External(u8),
    /// ClusterIP of a Service that was deleted.
    Gone,
    /// Node port of a Service that was deleted.
    GoneNodePort,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Position of the Service in its plan.
    pub position: usize,
    /// Position of its port.
    pub port: usize,
    /// UDP rather than TCP.
    pub udp: bool,
    /// Of UDP: `connect` first.
    pub connected: bool,
    /// Of the address that is asked.
    pub family: Family,
    /// Who asks.
    pub client: Client,
    /// On which node that is; of a client outside, where its networks lead.
    pub from: Side,
    /// Whose proxy is the first to see it.
    pub through: Side,
    /// What is asked.
    pub front: Front,
    /// Where that is.
    pub to: SocketAddr,
    /// How often.
    pub tries: usize,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match (self.udp, self.connected) {
            (false, _) => "TCP",
            (true, true) => "connected UDP",
            (true, false) => "UDP",
        };
        write!(
            f,
            "{:?} of {:?} asks {:?} of service {} by {protocol} at {} through {:?}",
            self.client, self.from, self.front, self.position, self.to, self.through
        )
    }
}

impl Question {
    /// Asked by the same one in the same way, by a frontend of the same kind.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let same = |one: &Self| (one.client, one.from, one.through, one.udp, one.connected);
        let kind = std::mem::discriminant::<Front>;
        same(self) == same(other) && kind(&self.front) == kind(&other.front)
    }

    /// Asked by a pod of one node at the other node's port, where the external policy is Local:
    /// kube-proxy counts it as a client of the cluster, which any endpoint may answer, and leaves it
    /// its address; so only endpoints of the node that is asked get their answers through.
    #[must_use]
    pub fn is_halved(&self, svc: &Svc) -> bool {
        let by_a_pod = matches!(self.client, Client::Pod | Client::Backend);
        let across = self.from != self.through && self.front == Front::NodePort;
        by_a_pod && across && svc.external_local
    }

    /// The same, asked by the client pod of the node that is asked.
    #[must_use]
    pub const fn from_inside(mut self) -> Self {
        (self.client, self.from) = (Client::Pod, self.through);
        self
    }

    /// For the helper; `more` multiplies patience and tries.
    #[must_use]
    pub fn ask(&self, more: u32) -> Ask {
        Ask {
            kind: if self.udp { Kind::Udp } else { Kind::Tcp },
            connected: self.connected,
            to: self.to,
            tries: self.tries * more.min(8) as usize,
            within_ms: PATIENCE_MS * u64::from(more),
            reused: false,
        }
    }
}

/// Every question that can be asked of a Service as it stands, where these nodes are refereed.
#[must_use]
pub fn all(sides: &[Side], slot: &Slot, position: usize, svc: &Svc, live: &Live) -> Vec<Question> {
    let mut questions = Vec::new();
    let tries = (svc.breadth() * TRIES).clamp(8, MOST_TRIES);
    for family in &svc.families {
        for (port, of) in svc.ports.iter().enumerate() {
            for (front, to, of_node) in fronts(sides, slot, position, svc, live, port, *family) {
                for (client, from, through) in askers(sides, of_node) {
                    if front == Front::Loopback && client != Client::Host {
                        continue;
                    }
                    for connected in [true, false] {
                        if !of.udp && !connected {
                            continue;
                        }
                        questions.push(Question {
                            position,
                            port,
                            udp: of.udp,
                            connected,
                            family: *family,
                            client,
                            from,
                            through,
                            front,
                            to,
                            tries,
                        });
                    }
                }
            }
        }
    }
    questions
}

/// Every client of these nodes, and the node that is asked: the one whose address it is, or else
/// the client's own.
fn askers(sides: &[Side], of_node: Option<Side>) -> impl Iterator<Item = (Client, Side, Side)> {
    let of_side = move |from: Side| {
        let through = of_node.unwrap_or(from);
        Client::ALL.map(|client| (client, from, through))
    };
    sides.iter().copied().flat_map(of_side)
}

/// The frontends of a port; those that are addresses of a node with that node.
fn fronts(
    sides: &[Side],
    slot: &Slot,
    position: usize,
    svc: &Svc,
    live: &Live,
    port: usize,
    family: Family,
) -> Vec<(Front, SocketAddr, Option<Side>)> {
    let mut fronts = Vec::new();
    let is_ours = |ip: &&IpAddr| ip.is_ipv4() == (family == Family::V4);
    let number = svc.ports[port].number;
    if let Some(ip) = live.cluster_ips.iter().find(is_ours) {
        fronts.push((Front::ClusterIp, SocketAddr::new(*ip, number), None));
        fronts.push((Front::UndefinedPort, SocketAddr::new(*ip, UNDEFINED), None));
    }
    if let Some(Some(node_port)) = live.node_ports.get(port) {
        fronts.push((Front::Loopback, LOOPBACK.at(family, *node_port), None));
        for side in sides {
            let to = side.addr().at(family, *node_port);
            fronts.push((Front::NodePort, to, Some(*side)));
            if family == Family::V4 {
                let other = SocketAddr::new(side.other_address(), *node_port);
                fronts.push((Front::OtherAddress, other, Some(*side)));
            }
        }
    }
    if svc.kind == Type::LoadBalancer {
        for ingress in &svc.ingress {
            if let Ingress::Ip(n, mode) = ingress {
                let to = SocketAddr::new(slot.ingress(*n, family), number);
                fronts.push((Front::LoadBalancer(*n, *mode), to, None));
            }
        }
    }
    for n in 0..svc.external_ips {
        let to = SocketAddr::new(slot.external(position, n, family), number);
        fronts.push((Front::External(n), to, None));
    }
    fronts
}

/// What a Service leaves behind.
#[must_use]
pub fn gone(sides: &[Side], position: usize, svc: &Svc, live: &Live) -> Vec<Question> {
    let mut questions = Vec::new();
    for (index, port) in svc.ports.iter().enumerate() {
        let mut at = Vec::new();
        for ip in &live.cluster_ips {
            at.push((Front::Gone, SocketAddr::new(*ip, port.number), None));
        }
        if let Some(Some(number)) = live.node_ports.get(index) {
            for side in sides {
                let to = SocketAddr::new(side.addr().v4.into(), *number);
                at.push((Front::GoneNodePort, to, Some(*side)));
            }
        }
        for (front, to, of_node) in at {
            let asked = |(client, from, through)| Question {
                position,
                port: index,
                udp: port.udp,
                connected: true,
                family: Family::of(&to),
                client,
                from,
                through,
                front,
                to,
                tries: 1,
            };
            questions.extend(askers(sides, of_node).map(asked));
        }
    }
    questions
}

/// So many of them, always the same ones of a plan's state.
#[must_use]
pub fn sample(
    mut questions: Vec<Question>,
    count: usize,
    plan: &str,
    state: usize,
) -> Vec<Question> {
    if questions.len() > count {
        questions.sort_by_cached_key(|question| {
            let mut hasher = DefaultHasher::new();
            // Not by addresses, which the server chooses anew each time.
            let Question {
                position,
                port,
                udp,
                connected,
                family,
                client,
                from,
                through,
                front,
                ..
            } = question;
            (
                plan,
                state,
                position,
                port,
                udp,
                connected,
                *family == Family::V4,
                (client, from, through),
                front,
            )
                .hash(&mut hasher);
            hasher.finish()
        });
        questions.truncate(count);
    }
    questions
}
