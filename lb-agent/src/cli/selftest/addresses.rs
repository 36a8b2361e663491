//! The addresses of the test's small world: networks that are reserved for documentation (RFC 5737,
//! RFC 3849), so that no Service of a cluster has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The networks of external IPs, which the agent is to accept.
pub(super) const EXTERNAL_NETWORKS: &str = "203.0.113.0/24,2001:db8:113::/48";
/// The first IPv6 network of every address here.
const V6: [u16; 2] = [0x2001, 0xdb8];

/// The family of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Family {
    #[serde(rename = "IPv4")]
    V4,
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// As Kubernetes calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// Who has a network of his own with the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seat {
    /// A client outside of the cluster.
    Client,
    /// A backend of another node.
    Far,
    /// A backend on the node.
    Web1,
    /// Another one.
    Web2,
    /// A pod that is a client.
    Pod,
}

impl Seat {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [Self::Client, Self::Far, Self::Web1, Self::Web2, Self::Pod];
    /// Who serves.
    pub(super) const BACKENDS: [Self; 3] = [Self::Web1, Self::Web2, Self::Far];
    /// Whose devices lead out of the node.
    pub(super) const OUTSIDE: [Self; 2] = [Self::Client, Self::Far];

    /// The name, which backends answer with.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Far => "far",
            Self::Web1 => "web-1",
            Self::Web2 => "web-2",
            Self::Pod => "pod",
        }
    }

    /// The node's device that leads there.
    pub(super) const fn device(self) -> &'static str {
        match self {
            Self::Client => "eth0",
            Self::Far => "eth1",
            Self::Web1 => "web1",
            Self::Web2 => "web2",
            Self::Pod => "pod",
        }
    }

    /// Whether it is a pod of the node.
    pub(super) const fn is_pod(self) -> bool {
        matches!(self, Self::Web1 | Self::Web2 | Self::Pod)
    }

    /// Its own address.
    pub(super) const fn address(self, family: Family) -> IpAddr {
        self.end(family, 2)
    }

    /// The node's address on the same network.
    pub(super) const fn gateway(self, family: Family) -> IpAddr {
        self.end(family, 1)
    }

    const fn end(self, family: Family, end: u8) -> IpAddr {
        let network = self as u8;
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, network * 8 + end)),
            Family::V6 => v6([1, network as u16, 0, 0, 0, end as u16]),
        }
    }
}

/// The length of the networks' prefixes.
pub(super) const fn prefix(family: Family) -> u8 {
    match family {
        Family::V4 => 29,
        Family::V6 => 64,
    }
}

/// A cluster IP.
pub(super) const fn cluster_ip(family: Family, n: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(198, 51, 100, n)),
        Family::V6 => v6([0x96, 0, 0, 0, 0, n as u16]),
    }
}

/// An IP of a load balancer.
pub(super) const fn ingress(family: Family, n: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(203, 0, 113, n)),
        Family::V6 => v6([0x113, 0, 0, 0, 0, n as u16]),
    }
}

/// An external IP.
pub(super) const fn external(family: Family, n: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(203, 0, 113, 128 + n)),
        Family::V6 => v6([0x113, 1, 0, 0, 0, n as u16]),
    }
}

/// What a socket of the family binds to for all addresses.
pub(super) const fn unspecified(is_ipv4: bool) -> SocketAddr {
    let ip = if is_ipv4 {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    SocketAddr::new(ip, 0)
}

const fn v6([c, d, e, f, g, h]: [u16; 6]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(V6[0], V6[1], c, d, e, f, g, h))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_address_is_used_twice_and_all_are_for_documentation() {
        let mut seen = BTreeSet::new();
        for family in Family::ALL {
            let seats = Seat::ALL.map(|seat| [seat.address(family), seat.gateway(family)]);
            let services = (1..9).flat_map(|n| {
                [
                    cluster_ip(family, n),
                    ingress(family, n),
                    external(family, n),
                ]
            });
            for ip in seats.into_iter().flatten().chain(services) {
                assert!(seen.insert(ip), "{ip} twice");
                match ip {
                    IpAddr::V4(ip) => assert!(ip.is_documentation(), "{ip}"),
                    IpAddr::V6(ip) => assert_eq!(ip.segments()[..2], V6),
                }
            }
        }
    }
}
