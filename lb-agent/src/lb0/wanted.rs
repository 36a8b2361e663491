//! What is to be routed to `lb0`. Owns that a known service network stands for the addresses in it; pure.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::watch::ip::in_cidr;

use super::Net;

/// What the device is to carry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Networks routed to `lb0`.
    pub networks: BTreeSet<Net>,
    /// The node's address, preferred as the source of what goes there.
    pub source_v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub source_v6: Option<Ipv6Addr>,
    /// Bytes of the largest packet that any way to a backend carries, as far as it is known: who sends larger ones is told by
    /// the kernel, before anything is translated.
    pub mtu: Option<u32>,
    /// Everything is listed: routes that are not wanted are left over, and go.
    pub whole: bool,
    /// The programs are in place on these devices: routes may lead there.
    pub ready: Option<super::Pair>,
}

impl Wanted {
    /// The preferred source of a network's route.
    #[must_use]
    pub fn source(&self, net: Net) -> Option<IpAddr> {
        match net.0 {
            IpAddr::V4(_) => self.source_v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.source_v6.map(IpAddr::V6),
        }
    }
}

/// The networks that do not overlap one on a link of this machine, and what is wrong with the others: routing them away
/// would cut the machine off.
#[must_use]
pub fn apart(networks: Vec<Net>, links: &[Net]) -> (Vec<Net>, Vec<String>) {
    let overlaps = |(net, prefix): Net, (ip, bits): Net| {
        in_cidr(ip, (net, prefix.min(bits))) && net.is_ipv4() == ip.is_ipv4()
    };
    let mut problems = Vec::new();
    let mut kept = networks;
    kept.retain(|net| {
        let link = links.iter().find(|link| overlaps(*net, **link));
        if let Some((ip, bits)) = link {
            problems.push(format!(
                "the service network {}/{} overlaps {ip}/{bits}, which is on a device of this machine: it is not routed to lb0 (give the right ones with --service-cidrs)",
                net.0, net.1
            ));
        }
        link.is_none()
    });
    (kept, problems)
}

/// The service networks, and each address that is in none of them.
#[must_use]
pub fn networks(services: &[Net], vips: impl Iterator<Item = IpAddr>) -> BTreeSet<Net> {
    let mut networks: BTreeSet<Net> = services.iter().copied().collect();
    for vip in vips {
        if !services.iter().any(|net| in_cidr(vip, *net)) {
            networks.insert((vip, if vip.is_ipv4() { 32 } else { 128 }));
        }
    }
    networks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_on_a_link_is_not_routed_away() {
        let net = |s: &str| crate::watch::ip::parse_cidr(s).unwrap();
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
    fn a_network_stands_for_its_addresses() {
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        let cidr = [(ip("10.96.0.0"), 16)];
        let vips = ["10.96.0.1", "10.97.0.1", "fd66::1"].map(ip);
        let found: Vec<String> = networks(&cidr, vips.into_iter())
            .into_iter()
            .map(|(ip, prefix)| format!("{ip}/{prefix}"))
            .collect();
        assert_eq!(found, ["10.96.0.0/16", "10.97.0.1/32", "fd66::1/128"]);
        assert_eq!(networks(&[], vips.into_iter()).len(), 3);
    }
}
