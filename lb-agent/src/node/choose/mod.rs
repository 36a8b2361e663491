//! Which devices programs are attached to, and what `--devices auto` means (pure).

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use lb_common::lb0;

use super::facts::{Address, Facts, Link};
use crate::model::{Cidr, Device, RpFilter, Unwatched};

/// Which devices the user selected.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// `--devices`: these names, or `None` for `auto`.
    pub named: Option<Vec<String>>,
    /// `--attach-xdp`: XDP in front of tc; added to the devices if it is not among them.
    pub xdp: Vec<String>,
}

/// Bytes of an Ethernet header.
const ETHERNET: u32 = 14;

/// The devices, by index.
#[must_use]
pub fn devices(facts: &Facts, selection: &Selection) -> Vec<Device> {
    let Selection { named, xdp } = selection;
    let mut devices: Vec<Device> = facts
        .links
        .iter()
        .filter(|link| {
            xdp.contains(&link.name)
                || match named {
                    Some(named) => named.contains(&link.name),
                    None => is_node_device(facts, link),
                }
        })
        .map(|link| Device {
            xdp: xdp.contains(&link.name),
            ..device(facts, link)
        })
        .collect();
    devices.sort_unstable();
    devices
}

fn device(facts: &Facts, link: &Link) -> Device {
    Device {
        ifindex: link.ifindex,
        name: link.name.clone(),
        xdp: false,
        source_v4: source(facts, link.ifindex, v4),
        source_v6: source(facts, link.ifindex, v6),
        header_len: if link.ethernet { ETHERNET } else { 0 },
        mac: link.mac,
        veth: link.kind == "veth",
        rp_filter: RpFilter::Loose,
        pods: false,
    }
}

/// The devices beside `devices` that lead to more than single hosts.
#[must_use]
pub fn others(facts: &Facts, devices: &[Device]) -> Vec<Unwatched> {
    let others = facts.links.iter().filter(|link| {
        let is_node_device = devices.iter().any(|d| d.ifindex == link.ifindex);
        !is_node_device
            && !link.loopback
            && !is_part(facts, link)
            && !is_lb0(link)
            && !is_sink(link)
    });
    let several_hosts = |c: &Cidr| c.prefix < if c.net.is_ipv4() { 32 } else { 128 };
    others
        .filter_map(|link| {
            let to = routes(facts, link).filter(|r| !r.link_local);
            let mut networks: Vec<Cidr> = to.filter_map(|r| r.to).filter(several_hosts).collect();
            networks.sort_unstable();
            networks.dedup();
            let inside = |to: &Cidr| {
                let mut networks = networks.iter();
                networks.any(|n| to.prefix >= n.prefix && n.overlaps(*to))
            };
            let elsewhere = facts.routes.iter().filter(|r| r.ifindex != link.ifindex);
            let mut elsewhere: Vec<Cidr> = elsewhere.filter_map(|r| r.to).filter(inside).collect();
            elsewhere.sort_unstable();
            elsewhere.dedup();
            (!networks.is_empty()).then(|| Unwatched {
                device: device(facts, link),
                networks,
                elsewhere,
            })
        })
        .collect()
}

/// Selected names that no device has, sorted.
#[must_use]
pub fn missing(facts: &Facts, selection: &Selection) -> Vec<String> {
    let Selection { named, xdp } = selection;
    let selected: BTreeSet<&String> = named.iter().flatten().chain(xdp).collect();
    selected
        .into_iter()
        .filter(|name| facts.links.iter().all(|link| link.name != **name))
        .cloned()
        .collect()
}

/// Names of devices that replies to clients may leave by, by a default route, over a gateway or by
/// a route of a policy table, and that are not among `devices`: programs there would turn the
/// replies of local backends back. Sorted.
#[must_use]
pub fn unwatched(facts: &Facts, devices: &[Device]) -> Vec<String> {
    let leads_out = |link: &Link| {
        routes(facts, link).any(|r| !r.link_local && (r.default || r.gateway || r.policy))
    };
    let mut names: Vec<String> = facts
        .links
        .iter()
        .filter(|link| !link.loopback && !is_lb0(link) && !is_part(facts, link))
        .filter(|link| !is_sink(link) && leads_out(link))
        .filter(|link| devices.iter().all(|d| d.ifindex != link.ifindex))
        .map(|link| link.name.clone())
        .collect();
    names.sort_unstable();
    names
}

/// Nothing ever arrives on them or leaves the machine by them.
fn is_sink(link: &Link) -> bool {
    matches!(link.kind.as_str(), "dummy" | "ifb" | "nlmon")
}

/// Whether packets from outside, or replies of remote backends, arrive on it.
fn is_node_device(facts: &Facts, link: &Link) -> bool {
    if link.loopback || is_part(facts, link) || is_lb0(link) || is_sink(link) {
        return false;
    }
    let default_route = routes(facts, link).any(|r| r.default);
    let routed_through = routes(facts, link).any(|r| r.gateway);
    let mut addresses = facts
        .addresses
        .iter()
        .filter(|a| a.ifindex == link.ifindex && a.is_reachable());
    match link.kind.as_str() {
        // The host's end of a pod's device has no address, or only that of the pods' gateway. The
        // device of a node that is a container has a network.
        "veth" | "netkit" => default_route || routed_through || addresses.any(Address::has_network),
        // On a bridge of pods the pods' packets arrive, and never those from outside.
        "bridge" => default_route || (has_uplink(facts, link) && addresses.next().is_some()),
        // Overlays: backends are routed over them, with or without an address of their own.
        "vxlan" | "geneve" | "ipip" | "ip6tnl" | "sit" | "gre" | "ip6gre" | "gretap"
        | "ip6gretap" | "wireguard" => {
            addresses.next().is_some() || routes(facts, link).any(|r| !r.link_local)
        }
        _ => default_route || routed_through || addresses.next().is_some(),
    }
}

/// `lb0` and its other end, which have programs of their own.
fn is_lb0(link: &Link) -> bool {
    link.name == lb0::DEVICE || link.name == lb0::PEER
}

/// Bytes of the largest packet that each of the devices carries.
#[must_use]
pub fn mtu(facts: &Facts, devices: &[Device]) -> Option<u32> {
    let ours = |l: &&Link| devices.iter().any(|d| d.ifindex == l.ifindex) && l.mtu > 0;
    facts.links.iter().filter(ours).map(|l| l.mtu).min()
}

/// The node's preferred addresses: those that the default route gives, else those of the first of
/// `devices` that has one.
#[must_use]
pub fn sources(facts: &Facts, devices: &[Device]) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let by_default = facts.routes.iter().filter(|r| r.default);
    let first_v4 = by_default
        .clone()
        .find_map(|r| source(facts, r.ifindex, v4));
    let first_v6 = by_default
        .clone()
        .find_map(|r| source(facts, r.ifindex, v6));
    (
        first_v4.or_else(|| devices.iter().find_map(|d| d.source_v4)),
        first_v6.or_else(|| devices.iter().find_map(|d| d.source_v6)),
    )
}

fn routes<'a>(
    facts: &'a Facts,
    link: &'a Link,
) -> impl Iterator<Item = &'a super::facts::Route> + 'a {
    facts.routes.iter().filter(|r| r.ifindex == link.ifindex)
}

/// Whether the device is part of a bond or bridge, which gets its packets. Parts of a VRF keep
/// their own.
fn is_part(facts: &Facts, link: &Link) -> bool {
    let Some(master) = link.master else {
        return false;
    };
    facts
        .links
        .iter()
        .find(|l| l.ifindex == master)
        .is_none_or(|master| master.kind != "vrf")
}

/// Whether the bridge has a part that leads out of the machine.
fn has_uplink(facts: &Facts, bridge: &Link) -> bool {
    facts.links.iter().any(|l| {
        l.master == Some(bridge.ifindex) && !matches!(l.kind.as_str(), "veth" | "tun" | "netkit")
    })
}

fn v4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(a) => Some(a),
        IpAddr::V6(_) => None,
    }
}

fn v6(ip: IpAddr) -> Option<Ipv6Addr> {
    match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(a) => Some(a),
    }
}

/// The source of packets that leave by a device: the one that its default route prefers, else the
/// device's first address, else what the default route of another device gives.
fn source<A>(facts: &Facts, ifindex: u32, family: fn(IpAddr) -> Option<A>) -> Option<A> {
    let preferred = |ifindex: u32| {
        facts
            .routes
            .iter()
            .filter(move |r| r.ifindex == ifindex && r.default)
            .find_map(|r| r.source.and_then(family))
    };
    let first = |ifindex: u32| {
        let of_family = || {
            facts
                .addresses
                .iter()
                .filter(move |a| a.ifindex == ifindex && a.is_reachable())
        };
        of_family()
            .filter(|a| !a.secondary)
            .find_map(|a| family(a.ip))
            .or_else(|| of_family().find_map(|a| family(a.ip)))
    };
    let of = |ifindex| preferred(ifindex).or_else(|| first(ifindex));
    of(ifindex).or_else(|| {
        facts
            .routes
            .iter()
            .filter(|r| r.default)
            .find_map(|r| of(r.ifindex))
    })
}

#[cfg(test)]
mod tests;
