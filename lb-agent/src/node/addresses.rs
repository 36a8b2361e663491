//! Which addresses are this machine's own, for node ports to answer on.

use std::net::IpAddr;

use lb_common::lb0;

use super::facts::Facts;
use crate::model::{Cidr, Machine};

/// Where kube-proxy's IPVS mode leaves service addresses: they are no node addresses.
const IPVS_DEVICE: &str = "kube-ipvs0";

/// Every address that hosts beyond the link can reach, with the index of its device; sorted, each
/// once.
#[must_use]
pub fn addresses(facts: &Facts) -> Vec<(IpAddr, u32)> {
    let of_ipvs = |ifindex| {
        facts
            .links
            .iter()
            .any(|l| l.ifindex == ifindex && l.name == IPVS_DEVICE)
    };
    let mut found: Vec<(IpAddr, u32)> = facts
        .addresses
        .iter()
        .filter(|a| a.is_reachable() && !of_ipvs(a.ifindex))
        .map(|a| (a.ip, a.ifindex))
        .collect();
    found.sort_unstable();
    found.dedup_by_key(|(ip, _)| *ip);
    found
}

/// This machine's own addresses, and the networks on its links: none of them is routed away. A
/// service may have such an address all the same, as a load balancer's address may be a node's.
#[must_use]
pub fn machine(facts: &Facts) -> Machine {
    let name = |ifindex| {
        let link = facts.links.iter().find(|l| l.ifindex == ifindex);
        link.map_or("", |l| l.name.as_str())
    };
    let theirs = [IPVS_DEVICE, lb0::DEVICE, lb0::PEER];
    let counted = || {
        let all = facts.addresses.iter().filter(|a| !a.unusable);
        all.filter(|a| !theirs.contains(&name(a.ifindex)))
    };
    let mut machine = Machine {
        own: counted().map(|a| a.ip).collect(),
        links: counted()
            .filter(|a| a.is_reachable() && a.has_network())
            .map(|a| Cidr::new(a.ip, a.prefix))
            .collect(),
        ..Machine::default()
    };
    machine.own.sort_unstable();
    machine.own.dedup();
    machine.links.sort_unstable();
    machine.links.dedup();
    machine
}

/// Every address with the name of the device that has it, sorted, but for our own devices and for
/// that of kube-proxy's ipvs mode: it has every cluster IP, no process serves one there, and what
/// kube-proxy left is told as a whole.
#[must_use]
pub fn holders(facts: &Facts) -> Vec<(IpAddr, String)> {
    let mut holders: Vec<(IpAddr, String)> = facts
        .addresses
        .iter()
        .filter(|a| a.is_reachable())
        .filter_map(|a| {
            let link = facts.links.iter().find(|l| l.ifindex == a.ifindex)?;
            Some((a.ip, link.name.clone()))
        })
        .filter(|(_, device)| ![lb0::DEVICE, lb0::PEER, IPVS_DEVICE].contains(&device.as_str()))
        .collect();
    holders.sort_unstable();
    holders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::facts::{Address, Link};

    fn address(ifindex: u32, ip: &str) -> Address {
        Address {
            ifindex,
            ip: ip.parse().unwrap(),
            prefix: 24,
            secondary: false,
            unusable: false,
        }
    }

    #[test]
    fn loopback_link_local_and_service_addresses_are_not_the_machines() {
        let link = |ifindex, name: &str| Link {
            ifindex,
            name: name.to_owned(),
            ..Link::default()
        };
        let facts = Facts {
            links: vec![link(1, "lo"), link(2, "eth0"), link(3, "kube-ipvs0")],
            addresses: vec![
                address(2, "fd66::1"),
                address(1, "127.0.0.1"),
                address(1, "::1"),
                address(2, "198.18.0.1"),
                address(2, "198.18.0.1"),
                address(2, "fe80::1"),
                address(2, "169.254.20.10"),
                address(3, "10.96.0.1"),
                Address {
                    unusable: true,
                    ..address(2, "fd66::2")
                },
                address(1, "203.0.113.7"),
            ],
            routes: vec![],
        };
        let found: Vec<String> = addresses(&facts)
            .iter()
            .map(|(ip, ifindex)| format!("{ip}%{ifindex}"))
            .collect();
        assert_eq!(found, ["198.18.0.1%2", "203.0.113.7%1", "fd66::1%2"]);
    }
}
