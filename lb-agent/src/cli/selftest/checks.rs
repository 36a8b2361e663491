//! What is asked of each Service, from where, and what it must answer.

use std::{fmt, net::SocketAddr};

use super::{
    addresses::{Family, Seat},
    judge::Expected,
    kind::{Kind, PORT, TARGET},
    question::Protocol,
};

/// Where a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// A process of the node: its sockets are translated.
    Node,
    /// A pod with a network of its own: its sockets are translated, its pings are packets.
    Pod,
    /// Another machine: its packets are translated.
    Outside,
}

impl Place {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Node, Self::Pod, Self::Outside];

    const fn title(self) -> &'static str {
        match self {
            Self::Node => "the node",
            Self::Pod => "a pod",
            Self::Outside => "outside",
        }
    }
}

/// One line of the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Check {
    pub(super) kind: Kind,
    pub(super) from: Place,
    pub(super) family: Family,
    pub(super) protocol: Protocol,
    pub(super) to: SocketAddr,
    pub(super) expected: Expected,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, from) = (self.kind.title(), self.from.title());
        let (family, protocol) = (self.family.name(), self.protocol.name());
        match self.protocol {
            Protocol::Ping => write!(
                f,
                "{kind} from {from}, {family} {protocol} {}",
                self.to.ip()
            ),
            _ => write!(f, "{kind} from {from}, {family} {protocol} {}", self.to),
        }
    }
}

/// Every check, in the order in which they are shown.
pub(super) fn all(families: &[Family]) -> Vec<Check> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        for from in Place::ALL {
            for family in families.iter().copied() {
                for to in addresses(kind, from, family) {
                    for protocol in [Protocol::Tcp, Protocol::Udp] {
                        all.push(Check {
                            kind,
                            from,
                            family,
                            protocol,
                            to,
                            expected: expected(kind, from, family),
                        });
                    }
                }
                if let Some(to) = pinged(kind, family) {
                    all.push(Check {
                        kind,
                        from,
                        family,
                        protocol: Protocol::Ping,
                        to,
                        expected: Expected::Echo,
                    });
                }
            }
        }
    }
    all
}

/// Where clients there meet the Service.
fn addresses(kind: Kind, from: Place, family: Family) -> Vec<SocketAddr> {
    let cluster_ip = SocketAddr::new(kind.cluster_ip(family), PORT);
    let node_port = SocketAddr::new(Seat::Client.gateway(family), kind.node_port());
    let ingress = SocketAddr::new(kind.ingress(family), PORT);
    let external = SocketAddr::new(kind.external(family), PORT);
    let pod = SocketAddr::new(Seat::Web1.address(family), TARGET);
    match (kind, from) {
        (Kind::NodePort, _) | (Kind::Affinity | Kind::Empty, Place::Outside) => vec![node_port],
        (Kind::PolicyLocal, Place::Outside) => vec![node_port, ingress],
        (Kind::LoadBalancer, _) => vec![ingress],
        (Kind::ExternalIp, _) => vec![external],
        (Kind::Headless, Place::Node | Place::Pod) => vec![pod],
        // Cluster IPs mean nothing outside.
        (Kind::ClusterIp | Kind::Headless, Place::Outside) => Vec::new(),
        (_, Place::Node | Place::Pod) => vec![cluster_ip],
    }
}

fn expected(kind: Kind, from: Place, family: Family) -> Expected {
    let names = kind.backends().into_iter().map(Seat::name).collect();
    match (kind, from) {
        (Kind::Empty, _) => Expected::Refused,
        (Kind::Affinity, _) => Expected::One(names),
        (Kind::Headless, _) => Expected::Only(Seat::Web1.name(), None),
        (Kind::PolicyLocal, Place::Outside) => {
            Expected::Only(Seat::Web1.name(), Some(Seat::Client.address(family)))
        }
        _ => Expected::All(names),
    }
}

/// What answers ping: to other machines, too, where they are routed to it by the node.
fn pinged(kind: Kind, family: Family) -> Option<SocketAddr> {
    let ip = kind.cluster_ip(family);
    (kind == Kind::ClusterIp).then(|| SocketAddr::new(ip, 0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_asked_in_every_family_and_no_line_is_there_twice() {
        let checks = all(&Family::ALL);
        for kind in Kind::ALL {
            for family in Family::ALL {
                let mut of = checks
                    .iter()
                    .filter(|c| c.kind == kind && c.family == family);
                assert!(of.next().is_some(), "{kind:?} {family:?}");
            }
        }
        let names: BTreeSet<String> = checks.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), checks.len());
    }

    #[test]
    fn one_family_is_half_of_it() {
        let half = all(&[Family::V4]);
        assert!(half.iter().all(|check| check.family == Family::V4));
        assert_eq!(2 * half.len(), all(&Family::ALL).len());
    }

    #[test]
    fn a_line_says_what_is_asked() {
        let checks = all(&[Family::V6]);
        assert_eq!(
            checks[0].to_string(),
            "ClusterIP from the node, IPv6 TCP [2001:db8:96::1]:80"
        );
    }
}
