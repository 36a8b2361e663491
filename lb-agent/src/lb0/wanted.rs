//! What is to be routed to `lb0`. Owns that a known service network stands for the addresses in it; pure.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lb_common::Proto;

use crate::model::{Cidr, VethPair};

/// Ports that are led by a rule each. Every packet that looks for a route asks them one after the other, some 8 ns each.
pub const MOST_PORTS: usize = 128;

/// A port of a load balancer's or external address, led to `lb0` alone: what else is at the address is none of our business, and the
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

/// What the device is to carry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Networks routed to `lb0`.
    pub networks: BTreeSet<Cidr>,
    /// Ports led there, of addresses outside of those networks.
    pub ports: BTreeSet<Port>,
    /// The node's address, preferred as the source of what goes there.
    pub source_v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub source_v6: Option<Ipv6Addr>,
    /// Bytes of the largest packet that any way to a backend carries, as far as it is known: who sends larger ones is told by
    /// the kernel, before anything is translated.
    pub mtu: Option<u32>,
    /// Every Service is listed: rules and routes of single addresses that are not wanted are left over, and go.
    pub whole: bool,
    /// The service networks are known: routes of networks that are not wanted go too.
    pub networks_known: bool,
    /// The programs are in place on these devices: routes may lead there.
    pub ready: Option<VethPair>,
}

impl Wanted {
    /// The preferred source of a network's route.
    #[must_use]
    pub fn source(&self, net: Cidr) -> Option<IpAddr> {
        match net.net {
            IpAddr::V4(_) => self.source_v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.source_v6.map(IpAddr::V6),
        }
    }
}

/// The networks that do not overlap one on a link of this machine, and what is wrong with the others: routing them away
/// would cut the machine off.
#[must_use]
pub fn apart(networks: Vec<Cidr>, links: &[Cidr]) -> (Vec<Cidr>, Vec<String>) {
    let mut problems = Vec::new();
    let mut kept = networks;
    kept.retain(|net| {
        let link = links.iter().find(|link| net.overlaps(**link));
        if let Some(link) = link {
            problems.push(format!(
                "the service network {net} overlaps {link}, which is on a device of this machine: it is not routed to lb0 (give the right ones with --service-cidrs)"
            ));
        }
        link.is_none()
    });
    (kept, problems)
}

/// The ports whose addresses are in none of the service networks, which are routed whole, and what is wrong with them.
#[must_use]
pub fn ports(
    services: &[Cidr],
    led: impl Iterator<Item = Port>,
) -> (BTreeSet<Port>, Option<String>) {
    let alone = led.filter(|port| !services.iter().any(|net| net.contains(port.addr)));
    let mut ports: BTreeSet<Port> = alone.collect();
    let all = ports.len();
    let Some(first) = ports.iter().nth(MOST_PORTS).copied() else {
        return (ports, None);
    };
    let left = ports.split_off(&first);
    let problem = format!(
        "{} of {all} ports of load balancers with source ranges, or of SCTP, do not fit, {first} the first: this node's own clients reach the load balancer itself there (route its addresses whole: --service-cidrs, with the networks of the cluster IPs)",
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
    fn ports_of_a_routed_network_need_no_rule_and_too_many_are_told() {
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
        assert_eq!(all(128).0.len(), MOST_PORTS);
        assert_eq!(all(128).1, None);
        let (found, problem) = all(300);
        assert_eq!(found.len(), MOST_PORTS);
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
