//! What should be routed to `lb0` (pure). A known service network stands for every address in it.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lb_common::Proto;

use crate::model::{Cidr, VethPair};

/// Ports that get a routing rule each. The kernel tries the rules in turn for every packet that it
/// routes, at some 8 ns each.
pub const MAX_PORTS: usize = 128;

/// A port of a load balancer's or external address. Only this port is routed to `lb0`, since the
/// address may be another node's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Port {
    /// A load balancer's, or an external one.
    pub addr: IpAddr,
    /// As in the IP header.
    pub proto: u8,
    /// Host order.
    pub port: u16,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addr, proto, port } = *self;
        if let Some(proto) = Proto::from_number(proto) {
            write!(f, "{proto} ")?;
        }
        SocketAddr::new(addr, port).fmt(f)
    }
}

/// What should be routed to the device, and how.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Desired {
    /// Networks routed to `lb0`.
    pub networks: BTreeSet<Cidr>,
    /// Ports routed there by a rule each, of addresses outside those networks.
    pub ports: BTreeSet<Port>,
    /// The node's address, preferred as the source of what goes there.
    pub source_v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub source_v6: Option<Ipv6Addr>,
    /// Bytes of the largest packet that every route to a backend carries, as far as known. The
    /// kernel reports larger packets to their sender (PMTU) before anything is translated.
    pub mtu: Option<u32>,
    /// Every Service is listed, so that other rules, and other routes of single addresses, are
    /// left over and are removed.
    pub services_listed: bool,
    /// The service networks are known, so that other routes of networks are removed too.
    pub networks_known: bool,
    /// The devices that the programs are attached to: routes may lead there.
    pub ready: Option<VethPair>,
}

impl Desired {
    /// The preferred source of a network's route.
    #[must_use]
    pub fn source(&self, net: Cidr) -> Option<IpAddr> {
        match net.net {
            IpAddr::V4(_) => self.source_v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.source_v6.map(IpAddr::V6),
        }
    }
}

impl Desired {
    /// What can be routed while the device has no IPv6; `None` if that is everything.
    #[must_use]
    pub fn without_ipv6(&self) -> Option<Self> {
        let is_v6 = |ip: IpAddr| ip.is_ipv6();
        let mut ports = self.ports.iter().map(|port| port.addr);
        if !ports.any(is_v6) && !self.networks.iter().any(|net| is_v6(net.net)) {
            return None;
        }
        let mut rest = self.clone();
        rest.ports.retain(|port| !is_v6(port.addr));
        rest.networks.retain(|net| !is_v6(net.net));
        Some(rest)
    }
}

/// The networks that overlap none on a link of this machine, and what is wrong with the others:
/// routing those away would cut the machine off.
#[must_use]
pub fn apart(networks: Vec<Cidr>, links: &[Cidr]) -> (Vec<Cidr>, Vec<String>) {
    let mut problems = Vec::new();
    let mut kept = networks;
    kept.retain(|net| {
        let link = links.iter().find(|link| net.overlaps(**link));
        if let Some(link) = link {
            problems.push(format!(
                "the service network {net} overlaps {link}, which is on a device of this machine: it is not routed to lb0 (pass the right networks with --service-cidrs)"
            ));
        }
        link.is_none()
    });
    (kept, problems)
}

/// The ports whose addresses are in none of the service networks (those are routed as a whole), and
/// what is wrong with them.
#[must_use]
pub fn ports(
    services: &[Cidr],
    ports: impl Iterator<Item = Port>,
) -> (BTreeSet<Port>, Option<String>) {
    let alone = ports.filter(|port| !services.iter().any(|net| net.contains(port.addr)));
    let mut ports: BTreeSet<Port> = alone.collect();
    let all = ports.len();
    let Some(first) = ports.iter().nth(MAX_PORTS).copied() else {
        return (ports, None);
    };
    let left = ports.split_off(&first);
    let problem = format!(
        "{} of {all} ports of load balancers with source ranges, or of SCTP, do not fit (first: {first}): clients on this node reach the load balancer itself there (route its addresses as a whole: --service-cidrs, together with the networks of the cluster IPs)",
        left.len()
    );
    (ports, Some(problem))
}

/// The service networks, and each address that is in none of them.
#[must_use]
pub fn networks(services: &[Cidr], vips: impl Iterator<Item = IpAddr>) -> BTreeSet<Cidr> {
    let mut networks: BTreeSet<Cidr> = services.iter().copied().collect();
    for vip in vips {
        if !services.iter().any(|net| net.contains(vip)) {
            networks.insert(Cidr::host(vip));
        }
    }
    networks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_on_a_link_is_not_routed_away() {
        let net = |s: &str| s.parse::<Cidr>().unwrap();
        let links = [net("10.96.7.0/24"), net("198.18.0.0/16")];
        let all = vec![
            net("10.96.0.0/16"),
            net("198.18.9.0/24"),
            net("10.97.0.0/16"),
        ];
        let (kept, problems) = apart(all, &links);
        assert_eq!(kept, [net("10.97.0.0/16")]);
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn ports_of_a_routed_network_need_no_rule_and_too_many_are_reported() {
        let cidr = ["10.96.0.0/16".parse::<Cidr>().unwrap()];
        let port = |addr: &str, port| Port {
            addr: addr.parse().unwrap(),
            proto: 6,
            port,
        };
        let some = [port("10.96.0.1", 80), port("203.0.113.1", 80)];
        let (found, problem) = ports(&cidr, some.into_iter());
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [some[1]]);
        assert_eq!(problem, None);
        let all = |n| ports(&cidr, (0..n).map(|n| port("203.0.113.1", n)));
        assert_eq!(all(128).0.len(), MAX_PORTS);
        assert_eq!(all(128).1, None);
        let (found, problem) = all(300);
        assert_eq!(found.len(), MAX_PORTS);
        let problem = problem.unwrap();
        assert!(problem.starts_with("172 of 300"), "{problem}");
        assert!(problem.contains("203.0.113.1:128"), "{problem}");
    }

    #[test]
    fn a_network_stands_for_its_addresses() {
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        let cidr = ["10.96.0.0/16".parse().unwrap()];
        let vips = ["10.96.0.1", "10.97.0.1", "fd66::1"].map(ip);
        let found: Vec<String> = networks(&cidr, vips.into_iter())
            .into_iter()
            .map(|net| net.to_string())
            .collect();
        assert_eq!(found, ["10.96.0.0/16", "10.97.0.1/32", "fd66::1/128"]);
        assert_eq!(networks(&[], vips.into_iter()).len(), 3);
    }
}
